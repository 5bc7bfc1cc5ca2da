"""One query against many rows at the speed of memory: FAISS's float16 kernel, run over rows where they stand."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.types import Features, Matrix


class Scan:
    """The `k` rows with the largest inner product among all that were fed. For one thread.

    FAISS searches its own containers only, except through the scanner of an inverted list, which takes any address.
    Sums are float32 in an order of FAISS's choosing (see `exact.summation_error`).
    """

    def __init__(self, query: Matrix, k: int) -> None:
        dim = len(query)
        self._kind = faiss.ScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16)
        self._scanner = self._kind.select_InvertedListScanner(  # type: ignore[attr-defined] # its stubs lack this
            faiss.METRIC_INNER_PRODUCT, None, True, None, False
        )
        self._query = np.ascontiguousarray(query, np.float32)
        self._k = k
        self._scores = np.full(k, -np.inf, np.float32)
        self._places = np.full(k, -1, np.int64)
        self._starts: list[int] = []
        self._heap = faiss.swig_ptr(self._scores), faiss.swig_ptr(self._places)
        self._scanner.set_query(faiss.swig_ptr(self._query))

    def feed(self, start: int, rows: Features) -> None:
        """Look at contiguous rows (n, d), numbered from `start`. The interpreter's lock is released meanwhile."""
        self._scanner.set_list(len(self._starts), 0.0)
        self._starts.append(start)
        self._scanner.scan_codes(len(rows), faiss.swig_ptr(rows.view(np.uint8)), None, *self._heap, self._k)

    def found(self) -> tuple[NDArray[np.int64], Matrix]:
        """Numbers and scores of the best rows, in no order; fewer than `k` only if fewer were fed."""
        there = self._places >= 0
        places = self._places[there]
        starts = np.array(self._starts, np.int64)
        return starts[places >> 32] + (places & 0xFFFFFFFF), self._scores[there]
