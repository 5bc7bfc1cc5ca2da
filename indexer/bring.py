"""Features that were made elsewhere, checked and put into the feature cache: then their files need no encoding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import CapacityError, FileChanged, ImageRefused, InputError
from indexer.ports import Decoder, Embedder, FeatureCache
from indexer.types import ContentHash, Decoded, FileContent, FilePath, StoredFeature, display_path

LEAST_COSINE: Final = 0.999
"""Of a vector of the sample with what its file encodes to here: encoders differ from themselves in the last bits."""

UNIT: Final = 1e-2
"""How far a vector's length may be from 1."""

_AT_ONCE: Final = 32


class Given(NamedTuple):
    """A vector (d,) of a file, and the content hash if it is told."""

    path: FilePath
    vector: NDArray[np.float32]
    hash: ContentHash | None


@dataclass(slots=True)
class Brought:
    """What came of it: features stored, those that were there already, and others by why they were left out."""

    n_stored: int = 0
    n_known: int = 0
    n_sampled: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class Bringing:
    """Checks vectors against their files, and stores those that hold.

    Args:
        cache: Where features go.
        decoder, embedder: Of the space that the vectors are said to be of.
        read: The file at a path, read whole; raises as `indexer.files.reading.read_file`.
    """

    def __init__(
        self,
        cache: FeatureCache,
        decoder: Decoder,
        embedder: Embedder,
        read: Callable[[FilePath], FileContent],
    ) -> None:
        self._cache = cache
        self._decoder = decoder
        self._embedder = embedder
        self._read = read

    def sample(self, given: Sequence[Given]) -> int:
        """Encode these files here and compare; how many could be.

        Raises:
            InputError: One is not what its file encodes to, or none could be compared.
        """
        n = 0
        for it, _, decoded in self._opened(given, Brought()):
            fresh = self._embedder.embed_image(decoded.pixels).result().astype(np.float64)
            length = float(np.linalg.norm(fresh) * np.linalg.norm(it.vector))
            cosine = float(fresh @ it.vector) / length if length > 0 else 0.0
            if not cosine >= LEAST_COSINE:
                raise InputError(
                    f"nothing was imported: a vector is not what its file encodes to here (cosine {cosine:.4f}): "
                    f"{display_path(it.path)}"
                )
            n += 1
        if not n:
            raise InputError("nothing was imported: none of the files could be read and compared with its vector")
        return n

    def bring(self, given: Iterable[Given], report: Callable[[int], None]) -> Brought:
        """Store features of files that are what they should be; `report` is called with how many were looked at."""
        brought = Brought()
        some: list[Given] = []
        n_seen = 0
        for it in given:
            some.append(it)
            if len(some) == _AT_ONCE:
                self._store(some, brought)
                report(n_seen := n_seen + len(some))
                some = []
        self._store(some, brought)
        report(n_seen + len(some))
        return brought

    def _store(self, given: Sequence[Given], brought: Brought) -> None:
        features = {}
        known = self._cache.get_many([it.hash for it in given if it.hash is not None])
        brought.n_known += sum(it.hash in known for it in given)
        for it, hash, decoded in self._opened([it for it in given if it.hash not in known], brought):
            unit = it.vector / np.linalg.norm(it.vector)
            features[hash] = StoredFeature(unit.astype(np.float16), decoded.info)
        if features:
            self._cache.put_many(features)
            brought.n_stored += len(features)

    def _opened(self, given: Sequence[Given], brought: Brought) -> Iterator[tuple[Given, ContentHash, Decoded]]:
        """Those that can be used, with what their file really is; the others are counted."""
        decoding = []
        for it in given:
            content = self._content(it, brought)
            if content is not None:
                decoding.append((it, content.hash, self._decoder.decode(content.data)))
        for it, hash, future in decoding:
            try:
                yield it, hash, future.result()
            except ImageRefused:
                brought.left_out["the file is no picture"] += 1

    def _content(self, it: Given, brought: Brought) -> FileContent | None:
        if not np.isfinite(it.vector).all():
            why = "the vector is not finite"
        elif abs(float(np.linalg.norm(it.vector)) - 1) > UNIT:
            why = "the vector is not of unit length"
        else:
            try:
                content = self._read(it.path)
            except (OSError, ImageRefused, FileChanged, CapacityError, ValueError):
                why = "the file cannot be read"
            else:
                if it.hash is None or it.hash == content.hash:
                    return content
                why = "the file is another one now"
        brought.left_out[why] += 1
        return None
