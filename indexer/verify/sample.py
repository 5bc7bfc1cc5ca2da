"""Some images read and encoded again: the only check that sees what stamps and checksums cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.errors import CapacityError, FileChanged, ImageRefused
from indexer.ports import CatalogueReading, Decoder, Embedder, FeatureReading
from indexer.types import ContentHash, Decoded, FilePath, Finding, Flaw
from indexer.verify.check import Ground, Tally

T = TypeVar("T")

# Encoders differ from themselves in the last bits, by batch and device: 1 - cos of about 1e-6 in BF16. A feature of
# another picture, or a damaged one, is far off.
LEAST_COSINE: Final = 0.999

# On their way at once: enough for a GPU, few enough that queries' memory is not missed.
WINDOW_IMAGES, WINDOW_BYTES = 64, 64 << 20
_STOP_CHECK_S = 0.2


@dataclass(frozen=True, slots=True)
class _Opened:
    """A file of the sample whose bytes are what the catalogue says."""

    hash: ContentHash
    path: FilePath
    size_bytes: int
    decoding: Future[Decoded]


class SampleCheck:
    """So many images, chosen at random: content hash and feature are what is recorded and stored.

    Decoding and encoding are bulk work, which queries overtake.

    Args:
        catalogue, cache, ground: What is recorded and stored, and the files.
        decoder, embedder: As for indexing.
        n: How many.
        rng: Chooses.
        tally: Counts what was looked at.
        pause: Waits so many seconds; raises to stop.
    """

    def __init__(
        self,
        catalogue: CatalogueReading,
        cache: FeatureReading,
        ground: Ground,
        decoder: Decoder,
        embedder: Embedder,
        n: int,
        rng: np.random.Generator,
        tally: Tally,
        pause: Callable[[float], None],
    ) -> None:
        self._catalogue = catalogue
        self._cache = cache
        self._ground = ground
        self._decoder = decoder
        self._embedder = embedder
        self._n = n
        self._rng = rng
        self._tally = tally
        self._pause = pause

    def look(self) -> Iterator[Finding]:
        ids, _ = self._catalogue.live()
        chosen = self._rng.choice(ids, min(self._n, len(ids)), replace=False).tolist()
        for start in range(0, len(chosen), WINDOW_IMAGES):
            some = chosen[start : start + WINDOW_IMAGES]
            records = self._catalogue.images(some)
            places = [(each.hash, each.paths[self._rng.integers(len(each.paths))]) for each in records.values()]
            self._tally.skipped += len(some) - len(places)
            yield from self.remaining(list(self._examine(places, self._tally)))

    def remaining(self, findings: Sequence[Finding]) -> list[Finding]:
        by_place = {(each.hash, each.path): each for each in findings}
        places = [(each.hash, each.path) for each in findings if each.hash is not None and each.path is not None]
        return [by_place[each.hash, each.path] for each in self._examine(places, Tally())]

    def mend(self, findings: Sequence[Finding]) -> Sequence[ContentHash]:
        return [each.hash for each in findings if each.hash is not None]

    # ------------------------------------------------------------ inside

    def _examine(self, places: Sequence[tuple[ContentHash, FilePath]], tally: Tally) -> Iterator[Finding]:
        """What is wrong with these files and their features, at the moment when each is read."""
        window: list[_Opened] = []
        for hash, path in places:
            opened = self._open(hash, path)
            if isinstance(opened, _Opened):
                window.append(opened)
            elif opened is not None:
                tally.reencoded += 1
                yield opened
            else:
                tally.skipped += 1
            if sum(each.size_bytes for each in window) >= WINDOW_BYTES:
                yield from self._encode(window, tally)
                window = []
        yield from self._encode(window, tally)

    def _open(self, hash: ContentHash, path: FilePath) -> _Opened | Finding | None:
        """Read a file and begin to decode it; None when it is not what it was any more, or cannot be had now."""
        self._pause(0)
        try:
            content = self._ground.read(path)
        except (FileNotFoundError, FileChanged, ImageRefused, CapacityError):
            return None
        record = self._catalogue.file(path)
        if record is None or record.hash != hash or record.stamp != content.stamp:
            return None
        if content.hash != hash:
            what = "the file's bytes changed, though its times and size did not"
            return Finding(Flaw.DRIFTED, what, hash, record.vector_id, path)
        return _Opened(hash, path, len(content.data), self._decoder.decode(content.data))

    def _encode(self, window: Sequence[_Opened], tally: Tally) -> Iterator[Finding]:
        encoding = []
        for opened in window:
            try:
                decoded = self._result(opened.decoding)
                encoding.append((opened, self._embedder.embed_image(decoded.pixels)))
            except ImageRefused:  # a limit that was lowered, a decoder that was killed: nothing is wrong with the store
                tally.skipped += 1
        for opened, future in encoding:
            try:
                fresh = self._result(future)
            except ImageRefused:
                tally.skipped += 1
                continue
            tally.reencoded += 1
            stored = self._cache.get_many([opened.hash]).get(opened.hash)
            if stored is not None and (cosine := _cosine(stored.feature, fresh)) < LEAST_COSINE:
                what = f"the feature is not what the file encodes to (cosine {cosine:.4f})"
                vector_id = self._catalogue.ids_of([opened.hash]).get(opened.hash)
                yield Finding(Flaw.DRIFTED, what, opened.hash, vector_id, opened.path)

    def _result(self, future: Future[T]) -> T:
        while not wait([future], _STOP_CHECK_S).done:
            self._pause(0)
        return future.result()


def _cosine(one: NDArray[np.float16], other: NDArray[np.float16]) -> float:
    """Of two features (d,), in float64; 0 for what has no direction."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths > 0 else 0.0
