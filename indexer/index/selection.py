"""The rows that a search looks at: all of them, where they stand, or some, gathered tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.index.blocks import Array, Blocks
from indexer.index.register import Register
from indexer.types import Ids

A_co = TypeVar("A_co", bound=Array, covariant=True)
A = TypeVar("A", bound=Array)


class Selection(Protocol[A_co]):
    """Places 0 to n - 1, each a row of the matrix, in spans that can be had as contiguous rows.

    Attributes:
        n: How many.
        in_place: Whether a tile is the matrix's own memory, not a copy.
    """

    n: int
    in_place: bool

    def spans(self, longest: int) -> Iterator[tuple[int, int]]:
        """Cut the places into (start, stop) of at most `longest`."""
        ...

    def tile(self, start: int, stop: int) -> A_co:
        """The rows of one span, contiguous; valid while the matrix is not changed."""
        ...

    def numbers(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row numbers of places."""
        ...


def select(blocks: Blocks[A], register: Register, among: Ids | None) -> Selection[A]:
    """All rows, or those of the ids `among` that are there."""
    if among is None:
        return _Everything(blocks, len(register))
    rows = np.unique(register.rows(among))
    return _Picked(blocks, rows[rows >= 0])


class _Everything(Generic[A]):
    in_place = True

    def __init__(self, blocks: Blocks[A], n: int) -> None:
        self.n = n
        self._blocks = blocks

    def spans(self, longest: int) -> Iterator[tuple[int, int]]:
        return self._blocks.spans(self.n, longest)

    def tile(self, start: int, stop: int) -> A:
        return self._blocks.view(start, stop)

    def numbers(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return places


class _Picked(Generic[A]):
    in_place = False

    def __init__(self, blocks: Blocks[A], rows: NDArray[np.int64]) -> None:
        self.n = len(rows)
        self._blocks = blocks
        self._rows = rows  # ascending and distinct

    def spans(self, longest: int) -> Iterator[tuple[int, int]]:
        return ((start, min(start + longest, self.n)) for start in range(0, self.n, longest))

    def tile(self, start: int, stop: int) -> A:
        return self._blocks.get(self._rows[start:stop])

    def numbers(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._rows[places]
