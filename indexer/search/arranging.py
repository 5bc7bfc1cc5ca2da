"""Orders other than by score: unlike pictures first, and near-duplicates folded into the best of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexer.types import Matrix

POOL = 1000
"""How many of the best are arranged."""

NEAR = 0.97
"""Pictures whose rows have at least this cosine are near-duplicates."""


def diversified(scores: Matrix, rows: Matrix, diversity: float, n: int) -> NDArray[np.int64]:
    """The first `n` places of (m,) scores, descending, and unit rows (m, d) by maximal marginal relevance.

    The next is always the one with the most of

        (1 - diversity) * (score - least) / (most - least) - diversity * (largest cosine with one chosen before)

    least and most being the pool's: cosines with words and with pictures are of different ranges. Source: Carbonell and
    Goldstein, "The use of MMR, diversity-based reranking", 1998.
    """
    m = len(scores)
    span = float(scores.max() - scores.min()) if m else 0.0
    gain = (1 - diversity) * (scores - scores.min()) / span if span > 0 else np.zeros(m)
    alike = np.zeros(m)
    left = np.ones(m, dtype=np.bool_)
    chosen: list[int] = []
    while len(chosen) < min(n, m):
        best = int(np.argmax(np.where(left, gain - diversity * alike, -np.inf)))
        cosines = rows @ rows[best]
        alike = np.maximum(alike, cosines) if chosen else cosines
        left[best] = False
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)


def folded(rows: Matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places (k,) of unit rows (m, d) that are kept, and how many are folded into each (k,).

    Down the rows, one is folded into the first kept one that it is a near-duplicate of.
    """
    near = rows @ rows.T >= NEAR
    left = np.ones(len(rows), dtype=np.bool_)
    kept, n_alike = [], []
    for place in range(len(rows)):
        if not left[place]:
            continue
        mine = near[place] & left
        mine[place] = True
        left &= ~mine
        kept.append(place)
        n_alike.append(int(np.count_nonzero(mine)) - 1)
    return np.array(kept, dtype=np.int64), np.array(n_alike, dtype=np.int64)
