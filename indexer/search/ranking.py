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
# Rows that are wanted are gathered one by one; from this share on, it is faster to search all and drop the others.
MOST_GATHERED = 0.25


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
        share, picked = self._picked()
        depth = int((n + MARGIN + (after.n_before if after else 0)) / share) + len(self._left_out)
        while True:
            found = search_aim(self._index, self._geometry, self._aim, depth, picked)
            ids, scores = found.ids[0], found.scores[0]
            ended = len(ids) < depth or ids[-1] < 0 or scores[-1] < least
            keep = (ids >= 0) & (scores >= least) & ~np.isin(ids, self._left_out)
            if picked is None and self._among is not None:
                keep &= np.isin(ids, self._among, assume_unique=False)
            if after is not None:
                last = np.float32(after.score)
                keep &= (scores < last) | ((scores == last) & (ids > after.id))
            alive = self._alive(ids[keep], scores[keep].tolist())
            if len(alive) >= n or ended:
                return alive[:n]
            depth *= 2

    def _picked(self) -> tuple[float, Ids | None]:
        """What share of the searched rows is wanted, about, and the rows to search; None: all."""
        n = len(self._index)
        if self._among is None or not n:
            return 1.0, None
        share = len(self._among) / n
        return (min(share, 1.0), None) if share > MOST_GATHERED else (1.0, self._among)

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
