"""Rows of float16 in blocks: growing copies nothing, and a row is overwritten where it stands."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class Array(Protocol):
    """What is asked of a block: a NumPy array or a torch tensor (n, dim) of float16."""

    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...


A = TypeVar("A", bound=Array)
_At = slice | int | NDArray[np.int64]
_FEW = 64  # below this, rows are copied one by one


class Blocks(Generic[A]):
    """Storage for rows 0, 1, 2, ...

    A block is never moved, and each new one is a tenth of what is there already: growing holds at most a tenth more
    memory than is needed, and never copies.

    Args:
        allocate: Makes an uninitialised block of so many rows; main memory costs nothing until it is written to.
        tile_rows: Blocks begin and end at multiples of this, so that a tile never straddles two.
        first_rows: The smallest block.

    Attributes:
        tile_rows: As given.
        capacity: Rows that fit without another block.
        n_touched: The most rows that there have been in these blocks: what main memory has really given.
    """

    def __init__(self, allocate: Callable[[int], A], tile_rows: int, first_rows: int) -> None:
        self.tile_rows = tile_rows
        self.capacity = self.n_touched = 0
        self._allocate = allocate
        self._first_rows = first_rows
        self._blocks: list[A] = []
        self._starts: list[int] = []

    def reserve(self, n: int) -> None:
        """Make room for `n` rows in all."""
        if n > self.capacity:
            wanted = max(n - self.capacity, self._first_rows, self.capacity // 10)
            size = -(-wanted // self.tile_rows) * self.tile_rows
            self._blocks.append(self._allocate(size))
            self._starts.append(self.capacity)
            self.capacity += size
        self.n_touched = max(self.n_touched, n)

    def release(self, n: int) -> None:
        """Give blocks back that `n` rows do not need; one spare is kept, lest a row that comes and goes churn."""
        n_spare = 1 if n else 0
        while len(self._starts) > n_spare and self._starts[-1 - n_spare] >= n:
            self.capacity = self._starts.pop()
            self._blocks.pop()
        self.n_touched = min(self.n_touched, self.capacity)

    def view(self, start: int, stop: int) -> A:
        """Rows start to stop - 1, which lie in one block, without a copy."""
        at = bisect_right(self._starts, start) - 1
        base = self._starts[at]
        part: A = self._blocks[at][start - base : stop - base]
        return part

    def spans(self, n: int, longest: int) -> Iterator[tuple[int, int]]:
        """Cut rows 0 to n - 1 into spans (start, stop) of at most `longest` rows, none over the edge of a block."""
        for start, block in zip(self._starts, self._blocks, strict=True):
            stop = min(start + len(block), n)
            for at in range(start, stop, longest):
                yield at, min(at + longest, stop)

    def get(self, rows: NDArray[np.int64]) -> A:
        """A copy of rows (m,): (m, dim)."""
        values = self._allocate(len(rows))
        for at, block, inside in self._by_block(rows):
            values[at] = block[inside]
        return values

    def put(self, rows: NDArray[np.int64], values: A) -> None:
        """Overwrite rows (m,) with values (m, dim)."""
        for at, block, inside in self._by_block(rows):
            block[inside] = values[at]

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        self.view(target, target + 1)[:] = self.view(source, source + 1)

    def _by_block(self, rows: NDArray[np.int64]) -> Iterator[tuple[_At, A, _At]]:
        """(which of `rows`, block, their places in it), whichever way copies them fastest."""
        if not len(rows):
            return
        first, last = int(rows[0]), int(rows[-1])
        at = bisect_right(self._starts, first) - 1
        base = self._starts[at]
        if last < base + len(self._blocks[at]) and _consecutive(rows, first, last):
            yield slice(None), self._blocks[at], slice(first - base, last - base + 1)
        elif len(rows) <= _FEW:
            for i, row in enumerate(rows.tolist()):
                at = bisect_right(self._starts, row) - 1
                yield i, self._blocks[at], row - self._starts[at]
        else:
            numbers = np.searchsorted(self._starts, rows, side="right") - 1
            for number in np.unique(numbers).tolist():
                where = np.flatnonzero(numbers == number)
                yield where, self._blocks[number], rows[where] - self._starts[number]


def _consecutive(rows: NDArray[np.int64], first: int, last: int) -> bool:
    return last - first == len(rows) - 1 and (first == last or bool((rows[1:] > rows[:-1]).all()))
