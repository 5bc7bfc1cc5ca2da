"""The index as a NumPy oracle: every answer by brute force."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexer.types import Features, Ids, Matrix, Neighbours, OperatingPoint


class MemoryIndex:
    """Implements `indexer.ports.VectorIndex` with a dict; scores in float64, rounded at the end."""

    point: OperatingPoint | None = None
    trouble: str | None = None

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._rows: dict[int, tuple[NDArray[np.float16], float]] = {}

    @property
    def dim(self) -> int:
        return self._dim

    def __len__(self) -> int:
        return len(self._rows)

    def upsert(self, ids: Ids, rows: Features, norms: NDArray[np.float32]) -> None:
        ids = np.asarray(ids)
        if rows.shape != (len(ids), self._dim) or rows.dtype != np.float16 or norms.shape != (len(ids),):
            raise ValueError("ids (n,), rows (n, dim) float16 and norms (n,) are needed")
        if len(np.unique(ids)) != len(ids) or (ids < 1).any():
            raise ValueError("an id must be at least 1 and come once")
        if not np.isfinite(rows).all() or not np.isfinite(norms).all():
            raise ValueError("a row or norm is not finite")
        for id, row, norm in zip(ids.tolist(), rows.copy(), norms.tolist(), strict=True):
            self._rows[id] = (row, norm)

    def remove(self, ids: Ids) -> int:
        return sum(self._rows.pop(id, None) is not None for id in np.asarray(ids).tolist())

    def search(self, queries: Matrix, k: int, among: Ids | None = None) -> Neighbours:
        if k < 1 or queries.ndim != 2 or queries.shape[1] != self._dim or not np.isfinite(queries).all():
            raise ValueError("k must be at least 1 and queries finite (q, dim)")
        wanted = set(self._rows) if among is None else set(np.asarray(among).tolist()) & set(self._rows)
        ids = np.array(sorted(wanted), dtype=np.int64)
        all_ids, all_scores = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
        if len(ids):
            scores = queries.astype(np.float64) @ self.rows(ids).astype(np.float64).T
            for i, row in enumerate(scores.astype(np.float32)):
                best = np.lexsort((ids, -row))[:k]
                all_ids[i, : len(best)], all_scores[i, : len(best)] = ids[best], row[best]
        return Neighbours(all_ids, all_scores)

    def rows(self, ids: Ids) -> Features:
        missing = np.full(self._dim, np.nan, np.float16)
        found = [self._rows[id][0] if id in self._rows else missing for id in np.asarray(ids).tolist()]
        return np.stack(found) if found else np.empty((0, self._dim), np.float16)

    def norms(self, ids: Ids) -> NDArray[np.float32]:
        return np.array(
            [self._rows[id][1] if id in self._rows else np.nan for id in np.asarray(ids).tolist()], np.float32
        )

    def norm_bounds(self) -> tuple[float, float]:
        norms = [norm for _, norm in self._rows.values()] or [1.0]
        return min(norms), max(norms)

    def ids(self) -> Ids:
        return np.array(sorted(self._rows), dtype=np.int64)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        return np.array([id in self._rows for id in np.asarray(ids).tolist()], dtype=bool)

    @property
    def n_bytes(self) -> int:
        return len(self._rows) * (2 * self._dim + 12)

    def close(self) -> None:
        self._rows.clear()
