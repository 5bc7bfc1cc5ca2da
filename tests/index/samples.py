"""Rows, queries, and every kind of index that keeps the port's promises."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from indexer.index.approximate import ApproximateIndex
from indexer.index.cpu import CpuIndex
from indexer.index.gpu import TorchIndex
from indexer.ports import VectorIndex
from tests.fakes.index import MemoryIndex

DIM = 24
Make = Callable[[int], VectorIndex]


def cpu_bfloat16(dim: int) -> VectorIndex:
    return CpuIndex(dim, threads=2, tile_rows=16, first_rows=16, half=True)


def cpu_float32(dim: int) -> VectorIndex:
    return CpuIndex(dim, threads=2, tile_rows=16, first_rows=16, half=False)


def torch_on_cpu(dim: int) -> VectorIndex:
    return TorchIndex(dim, device="cpu", first_rows=1024, panel_bytes=4096)


def without_lists_yet(dim: int) -> VectorIndex:
    return ApproximateIndex(cpu_float32(dim), recall=0.9, least_rows=1_000_000)


def torch_on_cuda(dim: int) -> VectorIndex:
    return TorchIndex(dim, device="cuda")


def faiss_on_cuda(dim: int) -> VectorIndex:
    return TorchIndex(dim, device="cuda", kernel="faiss")


REAL = [
    cpu_bfloat16,
    cpu_float32,
    torch_on_cpu,
    without_lists_yet,
    pytest.param(torch_on_cuda, marks=pytest.mark.gpu),
    pytest.param(faiss_on_cuda, marks=pytest.mark.gpu),
]
ALL = [MemoryIndex, *REAL]


@contextmanager
def opened(make: Make, dim: int = DIM) -> Iterator[VectorIndex]:
    with closing(make(dim)) as index:
        yield index


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def draw_rows(n: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    """Unit rows in clusters, as features come."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, n // 20), dim))
    spread = 0.5 * random.standard_normal((n, dim))
    return unit(centres[random.integers(0, len(centres), n)] + spread).astype(np.float16)


def draw_queries(n: int, dim: int = DIM, seed: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)))


def fill(index: VectorIndex, rows: np.ndarray, first_id: int = 1) -> np.ndarray:
    ids = np.arange(first_id, first_id + len(rows))
    index.upsert(ids, rows, norms_of(ids))
    return ids


def norms_of(ids: np.ndarray) -> np.ndarray:
    return (1 + (ids % 7) / 10).astype(np.float32)


def expected(ids: np.ndarray, rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Brute force in float64, rounded to float32, ties by lower id, padded."""
    scores = (queries.astype(np.float64) @ rows.astype(np.float64).T).astype(np.float32)
    found_ids = np.full((len(queries), k), -1, np.int64)
    found_scores = np.full((len(queries), k), -np.inf, np.float32)
    for at, row in enumerate(scores):
        best = np.lexsort((ids, -row))[:k]
        found_ids[at, : len(best)], found_scores[at, : len(best)] = ids[best], row[best]
    return found_ids, found_scores
