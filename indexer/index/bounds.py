"""Figures per tile of rows, such as its longest row: measured when first needed, forgotten when a row changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.index.blocks import Blocks
from indexer.index.crew import Crew
from indexer.types import Features

Measure = Callable[[Features], float]


class TileBounds:
    """Upper bounds that hold for every row, each as the largest of the tiles' figures.

    Args:
        blocks: The rows.
        crew: Who measures.
        measures: Each gives a figure of the rows (n, d) of one tile.
    """

    def __init__(self, blocks: Blocks[Features], crew: Crew, measures: Sequence[Measure]) -> None:
        self._blocks = blocks
        self._crew = crew
        self._measures = measures
        self._figures = np.full((len(measures), 16), np.nan)

    def forget(self, rows: NDArray[np.int64] | int, n: int) -> None:
        """These of the rows 0 to n - 1 have changed, or are new."""
        tile_rows = self._blocks.tile_rows
        if n > self._figures.shape[1] * tile_rows:
            self._figures = np.pad(self._figures, ((0, 0), (0, n // tile_rows + 1)), constant_values=np.nan)
        self._figures[:, rows // tile_rows] = np.nan

    def largest(self, measure: int, n: int) -> float:
        """The bound by one of the measures for rows 0 to n - 1. Rows that have left since may still be counted in."""
        tile_rows = self._blocks.tile_rows
        figures = self._figures[measure, : -(-n // tile_rows)]

        def fill(tiles: Iterator[int]) -> None:
            for tile in tiles:
                rows = self._blocks.view(tile * tile_rows, min((tile + 1) * tile_rows, n))
                figures[tile] = self._measures[measure](rows)

        self._crew.share(np.flatnonzero(np.isnan(figures)).tolist(), fill, apart=True)
        return float(figures.max(initial=0.0))
