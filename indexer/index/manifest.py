"""What a snapshot holds and how its bytes are proved: the .json beside the .rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from indexer.errors import StoreCorrupt, StoreTooNew

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows: `n` ids (int64), then their norms (float32), then the rows (float16), all little-endian."""

    n: int
    digest: str

    def size_bytes(self, dim: int) -> int:
        return self.n * (8 + 4 + 2 * dim)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One generation of an index.

    Attributes:
        generation: Its number, which is in the files' names too.
        fingerprint: Of the embedding space and the way of indexing.
        dim: Length of a row.
        chunks: In the order of the file, ids ascending throughout.
        written_at: Seconds since the epoch.
    """

    generation: int
    fingerprint: str
    dim: int
    chunks: tuple[Chunk, ...]
    written_at: float

    @property
    def n_rows(self) -> int:
        return sum(chunk.n for chunk in self.chunks)

    @property
    def size_bytes(self) -> int:
        return sum(chunk.size_bytes(self.dim) for chunk in self.chunks)

    def placed(self) -> Iterator[tuple[int, int, Chunk]]:
        """(number, offset in the file in bytes, chunk) of each chunk."""
        sizes = (chunk.size_bytes(self.dim) for chunk in self.chunks)
        offsets = accumulate(sizes, initial=0)
        return ((i, offset, chunk) for i, (offset, chunk) in enumerate(zip(offsets, self.chunks, strict=False)))

    def to_json(self) -> bytes:
        facts = {"format": FORMAT, "n_rows": self.n_rows, "size_bytes": self.size_bytes, **asdict(self)}
        return json.dumps({**facts, "digest": manifest_digest(facts)}, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read back what `to_json` wrote; raises StoreCorrupt or StoreTooNew."""
        try:
            facts = json.loads(data)
            digest = facts.pop("digest")
            if digest != manifest_digest(facts):
                raise StoreCorrupt("the manifest fails its check")
            if facts["format"] > FORMAT:
                raise StoreTooNew(f"format {facts['format']} is newer than {FORMAT}")
            chunks = tuple(Chunk(**chunk) for chunk in facts["chunks"])
            return cls(facts["generation"], facts["fingerprint"], facts["dim"], chunks, facts["written_at"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise StoreCorrupt(f"the manifest cannot be read: {e}") from e


def chunk_digest(*parts: memoryview) -> str:
    """Checksum of a chunk's bytes (BLAKE2b, RFC 7693)."""
    check = hashlib.blake2b(digest_size=16)
    for part in parts:
        check.update(part)
    return check.hexdigest()


def manifest_digest(facts: dict[str, Any]) -> str:
    """Checksum of a manifest's content, whatever its spacing."""
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
