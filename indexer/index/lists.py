"""FAISS's inverted lists of one-bit codes: which rows may be near a query, at a fifteenth of their bytes."""

from __future__ import annotations

import math

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.index.lock import ReadersWriter
from indexer.types import Features, Ids, Matrix

_SAMPLES = 40  # rows to learn each list's centre from; fewer make FAISS complain
_ITERATIONS = 8
_QUERY_BITS = 8


class InvertedLists:
    """Ids of rows by region, with RaBitQ codes to rank them roughly (Gao and Long, SIGMOD 2024).

    Each row lies in the list of its nearest centre as one bit per dimension of what it differs from it, after a random
    rotation, which the codes' error bound asks for. Proposals run beside each other; additions shut them out briefly.

    Args:
        rows: What to learn the centres from (n, dim), float16, unit length.
        n_lists: Centres.
        seed: Of the rotation.
    """

    def __init__(self, rows: Features, n_lists: int, seed: int = 0) -> None:
        _use_one_thread()
        dim = rows.shape[1]
        self.n_lists = n_lists
        self._lock = ReadersWriter()
        self._rotation = faiss.RandomRotationMatrix(dim, dim)
        self._rotation.init(seed)
        self._centres = faiss.IndexFlatIP(dim)  # FAISS does not keep it alive
        self._lists = faiss.IndexIVFRaBitQFastScan(self._centres, dim, n_lists, faiss.METRIC_INNER_PRODUCT)
        self._lists.cp.niter = _ITERATIONS
        self._lists.cp.spherical = True
        self._lists.cp.min_points_per_centroid = 1
        self._lists.train(self._rotated(rows.astype(np.float32)))

    @staticmethod
    def n_samples(n_lists: int) -> int:
        """How many rows are enough to learn from."""
        return n_lists * _SAMPLES

    @staticmethod
    def lists_for(n_rows: int) -> int:
        """How many lists suit so many rows: twice the root of their number, but 200 rows to pay for each centre."""
        return int(2 ** max(4, round(math.log2(max(1, min(2 * math.sqrt(n_rows), n_rows / 200))))))

    def __len__(self) -> int:
        return int(self._lists.ntotal)

    def add(self, ids: Ids, rows: Features) -> None:
        """Enter rows (n, dim) under their ids (n,). One that is there already stays there, beside the new one."""
        _use_one_thread()
        rotated = self._rotated(rows.astype(np.float32))
        with self._lock.writing:
            self._lists.add_with_ids(rotated, ids)

    def propose(self, queries: Matrix, n: int, n_probe: int) -> Ids:
        """Ids (q, n) of rows that seem nearest to queries (q, dim) in the `n_probe` nearest lists, padded with -1."""
        _use_one_thread()
        how = faiss.IVFRaBitQSearchParameters()
        how.nprobe = min(n_probe, self.n_lists)
        how.qb = _QUERY_BITS
        rotated = self._rotated(queries)
        with self._lock.reading:
            _, ids = self._lists.search(rotated, n, params=how)
        found: Ids = ids
        return found

    @property
    def n_bytes(self) -> int:
        """Memory held by codes, ids, centres and rotation, bytes."""
        dim = self._lists.d
        return len(self) * (self._lists.code_size + 8) + 4 * dim * (self.n_lists + dim)

    def _rotated(self, vectors: Matrix) -> NDArray[np.float32]:
        rotated: NDArray[np.float32] = self._rotation.apply(np.ascontiguousarray(vectors))
        return rotated


def _use_one_thread() -> None:
    """In the calling thread, FAISS uses one core: queries come beside each other, and the rest is in the background."""
    faiss.omp_set_num_threads(1)
