"""Many queries against many rows: a matrix product in BFloat16 proposes, and drops nothing that may be among the best.

CPUs multiply BFloat16 several times faster than float32, but round: eight bits are left of a value. The rounding is
bounded here row by row and query by query, and only rows that are worse than k others beyond any doubt are dropped;
`exact.scores` ranks the rest. So the answer is exact, and the bound decides only how many rows are looked at twice.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray

from indexer.index.exact import lengths, summation_error
from indexer.types import Features, Matrix

_SHIFT = 112
"""A float16's bits, shifted right by three, are a BFloat16 that is 2**112 times too small: three integer operations
convert, several times faster than any library does. Queries are multiplied by 2**112 in return."""
_SMALLEST = 2.0**-14  # smaller float16 values become denormal BFloat16, which the processor takes for zero


def has_fast_bfloat16() -> bool:
    """Whether this CPU multiplies BFloat16 in hardware."""
    known = torch.cpu.get_capabilities()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def one_thread_each() -> Callable[[], None]:
    """What a thread calls to make torch use one core for it.

    Torch takes that number for the default of threads to come as well, so another thread sets the default again.
    """
    elsewhere = torch.get_num_threads()

    def prepare() -> None:
        torch.get_num_threads()  # at its first work a thread takes the default, whatever it was told before
        torch.set_num_threads(1)
        other = Thread(target=torch.set_num_threads, args=(elsewhere,))
        other.start()
        other.join()

    return prepare


def norm_bound(rows: Features) -> float:
    """The largest length of rows (n, d)."""
    return float(torch.linalg.vector_norm(_wide(rows), dim=1).max()) * (1 + 1e-5)


def residual_bound(rows: Features) -> float:
    """The largest |x - x'| of rows x (n, d), where x' is what the product sees of x."""
    bits = np.empty(rows.shape, np.int16)
    seen = bfloat16(rows, bits).float().mul_(2.0**_SHIFT)
    seen[seen.abs() < _SMALLEST] = 0
    return float(torch.linalg.vector_norm(_wide(rows).sub_(seen), dim=1).max()) * (1 + 1e-5)


class Batch:
    """Queries (q, d), each scaled (`exact.scaled`), ready to be multiplied; shared by the threads that search for them.

    Args:
        queries: Float32.
        k: How many rows are wanted of each.
        norm: No row is longer.
        residual: No row loses more in conversion; 0 with `half` False.
        half: Whether to multiply in BFloat16 (else in float32).
    """

    def __init__(self, queries: Matrix, k: int, norm: float, residual: float, half: bool) -> None:
        self.n, self.dim = queries.shape
        self.k = k
        self.half = half
        exact = torch.from_numpy(queries)
        seen = exact.bfloat16() if half else exact
        lost = lengths((exact - seen.float()).numpy())
        length = lengths(seen.float().numpy())
        self.factor = (seen * 2.0**_SHIFT if half else seen).T.contiguous()  # (d, q): multiplies a tenth faster
        self.error = lost * norm + length * residual + summation_error(self.dim) * length * (norm + residual)
        self.floor = np.full(self.n, -np.inf)
        """Per query: k rows are known whose exact score is at least this. Threads raise it as they go."""
        self.cut = np.full(self.n, -np.inf, np.float32)
        """Per query: a row with a lower approximate score is not among the k best."""

    def margin(self, approximate: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far rounding the result to BFloat16 may have moved it: half the spacing there."""
        if not self.half:
            return np.zeros_like(approximate)
        half_spacing: NDArray[np.float64] = np.ldexp(1.0, np.frexp(approximate)[1] - 9)
        return half_spacing

    def raise_floor(self, queries: NDArray[np.int64], kth: Matrix) -> None:
        """For these queries, k rows have at least these approximate scores."""
        sure = kth - self.margin(kth.astype(np.float64)) - self.error[queries]
        self.floor[queries] = np.maximum(self.floor[queries], sure)
        limit = self.floor - self.error
        self.cut = (limit - 2 * self.margin(limit)).astype(np.float32)


class Sieve:
    """What one thread keeps of a batch's rows: those that may be among the k best."""

    def __init__(self, batch: Batch, tile_rows: int) -> None:
        self._batch = batch
        self._bits = np.empty((tile_rows, batch.dim), np.int16 if batch.half else np.float32)
        self._product = torch.empty(batch.n * tile_rows, dtype=torch.bfloat16 if batch.half else torch.float32)
        self._approximate = torch.empty(batch.n * tile_rows)
        self._kept: list[tuple[NDArray[np.int64], NDArray[np.int64], Matrix]] = []
        self._n_kept = self._n_sifted = 0

    def feed(self, start: int, rows: Features) -> None:
        """Look at rows (n, d), numbered from `start`; n is at most the tile's."""
        batch, n = self._batch, len(rows)
        product = self._product[: batch.n * n].view(n, batch.n)
        torch.mm(self._factor(rows), batch.factor, out=product)
        approximate = self._approximate[: batch.n * n].view(n, batch.n).copy_(product).numpy()
        if n >= batch.k and np.isneginf(batch.cut).any():
            kth = np.partition(approximate, n - batch.k, axis=0)[n - batch.k]
            batch.raise_floor(np.arange(batch.n), kth)
        places = np.flatnonzero(approximate >= batch.cut)
        if len(places):
            self._keep(places % batch.n, start + places // batch.n, approximate.reshape(-1)[places])

    def found(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(query, row number) of all that were kept, by query."""
        queries, numbers, _ = self._sift()
        return queries, numbers

    def _factor(self, rows: Features) -> torch.Tensor:
        if self._batch.half:
            return bfloat16(rows, self._bits[: len(rows)])
        return torch.from_numpy(self._bits[: len(rows)]).copy_(torch.from_numpy(rows))

    def _keep(self, queries: NDArray[np.int64], numbers: NDArray[np.int64], approximate: Matrix) -> None:
        self._kept.append((queries, numbers, approximate))
        self._n_kept += len(queries)
        if self._n_kept > 2 * max(self._n_sifted, self._batch.n * self._batch.k):
            self._kept = [self._sift()]
            self._n_kept = self._n_sifted = len(self._kept[0][0])

    def _sift(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Matrix]:
        if not self._kept:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
        queries, numbers, approximate = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        order = np.lexsort((-approximate, queries))
        queries, numbers, approximate = queries[order], numbers[order], approximate[order]
        first = np.searchsorted(queries, np.arange(self._batch.n + 1))
        enough = np.flatnonzero(np.diff(first) >= self._batch.k)
        self._batch.raise_floor(enough, approximate[first[enough] + self._batch.k - 1])
        kept = approximate >= self._batch.cut[queries]
        return queries[kept], numbers[kept], approximate[kept]


def bfloat16(rows: Features, bits: NDArray[np.int16]) -> torch.Tensor:
    """Rows (n, d) as BFloat16, 2**112 times too small, in the memory of `bits` (n, d)."""
    np.add(rows.view(np.int16), np.int16(4), out=bits)  # rounds half away from zero: the sign stands apart
    np.right_shift(bits, np.int16(3), out=bits)
    np.bitwise_and(bits, np.int16(-0x7001), out=bits)  # the shift has copied the sign into the exponent
    return torch.from_numpy(bits).view(torch.bfloat16)


def _wide(rows: Features) -> torch.Tensor:
    return torch.from_numpy(rows).float()
