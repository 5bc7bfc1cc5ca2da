"""Pairs of close rows of the index, by its own search: exact on any device, and each pair is looked at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.ports import VectorIndex
from indexer.types import Ids, Matrix

MOST_A_ROW: Final = 32
"""Close rows that one row is paired with; more are found through the others."""

_PRODUCTS_A_CALL: Final = 12_800_000  # about a tenth of a second of two cores: searches and changes wait for one call
_MOST_QUERIES: Final = 256
_N_SAMPLE: Final = 512
_N_LEAST: Final = 20
_UNKNOWN: Final = 0.5


class Pairs(NamedTuple):
    """Ids (n, 2), the lower first, and cosines (n,); each pair once, ordered by ids."""

    ids: NDArray[np.int64]
    scores: Matrix


def chance(index: VectorIndex) -> float:
    """The median cosine of two rows chosen at random; 0.5 where there are too few to tell."""
    ids = index.ids()
    if len(ids) < _N_LEAST:
        return _UNKNOWN
    if len(ids) > _N_SAMPLE:
        ids = np.random.default_rng(0).choice(ids, _N_SAMPLE, replace=False)
    rows = _unit(index, ids)
    cosines = (rows @ rows.T)[np.triu_indices(len(rows), 1)]
    return float(np.median(cosines)) if len(cosines) else _UNKNOWN


def close_pairs(index: VectorIndex, least: float, report: Callable[[int, int], None]) -> Pairs:
    """Pairs of rows with a cosine of `least` or more; `report` is called with rows done and rows, and may raise.

    A row is held against those with higher ids alone, which halves the work; where the index searches by lists, which
    costs far less than either half, against all.
    """
    ids = index.ids()
    size = min(_MOST_QUERIES, max(1, _PRODUCTS_A_CALL // max(len(ids), 1)))
    found: list[Pairs] = []
    for start in range(0, len(ids), size):
        some = ids[start : start + size]
        found.append(_some_pairs(index, some, ids[start:], least))
        report(start + len(some), len(ids))
    pairs = np.concatenate([each.ids for each in found] or [np.empty((0, 2), np.int64)])
    scores = np.concatenate([each.scores for each in found] or [np.empty(0, np.float32)])
    return once(Pairs(pairs, scores))


def once(pairs: Pairs) -> Pairs:
    """Each pair once, with its best score, ordered by ids."""
    ids, scores = pairs
    order = np.lexsort((-scores, ids[:, 1], ids[:, 0]))
    ids, scores = ids[order], scores[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return Pairs(ids[first], scores[first])


def _some_pairs(index: VectorIndex, some: Ids, onward: Ids, least: float) -> Pairs:
    rows = _unit(index, some)
    k = MOST_A_ROW + 1  # itself
    neighbours = index.search(rows, k, onward if index.point is None else None)
    there = (neighbours.scores >= least) & (neighbours.ids >= 0) & (neighbours.ids != some[:, None])
    places = np.nonzero(there)
    pairs = np.stack([some[places[0]], neighbours.ids[there]], axis=1)
    return Pairs(np.sort(pairs, axis=1), neighbours.scores[there])


def _unit(index: VectorIndex, ids: Ids) -> Matrix:
    """Rows (n, dim) at unit length; zeros for those removed meanwhile."""
    rows = np.nan_to_num(index.rows(ids).astype(np.float32))
    unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit
