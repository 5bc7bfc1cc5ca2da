"""Which id stands in which row of a matrix, and its norm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexer.index.idmap import IdMap
from indexer.types import Ids, Matrix


class Register:
    """Ids and norms beside a matrix's rows, which are 0 to n - 1 without holes. For one thread, or under a lock."""

    def __init__(self) -> None:
        self._map = IdMap()
        self._ids = np.empty(0, np.int64)
        self._norms = np.empty(0, np.float32)
        self._n = 0
        self._norm_bounds = (1.0, 1.0)

    def __len__(self) -> int:
        return self._n

    @property
    def ids(self) -> Ids:
        """Ids by row (n,), a view."""
        return self._ids[: self._n]

    @property
    def norm_bounds(self) -> tuple[float, float]:
        """No live norm is outside; after removals they may be wider than they need be."""
        return self._norm_bounds

    def rows(self, ids: Ids) -> NDArray[np.int64]:
        """Rows of ids (n,), -1 for those that are not there."""
        return self._map.rows(ids)

    def norms(self, ids: Ids) -> Matrix:
        """Norms of ids (n,), NaN for those that are not there."""
        rows = self._map.rows(ids)
        found = np.full(len(ids), np.nan, np.float32)
        found[rows >= 0] = self._norms[rows[rows >= 0]]
        return found

    def places(self, ids: Ids) -> tuple[NDArray[np.int64], int]:
        """Rows that distinct ids (m,) have or will get from `enter`, appended in their order; and the count then."""
        n = self._n
        if len(ids) == 1:  # much the most frequent, and worth it
            row = self._map.row(int(ids[0]))
            return (np.array([row]), n) if row >= 0 else (np.array([n]), n + 1)
        rows = self._map.rows(ids)
        new = np.flatnonzero(rows < 0)
        rows[new] = np.arange(n, n + len(new))
        return rows, n + len(new)

    def enter(self, ids: Ids, norms: Matrix, rows: NDArray[np.int64], n: int) -> None:
        """Write ids and norms (m,) where `places` has put them, in all `n` rows."""
        some = norms.tolist()
        if self._n:
            some.extend(self._norm_bounds)
        self._norm_bounds = (min(some), max(some))
        if n > self._n:
            self._reserve(n)
            self._ids[rows] = ids
            self._map.put_many(ids, rows)
            self._n = n
        self._norms[rows] = norms

    def leave(self, id: int) -> tuple[int, int] | None:
        """Take one id out: (its row, the last row), whose content moves there; None if the id is not there."""
        row = self._map.row(id)
        if row < 0:
            return None
        last = self._n - 1
        self._map.drop(id)
        if row != last:
            moved = int(self._ids[last])
            self._ids[row] = moved
            self._norms[row] = self._norms[last]
            self._map.put(moved, row)
        self._n = last
        if not last:
            self._norm_bounds = (1.0, 1.0)
        return row, last

    @property
    def n_bytes(self) -> int:
        """Memory held, bytes."""
        return self._ids.nbytes + self._norms.nbytes + self._map.n_bytes

    def _reserve(self, n: int) -> None:
        if n <= len(self._ids):
            return
        capacity = max(1024, n, len(self._ids) * 5 // 4)
        for name in ("_ids", "_norms"):
            old = getattr(self, name)
            new = np.empty(capacity, old.dtype)
            new[: self._n] = old[: self._n]
            setattr(self, name, new)
