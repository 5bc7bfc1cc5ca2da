"""Finds what is there more than once.

A model says which pictures are close, pixels say whether they are the same picture: of two photographs of one scene a
model's cosine is as high as of a picture and its crop. How close is close depends on the model, so both bounds lie at
a share of the way from chance, the median cosine of two random rows, to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.duplicates.groups import Group, connected, starred
from indexer.duplicates.look import MOST_BITS, N_FRAMES, Look, look, n_differing
from indexer.duplicates.pairs import Pairs, chance, close_pairs, once
from indexer.errors import CapacityError, FileChanged, ImageRefused
from indexer.ports import CatalogueReading, Decoder, VectorIndex
from indexer.types import ContentHash, Decoded, FileContent, FilePath, ImageRecord

VARIANT_SHARE: Final = 0.5
"""From here on pixels are asked. Low, for a small model sees more in a crop than people do."""

SIMILAR_SHARE: Final = 0.8

# On their way to the decoders at once; queries need memory too.
_WINDOW_IMAGES: Final = 32
_STOP_CHECK_S: Final = 0.2
_PAIRS_AT_ONCE: Final = 8192

_KEPT_EVERY: Final = 4096
"""After so many new pictures what was seen is kept; and what is needed no more, up to so many beside twice the rest."""

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Groups of vector ids, best first.

    Attributes:
        variants: The same picture: encoded again, resized, lightly cropped.
        similar: Scenes that are alike; of variants, the first stands for all.
    """

    variants: tuple[Group, ...]
    similar: tuple[Group, ...]


class Keeping(Protocol):
    """Where what was seen outlives this process."""

    def read(self) -> Mapping[ContentHash, NDArray[Any]]:
        """All that is kept."""
        ...

    def keep(self, looks: Mapping[ContentHash, NDArray[Any]]) -> None:
        """Put these in the place of all that is kept."""
        ...


class Finder:
    """Looks through an index. Keeps what it saw of pictures that have close ones, about 0.7 kB each.

    Args:
        index, catalogue: Where they are.
        decoder: Makes their pixels, as bulk work, which queries overtake.
        read: The file at a path, read whole; raises as `indexer.files.reading.read_file`.
        keeping: Gives back what was seen before, and is given what is seen.
    """

    def __init__(
        self,
        index: VectorIndex,
        catalogue: CatalogueReading,
        decoder: Decoder,
        read: Callable[[FilePath], FileContent],
        keeping: Keeping,
    ) -> None:
        self._index = index
        self._catalogue = catalogue
        self._decoder = decoder
        self._read = read
        self._keeping = keeping
        self._looks: dict[ContentHash, Look] | None = None

    def find(self, report: Report) -> Duplicates:
        """All groups; `report` is called with steps done and steps in all, never fewer, and may raise."""
        usual = chance(self._index)
        least = usual + VARIANT_SHARE * (1 - usual)
        pairs = close_pairs(self._index, least, report)
        n_rows = len(self._index)
        same = self._same(pairs, lambda n_done, n_total: report(n_rows + n_done, n_rows + n_total))
        variants = connected(same)
        first = {id: group.ids[0] for group in variants for id in group.ids}
        close = pairs.scores >= usual + SIMILAR_SHARE * (1 - usual)
        similar = starred(_folded(Pairs(pairs.ids[close], pairs.scores[close]), first))
        return Duplicates(tuple(variants), tuple(similar))

    def _same(self, pairs: Pairs, report: Report) -> Pairs:
        """Those of the pairs that look the same."""
        ids = np.unique(pairs.ids)
        looks = self._looked(ids.tolist(), report)
        places = np.searchsorted(ids, pairs.ids)
        same = np.zeros(len(pairs.ids), np.bool_)
        unseen = np.array([each is None for each in looks], np.bool_)
        blank = np.zeros((N_FRAMES, 3), np.uint64)
        for start in range(0, len(places), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            one, other = places[part].T
            seen = [np.stack([blank if (it := looks[at]) is None else it for at in side]) for side in (one, other)]
            same[part] = (n_differing(*seen) <= MOST_BITS) & ~unseen[one] & ~unseen[other]
            report(len(ids), len(ids))
        return Pairs(pairs.ids[same], pairs.scores[same])

    def _looked(self, ids: Sequence[int], report: Report) -> list[Look | None]:
        """What each picture looks like; None for one whose file is not what it was, or cannot be had."""
        known = self._known()
        looks: list[Look | None] = []
        needed: set[ContentHash] = set()
        n_kept = len(known)
        try:
            for start in range(0, len(ids), _WINDOW_IMAGES):
                records = self._catalogue.images(ids[start : start + _WINDOW_IMAGES])
                new = [record for record in records.values() if record.hash not in known]
                for hash, future in list(self._decoding(new)):
                    if (seen := self._look(future, partial(report, start, len(ids)))) is not None:
                        known[hash] = seen
                for id in ids[start : start + _WINDOW_IMAGES]:
                    hash = records[id].hash if id in records else ContentHash(b"")
                    looks.append(known.get(hash))
                    needed.add(hash)
                if len(known) >= n_kept + _KEPT_EVERY:
                    self._keeping.keep(known)
                    n_kept = len(known)
                report(len(looks), len(ids))
        finally:
            if len(known) > 2 * len(needed) + _KEPT_EVERY and len(looks) == len(ids):
                self._looks = known = {hash: seen for hash, seen in known.items() if hash in needed}
            if len(known) != n_kept:
                self._keeping.keep(known)
        return looks

    def _known(self) -> dict[ContentHash, Look]:
        if self._looks is None:
            self._looks = dict(self._keeping.read())
        return self._looks

    def _decoding(self, records: Sequence[ImageRecord]) -> Iterator[tuple[ContentHash, Future[Decoded]]]:
        for record in records:
            for path in record.paths:
                try:
                    content = self._read(path)
                except (OSError, ImageRefused, FileChanged, CapacityError):
                    continue
                if content.hash == record.hash:
                    yield record.hash, self._decoder.decode(content.data)
                    break

    @staticmethod
    def _look(future: Future[Decoded], pause: Callable[[], None]) -> Look | None:
        while not wait([future], _STOP_CHECK_S).done:
            pause()
        try:
            return look(future.result().pixels)
        except ImageRefused:  # a limit that was lowered, a decoder that was killed
            return None


def _folded(pairs: Pairs, first: dict[int, int]) -> Pairs:
    """The pairs with the first of each group in the place of all; the best cosine of those that come to be equal."""
    ids = np.array([[first.get(one, one), first.get(other, other)] for one, other in pairs.ids.tolist()], np.int64)
    ids = np.sort(ids.reshape(-1, 2), axis=1)
    apart = ids[:, 0] != ids[:, 1]
    return once(Pairs(ids[apart], pairs.scores[apart]))
