"""How much better than chance a score is, learnt from the user's own index.

Cosines of different models, and of words and pictures, are of different ranges, and one question's differ from
another's. So each question is held against a random sample of the index's rows, nearly all of which are no answer to
it: their scores are what chance gives. Their centre is the median, and their spread the lesser of the distances of the
16th and the 75th percentile from it, both in standard deviations of a normal distribution, so that neither the answers
in the sample nor a long tail of what is quite unlike count for much.

    relevance(s) = P(normal(centre, spread) < s)
    cut          = centre + max(2 spread, share x (best - centre))

Below two spreads a score is no better than chance; below a share of the way from chance to the best hit it is a worse
answer than others. The share depends on the modality, for pictures are spread more evenly between unlike and alike than
words and pictures are. Figures: `python -m benchmarks.relevance`.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np

from indexer.geometry import Aim, Geometry
from indexer.ports import VectorIndex
from indexer.types import Ids, Matrix

N_SAMPLE = 1024
N_LEAST = 20
"""With fewer rows than this nothing is known of chance."""

CHANCE = 2.0
"""Spreads above the centre that chance reaches."""
WORDS_SHARE, PICTURES_SHARE = 0.82, 0.5

_Q16, _Q75 = 0.9945, 0.6745
"""Distances of the 16th and the 75th percentile from the middle, in standard deviations."""
_REDRAWN = 0.1
"""The sample is drawn anew when the index has grown or shrunk by this share."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What scores chance gives a question: `centre` and `spread`; `share` as above."""

    centre: float
    spread: float
    share: float

    def relevance(self, score: float) -> float:
        """0 to 1: the share of chance's scores that lie below this one."""
        return 0.5 * math.erfc((self.centre - score) / (self.spread * math.sqrt(2)))

    def cut(self, best: float) -> float:
        """The least score that is worth answering, where `best` is the best one."""
        return self.centre + max(CHANCE * self.spread, self.share * (best - self.centre))


class Background:
    """A random sample of the index's rows; safe from any thread."""

    def __init__(self, index: VectorIndex, geometry: Geometry) -> None:
        self._index = index
        self._geometry = geometry
        self._sample: tuple[int, Matrix, Matrix] | None = None
        self._lock = threading.Lock()

    def chance(self, aim: Aim, worded: bool) -> Chance | None:
        """What chance gives an aim; `worded` says that words are in it. None where too little is indexed."""
        _, rows, norms = self._drawn()
        if len(rows) < N_LEAST:
            return None
        query = self._geometry.joint_query(aim.vector) if aim.joint else aim.vector
        scores = np.vecdot(rows, query) / norms if aim.joint else np.vecdot(rows, query)
        low, centre, high = np.quantile(scores, (0.16, 0.5, 0.75))
        spread = float(min((centre - low) / _Q16, (high - centre) / _Q75))
        if not spread > 0:
            return None
        return Chance(float(centre), spread, WORDS_SHARE if worded else PICTURES_SHARE)

    def _drawn(self) -> tuple[int, Matrix, Matrix]:
        """How many rows there were, and (m, row_dim) of them with their norms (m,)."""
        n = len(self._index)
        with self._lock:
            if self._sample is None or abs(n - self._sample[0]) > _REDRAWN * self._sample[0]:
                self._sample = (n, *self._draw(self._index.ids()))
            return self._sample

    def _draw(self, ids: Ids) -> tuple[Matrix, Matrix]:
        if len(ids) > N_SAMPLE:
            ids = np.random.default_rng(0).choice(ids, N_SAMPLE, replace=False)
        rows = self._index.rows(ids).astype(np.float32)
        norms = self._index.norms(ids)
        there = np.isfinite(rows).all(axis=1) & (norms > 0)
        return rows[there], norms[there]
