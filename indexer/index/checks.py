"""What every index demands of its arguments, in one place, so that all of them refuse alike."""

from __future__ import annotations

import math

import numpy as np

from indexer.types import Features, Ids, Matrix

_MAGNITUDE, _INFINITE = np.int16(0x7FFF), 0x7C00  # of a float16: what is not a number is beyond infinity
_AT_ONCE = 512  # rows looked at together: what they and the answer need stays in the processor's cache


def check_rows(ids: Ids, rows: Features, norms: Matrix, dim: int) -> None:
    """Refuse an upsert that is malformed; raises ValueError."""
    n = len(ids)
    if ids.shape != (n,) or ids.dtype != np.int64:
        raise ValueError(f"ids must be (n,) int64, not {ids.shape} {ids.dtype}")
    if rows.shape != (n, dim) or rows.dtype != np.float16:
        raise ValueError(f"rows must be ({n}, {dim}) float16, not {rows.shape} {rows.dtype}")
    if norms.shape != (n,) or norms.dtype != np.float32:
        raise ValueError(f"norms must be ({n},) float32, not {norms.shape} {norms.dtype}")
    if min(ids.tolist(), default=1) < 1:
        raise ValueError("ids start at 1")
    if n > 1 and not _distinct(ids):
        raise ValueError("an id was given twice")
    if not (_finite(rows) and math.isfinite(sum(norms.tolist()))):
        raise ValueError("a row or a norm is not finite")


def check_queries(queries: Matrix, k: int, dim: int) -> Matrix:
    """Queries as contiguous (q, dim) float32; raises ValueError if they or `k` are malformed."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if queries.ndim != 2 or queries.shape[1] != dim or queries.dtype != np.float32:
        raise ValueError(f"queries must be (q, {dim}) float32, not {queries.shape} {queries.dtype}")
    if not np.isfinite(queries).all():
        raise ValueError("a query is not finite")
    return np.ascontiguousarray(queries)


def _distinct(ids: Ids) -> bool:
    if (ids[1:] > ids[:-1]).all():
        return True
    return len(np.unique(ids)) == len(ids)


def _finite(rows: Features) -> bool:
    bits = rows.view(np.int16)  # numpy's own isfinite converts every float16 first, twenty times slower
    starts = range(0, len(bits), _AT_ONCE)
    return all((bits[at : at + _AT_ONCE] & _MAGNITUDE).max(initial=0) < _INFINITE for at in starts)
