"""Exact search of float16 rows on a CPU: few queries are scanned at the speed of memory, many are a matrix product."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexer.index import exact, gemm
from indexer.index.blocks import Blocks
from indexer.index.bounds import TileBounds
from indexer.index.crew import Crew
from indexer.index.gemm import Batch, Sieve
from indexer.index.register import Register
from indexer.index.scan import Scan
from indexer.index.selection import Selection
from indexer.types import Features, Matrix, Neighbours

Numbers = NDArray[np.int64]

_NORM, _RESIDUAL = range(2)
_FEW_QUERIES = 4  # up to here, scanning once per query is faster than converting every row for a product
_MOST_QUERIES = 256  # multiplied together; more would spend memory and save little
_SPARE = 16  # candidates beyond k: nearly always enough to tell that no other row can be among the k
_SCAN_TILES = 32  # at most in one call of the kernel


class ExactSearch:
    """Searches the rows of `blocks`, which nobody changes meanwhile.

    Kernels propose rows with a bound on what they may have got wrong; `exact.scores` ranks as many of them as it takes
    to be sure that no other row belongs to the k best.
    """

    def __init__(self, blocks: Blocks[Features], register: Register, crew: Crew, half: bool) -> None:
        self._blocks = blocks
        self._register = register
        self._crew = crew
        self._half = half
        self._bounds = TileBounds(blocks, crew, (gemm.norm_bound, gemm.residual_bound))

    def forget(self, rows: Numbers | int, n: int) -> None:
        """These of the rows 0 to n - 1 have changed, or are new."""
        self._bounds.forget(rows, n)

    def search(self, queries: Matrix, k: int, selection: Selection[Features]) -> Neighbours:
        """The k best of the selection per query (q, dim)."""
        answers: list[Neighbours] = []
        if len(queries) <= _FEW_QUERIES or not selection.n:
            answers.extend(self._one(queries[at : at + 1], k, selection) for at in range(len(queries)))
        else:
            for start in range(0, len(queries), _MOST_QUERIES):
                answers.extend(self._many(queries[start : start + _MOST_QUERIES], k, selection))
        return exact.join(answers, k)

    def _one(self, query: Matrix, k: int, selection: Selection[Features]) -> Neighbours:
        scaled, exponent = exact.scaled(query)
        longest = self._bounds.largest(_NORM, len(self._register))
        error = exact.summation_error(query.shape[1]) * exact.lengths(scaled) * longest
        n_wanted = k + _SPARE
        while 4 * n_wanted < selection.n:
            places, approximate = self._scan(scaled[0], n_wanted, selection)
            answer = self._ranked(query[0], k, selection.numbers(places))
            if answer.scores[0, -1] > np.float32(np.ldexp(approximate.min() + error, exponent)[0]):
                return answer
            n_wanted *= 4
        return self._all(query[0], k, selection)

    def _scan(self, query: Matrix, n_wanted: int, selection: Selection[Features]) -> tuple[Numbers, Matrix]:
        def scan(spans: Iterator[tuple[int, int]]) -> tuple[Numbers, Matrix]:
            kernel = Scan(query, n_wanted)
            for start, stop in spans:
                kernel.feed(start, selection.tile(start, stop))
            return kernel.found()

        found = self._crew.share(self._pieces(selection), scan)
        places, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best = np.argpartition(scores, len(scores) - n_wanted)[len(scores) - n_wanted :]
        return places[best], scores[best]

    def _many(self, queries: Matrix, k: int, selection: Selection[Features]) -> list[Neighbours]:
        n = len(self._register)
        residual = self._bounds.largest(_RESIDUAL, n) if self._half else 0.0
        scaled, _ = exact.scaled(queries)
        batch = Batch(scaled, k, self._bounds.largest(_NORM, n), residual, self._half)

        def sift(spans: Iterator[tuple[int, int]]) -> tuple[Numbers, Numbers]:
            sieve = Sieve(batch, self._blocks.tile_rows)
            for start, stop in spans:
                sieve.feed(start, selection.tile(start, stop))
            return sieve.found()

        sifted = self._crew.share(selection.spans(self._blocks.tile_rows), sift, apart=True)
        asked, places = (np.concatenate(parts) for parts in zip(*sifted, strict=True))
        order = np.argsort(asked, kind="stable")
        kept = np.split(selection.numbers(places[order]), np.searchsorted(asked[order], np.arange(1, len(queries))))
        answers: dict[int, Neighbours] = {}

        def rank(numbers: Iterator[int]) -> None:
            for at in numbers:
                answers[at] = self._ranked(queries[at], k, kept[at])

        self._crew.share(range(len(queries)), rank)
        return [answers[at] for at in range(len(queries))]

    def _all(self, query: Matrix, k: int, selection: Selection[Features]) -> Neighbours:
        scores = np.empty(selection.n, np.float32)

        def score(spans: Iterator[tuple[int, int]]) -> None:
            for start, stop in spans:
                scores[start:stop] = exact.scores(selection.tile(start, stop), query)

        self._crew.share(selection.spans(self._blocks.tile_rows), score)
        ids = self._register.ids[selection.numbers(np.arange(selection.n))]
        return exact.best(ids[None, :], scores[None, :], k)

    def _ranked(self, query: Matrix, k: int, numbers: Numbers) -> Neighbours:
        scores = exact.scores(self._blocks.get(numbers), query)
        return exact.best(self._register.ids[numbers][None, :], scores[None, :], k)

    def _pieces(self, selection: Selection[Features]) -> Iterator[tuple[int, int]]:
        """Spans for a scan: at first large, for each has its cost, then smaller, so that all threads end together."""
        tile_rows = self._blocks.tile_rows
        most = tile_rows * (_SCAN_TILES if selection.in_place else 1)  # what is gathered should not leave the cache
        left = selection.n
        for start, stop in selection.spans(selection.n):
            at = start
            while at < stop:
                size = min(max(left // (2 * self._crew.n_threads), 2 * tile_rows), most, stop - at)
                yield at, at + size
                at += size
                left -= size
