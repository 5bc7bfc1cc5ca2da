"""Pairs of close rows of the index.

All pairs of 100,000 rows of 1280 numbers are 6 x 10^12 products. So rows are first held against each other in a random
subspace of 256 dimensions: the cosine there of two rows whose true cosine is t is t to a standard error of
(1 - t^2) / 16, whatever the rows (the subspace is drawn from all alike, so only the angle counts). What comes within
four standard errors of the bound is scored exactly: one close pair in 30,000 is missed. Source: Johnson and
Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.ports import VectorIndex
from indexer.types import Features, Ids, Matrix

MOST_A_ROW: Final = 32
"""Later rows that one row is paired with at most, the closest; more are found through the others."""

_SKETCH_DIM: Final = 256
_STANDARD_ERRORS: Final = 4.0
_BLOCK, _TILE = 1024, 4096  # rows held against rows at once: 16 MB of products, some hundredths of a second
_N_SAMPLE: Final = 512
_N_LEAST: Final = 20
_UNKNOWN: Final = 0.5


class Pairs(NamedTuple):
    """Ids (n, 2), the lower first, and cosines (n,); each pair once, ordered by ids."""

    ids: NDArray[np.int64]
    scores: Matrix


class _Near(NamedTuple):
    """Places of rows (n,) and of later ones (n,), and their cosines (n,), about."""

    rows: NDArray[np.int64]
    others: NDArray[np.int64]
    scores: Matrix


def chance(index: VectorIndex) -> float:
    """The median cosine of two rows chosen at random; 0.5 where there are too few to tell."""
    ids = index.ids()
    if len(ids) < _N_LEAST:
        return _UNKNOWN
    if len(ids) > _N_SAMPLE:
        ids = np.random.default_rng(0).choice(ids, _N_SAMPLE, replace=False)
    rows = _unit(index, ids)
    return float(np.median((rows @ rows.T)[np.triu_indices(len(rows), 1)]))


def close_pairs(index: VectorIndex, least: float, report: Callable[[int, int], None]) -> Pairs:
    """Pairs of rows with a cosine of `least` or more; `report` is called with rows done and rows, and may raise."""
    ids = index.ids()
    sketches = _sketched(index, ids)
    floor = least - _STANDARD_ERRORS * (1 - least**2) / _SKETCH_DIM**0.5 if index.dim > _SKETCH_DIM else least - 1e-3
    found: list[Pairs] = []
    for start in range(0, len(ids), _BLOCK):
        stop = min(start + _BLOCK, len(ids))
        found.append(_scored(index, ids, _near(sketches, start, stop, floor), least))
        report(stop, len(ids))
    found.append(Pairs(np.empty((0, 2), np.int64), np.empty(0, np.float32)))
    return once(Pairs(np.concatenate([each.ids for each in found]), np.concatenate([each.scores for each in found])))


def once(pairs: Pairs) -> Pairs:
    """Each pair once, with its best score, ordered by ids."""
    ids, scores = pairs
    order = np.lexsort((-scores, ids[:, 1], ids[:, 0]))
    ids, scores = ids[order], scores[order]
    first = np.ones(len(ids), np.bool_)
    first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return Pairs(ids[first], scores[first])


def _sketched(index: VectorIndex, ids: Ids) -> Features:
    """Unit vectors (n, 256) of the rows in the subspace; the rows themselves where they are no longer."""
    dim = index.dim
    drawn = np.random.default_rng(0).standard_normal((dim, min(dim, _SKETCH_DIM)))
    subspace = np.eye(dim, dtype=np.float32) if dim <= _SKETCH_DIM else np.linalg.qr(drawn)[0].astype(np.float32)
    sketches = np.empty((len(ids), subspace.shape[1]), np.float16)
    for part in _parts(len(ids), _TILE):
        sketches[part] = _normed(_unit(index, ids[part]) @ subspace)
    return sketches


def _near(sketches: Features, start: int, stop: int, floor: float) -> _Near:
    """Later rows that the rows from `start` to `stop` may be close to."""
    block = sketches[start:stop].astype(np.float32)
    near = _Near(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    for part in _parts(len(sketches), _TILE, start):
        products = block @ sketches[part].astype(np.float32).T
        at, beside = np.divmod(np.flatnonzero(products >= floor), products.shape[1])  # `nonzero` takes as long as BLAS
        later = beside + part.start > at + start
        at, beside = at[later], beside[later]
        near = _closest(
            _Near(
                np.concatenate([near.rows, at + start]),
                np.concatenate([near.others, beside + part.start]),
                np.concatenate([near.scores, products[at, beside]]),
            ),
            2 * MOST_A_ROW,
        )
    return near


def _closest(near: _Near, most: int) -> _Near:
    """The `most` closest of each row."""
    order = np.lexsort((-near.scores, near.rows))
    rows = near.rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = order[rank < most]
    return _Near(near.rows[kept], near.others[kept], near.scores[kept])


def _scored(index: VectorIndex, ids: Ids, near: _Near, least: float) -> Pairs:
    """Those that are close, by the rows themselves."""
    scores = np.empty(len(near.rows), np.float32)
    for part in _parts(len(scores), _TILE):
        one, other = _unit(index, ids[near.rows[part]]), _unit(index, ids[near.others[part]])
        scores[part] = np.vecdot(one, other)
    close = scores >= least
    near = _closest(_Near(near.rows[close], near.others[close], scores[close]), MOST_A_ROW)
    return Pairs(np.stack([ids[near.rows], ids[near.others]], axis=1), near.scores)


def _unit(index: VectorIndex, ids: Ids) -> Matrix:
    """Rows (n, dim) at unit length; zeros for those removed meanwhile."""
    return _normed(np.nan_to_num(index.rows(ids).astype(np.float32)))


def _normed(rows: Matrix) -> Matrix:
    unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def _parts(n: int, size: int, start: int = 0) -> Iterator[slice]:
    for at in range(start, n, size):
        yield slice(at, min(at + size, n))
