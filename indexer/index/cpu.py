"""The exact index in main memory."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from indexer.index import gemm
from indexer.index.blocks import Blocks
from indexer.index.checks import check_queries, check_rows
from indexer.index.crew import Crew
from indexer.index.lock import ReadersWriter
from indexer.index.register import Register
from indexer.index.search import ExactSearch
from indexer.index.selection import select
from indexer.types import Features, Ids, Matrix, Neighbours, OperatingPoint

_HOLD_ROWS = 4096  # rows written in one hold of the lock: about a millisecond
_MOST_THREADS = 16  # more would wait for memory, and for each other


class CpuIndex:
    """`VectorIndex` over float16 rows in main memory. Searches run beside each other; changes shut them out briefly.

    Scores are exact (`indexer.index.exact`), whatever kernel proposed the rows.

    Args:
        dim: Length of a row.
        threads: Cores that one search may use; None for all that this process may run on.
        tile_rows: Rows that are multiplied together: two to three megabytes, to fit into the processor's cache.
        first_rows: Size of the first blocks; memory is taken only as rows are written.
        half: Multiply batches in BFloat16; None where the CPU does so in hardware.
    """

    point: OperatingPoint | None = None
    trouble: str | None = None

    def __init__(
        self,
        dim: int,
        *,
        threads: int | None = None,
        tile_rows: int = 1024,
        first_rows: int = 65_536,
        half: bool | None = None,
    ) -> None:
        self._dim = dim
        n_threads = min(threads or len(os.sched_getaffinity(0)), _MOST_THREADS)
        self._lock = ReadersWriter()
        self._register = Register()
        self._blocks = Blocks(self._allocate, tile_rows, first_rows)
        self._crew = Crew(n_threads, gemm.one_thread_each())
        half = gemm.has_fast_bfloat16() if half is None else half
        self._search = ExactSearch(self._blocks, self._register, self._crew, half)

    @property
    def dim(self) -> int:
        return self._dim

    def __len__(self) -> int:
        return len(self._register)

    def upsert(self, ids: Ids, rows: Features, norms: Matrix) -> None:
        check_rows(ids, rows, norms, self._dim)
        for start in range(0, len(ids), _HOLD_ROWS):
            part = slice(start, start + _HOLD_ROWS)
            with self._lock.writing:
                at, n = self._register.places(ids[part])
                self._blocks.reserve(n)
                self._blocks.put(at, rows[part])
                self._search.forget(at if len(at) > 1 else int(at[0]), n)
                self._register.enter(ids[part], norms[part], at, n)

    def remove(self, ids: Ids) -> int:
        n = 0
        for start in range(0, len(ids), _HOLD_ROWS):
            with self._lock.writing:
                n += sum(map(self._remove, ids[start : start + _HOLD_ROWS].tolist()))
                self._blocks.release(len(self._register))
        return n

    def search(self, queries: Matrix, k: int, among: Ids | None = None) -> Neighbours:
        queries = check_queries(queries, k, self._dim)
        with self._lock.reading:
            return self._search.search(queries, k, select(self._blocks, self._register, among))

    def rows(self, ids: Ids) -> Features:
        with self._lock.reading:
            at = self._register.rows(ids)
            if (at >= 0).all():
                return self._blocks.get(at)
            found = np.full((len(ids), self._dim), np.nan, np.float16)
            found[at >= 0] = self._blocks.get(at[at >= 0])
            return found

    def norms(self, ids: Ids) -> Matrix:
        with self._lock.reading:
            return self._register.norms(ids)

    def norm_bounds(self) -> tuple[float, float]:
        return self._register.norm_bounds

    def ids(self) -> Ids:
        with self._lock.reading:
            return np.sort(self._register.ids)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        with self._lock.reading:
            return self._register.rows(ids) >= 0

    @property
    def n_bytes(self) -> int:
        return self._blocks.n_touched * 2 * self._dim + self._register.n_bytes

    def close(self) -> None:
        self._crew.close()

    def _remove(self, id: int) -> bool:
        left = self._register.leave(id)
        if left is None:
            return False
        row, last = left
        if row != last:
            self._blocks.move(last, row)
            self._search.forget(row, last)
        return True

    def _allocate(self, n: int) -> Features:
        return np.empty((n, self._dim), np.float16)
