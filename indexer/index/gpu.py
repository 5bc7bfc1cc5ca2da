"""The exact index in a device's memory: the same matrix as torch tensors, searched by a matrix product or by FAISS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indexer.errors import DeviceFailed, DeviceOutOfMemory
from indexer.index import exact
from indexer.index.blocks import Blocks
from indexer.index.checks import check_queries, check_rows
from indexer.index.propose import by_product
from indexer.index.register import Register
from indexer.index.selection import Selection, select
from indexer.types import Features, Ids, Matrix, Neighbours, OperatingPoint

Kernel = Literal["torch", "faiss"]

_TILE_ROWS = 1024  # blocks are multiples of this
_MOST_QUERIES = 1024  # multiplied together
_SPARE = 16  # candidates beyond k: nearly always enough to tell that no other row can be among the k
_RESCORED_BYTES = 1 << 28  # candidates converted to float64 together
_HOLD_ROWS = 65_536  # rows written in one hold of the lock


class TorchIndex:
    """`VectorIndex` in a device's memory. One thread at a time uses the device.

    A float16 product proposes candidates, with a bound on what rounding may have done to it; they are scored exactly on
    the device (`indexer.index.exact` says what exact is), and more are taken until no other row can be among the best.

    Args:
        dim: Length of a row.
        device: As torch names it; `cpu` works, slowly, for tests.
        kernel: What proposes candidates: `torch` (matrix product, then top-k) or `faiss` (`knn_gpu`, CUDA only).
        first_rows: Size of the first blocks.
        panel_bytes: Scores held at once.
    """

    point: OperatingPoint | None = None
    trouble: str | None = None

    def __init__(
        self,
        dim: int,
        *,
        device: str = "cuda",
        kernel: Kernel = "torch",
        first_rows: int = 65_536,
        panel_bytes: int = 1 << 28,
    ) -> None:
        self._dim = dim
        self._device = torch.device(device)
        self._panel_bytes = panel_bytes
        self._lock = Lock()
        self._register = Register()
        self._blocks = Blocks(self._allocate, _TILE_ROWS, first_rows)
        self._longest = torch.zeros((), device=self._device)
        self._knn = None
        if kernel == "faiss":
            from indexer.index.knn import DeviceKnn

            self._knn = DeviceKnn(self._device.index or 0)

    @property
    def dim(self) -> int:
        return self._dim

    def __len__(self) -> int:
        return len(self._register)

    def upsert(self, ids: Ids, rows: Features, norms: Matrix) -> None:
        check_rows(ids, rows, norms, self._dim)
        for start in range(0, len(ids), _HOLD_ROWS):
            part = slice(start, start + _HOLD_ROWS)
            with self._lock, self._at_work():
                values = torch.tensor(np.ascontiguousarray(rows[part]), device=self._device)
                at, n = self._register.places(ids[part])
                self._blocks.reserve(n)
                self._blocks.put(at, values)
                longest = torch.linalg.vector_norm(values.float(), dim=1).max()
                self._longest = torch.maximum(self._longest, longest)  # never read here: that would wait for the device
                self._register.enter(ids[part], norms[part], at, n)

    def remove(self, ids: Ids) -> int:
        with self._lock, self._at_work():
            n = sum(map(self._remove, ids.tolist()))
            self._blocks.release(len(self._register))
            return n

    def search(self, queries: Matrix, k: int, among: Ids | None = None) -> Neighbours:
        queries = check_queries(queries, k, self._dim)
        with self._lock, self._at_work(), torch.inference_mode():
            selection = select(self._blocks, self._register, among)
            parts = range(0, len(queries), _MOST_QUERIES)
            found = [self._search(queries[at : at + _MOST_QUERIES], k, selection) for at in parts]
            return exact.join(found, k)

    def rows(self, ids: Ids) -> Features:
        found = np.full((len(ids), self._dim), np.nan, np.float16)
        with self._lock, self._at_work():
            at = self._register.rows(ids)
            found[at >= 0] = self._blocks.get(at[at >= 0]).cpu().numpy()
        return found

    def norms(self, ids: Ids) -> Matrix:
        with self._lock:
            return self._register.norms(ids)

    def norm_bounds(self) -> tuple[float, float]:
        return self._register.norm_bounds

    def ids(self) -> Ids:
        with self._lock:
            return np.sort(self._register.ids)

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        with self._lock:
            return self._register.rows(ids) >= 0

    @property
    def n_bytes(self) -> int:
        return self._blocks.capacity * 2 * self._dim + self._register.n_bytes

    def close(self) -> None:
        with self._lock:
            self._register = Register()
            self._blocks.release(0)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Renames what torch and FAISS raise inside, and remembers whether the device works."""
        try:
            yield
        except RuntimeError as e:
            if isinstance(e, torch.OutOfMemoryError) or "out of memory" in str(e):
                why = "the index does not fit into the device's memory beside what is there already"
                raise DeviceOutOfMemory(why) from e
            if isinstance(e, torch.AcceleratorError) or "CUDA" in str(e):
                self.trouble = (
                    f"the device that holds the index failed: {(str(e) or 'it gave no reason').splitlines()[0]}"
                )
                raise DeviceFailed(self.trouble) from e
            raise
        self.trouble = None

    def _remove(self, id: int) -> bool:
        left = self._register.leave(id)
        if left is None:
            return False
        row, last = left
        if row != last:
            self._blocks.move(last, row)
        return True

    def _allocate(self, n: int) -> Tensor:
        return torch.empty((n, self._dim), dtype=torch.float16, device=self._device)

    def _search(self, queries: Matrix, k: int, selection: Selection[Tensor]) -> Neighbours:
        answer = exact.nothing(len(queries), k)
        left, n_wanted = np.arange(len(queries)), k + _SPARE
        while len(left) and 4 * n_wanted < selection.n:
            numbers, ceiling = self._candidates(queries[left], n_wanted, selection)
            found = exact.best(self._register.ids[numbers], self._scores(queries[left], numbers), k)
            sure = found.scores[:, -1] > ceiling
            answer.ids[left[sure]], answer.scores[left[sure]] = found.ids[sure], found.scores[sure]
            left, n_wanted = left[~sure], 4 * n_wanted
        for at in left if selection.n else ():
            found = self._all(queries[at], k, selection)
            answer.ids[at], answer.scores[at] = found.ids[0], found.scores[0]
        return answer

    def _candidates(
        self, queries: Matrix, n_wanted: int, selection: Selection[Tensor]
    ) -> tuple[NDArray[np.int64], Matrix]:
        """Numbers of candidates per query (q, n_wanted), and what the score of any other row cannot exceed (q,)."""
        scaled, exponents = exact.scaled(queries)
        seen = scaled.astype(np.float16)
        lost, length = exact.lengths(scaled - seen), exact.lengths(seen)
        error = (lost + exact.summation_error(self._dim) * length) * float(self._longest) * (1 + 1e-5)
        factor = torch.tensor(seen, device=self._device)
        if self._knn is not None and n_wanted <= self._knn.most:
            places, approximate = self._knn.propose(factor, n_wanted, selection)
        else:
            places, approximate = by_product(factor, n_wanted, selection, self._panel_bytes)
        ceiling = np.ldexp(approximate.amin(1).cpu().numpy() + error, exponents)
        return selection.numbers(places.cpu().numpy()), ceiling.astype(np.float32)

    def _scores(self, queries: Matrix, numbers: NDArray[np.int64]) -> Matrix:
        """Exact scores (q, m) of rows by number (q, m)."""
        wide = torch.tensor(queries, device=self._device).double()
        step = max(1, _RESCORED_BYTES // (8 * self._dim * numbers.shape[1]))
        parts = []
        for at in range(0, len(queries), step):
            part = numbers[at : at + step]
            rows = self._blocks.get(part.ravel()).view(*part.shape, self._dim).double()
            parts.append(torch.linalg.vecdot(rows, wide[at : at + step, None, :]).float())
        scores: Matrix = torch.cat(parts).cpu().numpy()
        return scores

    def _all(self, query: Matrix, k: int, selection: Selection[Tensor]) -> Neighbours:
        wide = torch.tensor(query, device=self._device).double()
        spans = selection.spans(max(1, _RESCORED_BYTES // (8 * self._dim)))
        scores = torch.cat([(selection.tile(lo, hi).double() @ wide).float() for lo, hi in spans]).cpu().numpy()
        ids = self._register.ids[selection.numbers(np.arange(selection.n))]
        return exact.best(ids[None, :], scores[None, :], k)
