"""Live images by score, read from the index as deep as it takes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from indexer.geometry import Aim, Geometry, search_aim
from indexer.ports import CatalogueReading, VectorIndex
from indexer.search.cursor import Cursor
from indexer.types import Ids, ImageRecord
from indexer.where import Filter

# An answer takes this many neighbours more than asked for, to make up for contents removed while it was made.
MARGIN = 16
# Rows that are wanted are gathered one by one; from this share on it is faster to search all and drop the others. Once:
# where the best rows are not wanted, that would go on and on.
MOST_GATHERED = 0.125


class Ranked(NamedTuple):
    """One live image and its score."""

    score: float
    id: int
    record: ImageRecord


class Ranking:
    """Images by their cosine with an aim, best first, equal scores by lower id.

    Args:
        index, catalogue, geometry: Where they are.
        aim: What they are scored against.
        wanted: What they must be; None: anything.
        left_out: Vector ids that are not answered.
    """

    def __init__(
        self,
        index: VectorIndex,
        catalogue: CatalogueReading,
        geometry: Geometry,
        aim: Aim,
        wanted: Filter | None = None,
        left_out: frozenset[int] = frozenset(),
    ) -> None:
        self._index = index
        self._catalogue = catalogue
        self._geometry = geometry
        self._aim = aim
        self._wanted = wanted
        self._left_out = np.array(sorted(left_out), dtype=np.int64)
        self._among = None if wanted is None else catalogue.matching(wanted)

    @property
    def n_matching(self) -> int | None:
        """Indexed images that are what they must be; None where all are."""
        if self._among is None:
            return None
        among = self._among[~np.isin(self._among, self._left_out)] if len(self._left_out) else self._among
        return int(np.count_nonzero(self._index.contains(among)))

    def best(self, n: int, after: Cursor | None = None, least: float = -np.inf) -> list[Ranked]:
        """The `n` best after a place, with scores of `least` and more; fewer only where there are no more."""
        depth = n + MARGIN + len(self._left_out) + (after.n_before if after else 0)
        if (share := self._share()) > MOST_GATHERED:
            alive, enough = self._read(int(depth / share), None, n, after, least)
            if enough:
                return alive[:n]
        while True:
            alive, enough = self._read(depth, self._among, n, after, least)
            if enough:
                return alive[:n]
            depth *= 2

    def _read(
        self, depth: int, among: Ids | None, n: int, after: Cursor | None, least: float
    ) -> tuple[list[Ranked], bool]:
        """What of the `depth` best rows is answered, and whether that is `n`, or all there is."""
        found = search_aim(self._index, self._geometry, self._aim, depth, among)
        ids, scores = found.ids[0], found.scores[0]
        keep = (ids >= 0) & (scores >= least) & ~np.isin(ids, self._left_out)
        if among is None and self._among is not None:
            keep &= np.isin(ids, self._among)
        if after is not None:
            last = np.float32(after.score)
            keep &= (scores < last) | ((scores == last) & (ids > after.id))
        alive = self._alive(ids[keep], scores[keep].tolist())
        return alive, len(alive) >= n or bool(ids[-1] < 0 or scores[-1] < least)

    def _share(self) -> float:
        """What share of the rows is wanted, about; 0 where all are, which takes no choosing."""
        return 0.0 if self._among is None else len(self._among) / max(len(self._index), 1)

    def _alive(self, ids: Ids, scores: list[float]) -> list[Ranked]:
        records = self._catalogue.images(ids.tolist())
        return [
            Ranked(score, id, records[id])
            for id, score in zip(ids.tolist(), scores, strict=True)
            if id in records and (self._wanted is None or self._still_wanted(records[id]))
        ]

    def _still_wanted(self, record: ImageRecord) -> bool:
        wanted = self._wanted
        return wanted is None or (
            wanted.takes_picture(record.info) and any(map(wanted.takes_file, record.paths, record.mtimes_ns))
        )
