"""The index on a CUDA device: G7 to G9 of `python -m benchmarks.index`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from benchmarks.report import Row, at_least, at_most, skipped
from indexer.index.gpu import Kernel, TorchIndex

DIM, K = 1280, 10
GOALS = [
    ("G7a", "one exact query against bytes / copy bandwidth", "x", "<= 1.3"),
    ("G7b", "1,024 exact queries against the GEMM rate", "%", ">= 45"),
    ("G7c", "ids equal to a float64 reference", "%", ">= 99.9"),
    ("G8a", "one query against GpuIndexFlat FP16", "x", ">= 1.5"),
    ("G8b", "1,024 queries against GpuIndexFlat FP16", "x", ">= 3"),
    ("G9a", "upsert one row", "us", "<= 100"),
    ("G9b", "remove one row", "us", "<= 100"),
]


def rows(quick: bool) -> Iterator[Row]:
    """G7 to G9, or that there is no device."""
    if not torch.cuda.is_available():
        yield from (skipped(id, what, "no GPU here", unit, goal) for id, what, unit, goal in GOALS)
        return
    sizes = [1_000_000] if quick else [1_000_000, 10_000_000]
    for n in sizes:
        if 3 * n * DIM * 2 > 0.9 * torch.cuda.get_device_properties(0).total_memory:
            yield skipped("G7", f"{n:,} x {DIM}", "it does not fit beside its peer")
            continue
        yield from measured(n)


def measured(n: int) -> Iterator[Row]:
    """Every figure for one size."""
    bandwidth, gemm = _copy_bandwidth(), _gemm_rate()
    yield Row("G0", f"copy bandwidth (read + write), n = {n:,}", bandwidth / 1e9, "GB/s")
    yield Row("G0", "FP16 matrix product, 8192 cubed", gemm / 1e12, "TFLOP/s")
    features = _unit_rows(n)
    queries = _unit_rows(1024).float().cpu().numpy()
    reference = _reference(features, queries[:256])
    for kernel in ("torch", "faiss"):
        index = _filled(features, kernel)
        one = _seconds(partial(index.search, queries[:1], K))
        many = _seconds(partial(index.search, queries, K))
        limit = n * DIM * 2 / bandwidth
        what = f"{n:,} x {DIM}, kernel {kernel}: {one * 1e3:.2f} ms"
        yield at_most("G7a", f"one exact query, {what}", one / limit, "x", 1.3, "bytes / copy bandwidth")
        share = 100 * 2 * 1024 * n * DIM / gemm / many
        yield at_least(
            "G7b", f"1,024 queries, kernel {kernel}: {many * 1e3:.1f} ms", share, "%", 45, "measured GEMM rate"
        )
        same = 100 * float(np.mean(index.search(queries[:256], K).ids == reference))
        yield at_least("G7c", f"ids equal to float64, kernel {kernel}", same, "%", 99.9)
        if kernel == "torch":
            yield from _against_flat(features, queries, one, many)
            yield from _changed(index, features)
        index.close()
        del index
        torch.cuda.empty_cache()


def _against_flat(features: torch.Tensor, queries: np.ndarray, one: float, many: float) -> Iterator[Row]:
    import faiss

    settings = faiss.GpuIndexFlatConfig()
    settings.useFloat16 = True
    flat = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), DIM, settings)
    for start in range(0, len(features), 1 << 18):
        flat.add(features[start : start + (1 << 18)].float().cpu().numpy())
    peer = "faiss.GpuIndexFlatIP, float16"
    yield at_least("G8a", "one query", _seconds(lambda: flat.search(queries[:1], K)) / one, "x", 1.5, peer)
    yield at_least("G8b", "1,024 queries", _seconds(lambda: flat.search(queries, K)) / many, "x", 3, peer)


def _changed(index: TorchIndex, features: torch.Tensor) -> Iterator[Row]:
    row, norm = features[5:6].cpu().numpy(), np.ones(1, np.float32)
    n = 200
    ids = iter(range(1000, 10**6))

    def upsert_some() -> None:
        for _ in range(n):
            index.upsert(np.array([77]), row, norm)

    def remove_some() -> None:
        for _ in range(n):
            index.remove(np.array([next(ids)]))

    upsert, remove = _seconds(upsert_some) / n, _seconds(remove_some) / n
    yield at_most("G9a", f"upsert 1 of {len(features):,}", upsert * 1e6, "us", 100)
    yield at_most("G9b", f"remove 1 of {len(features):,}", remove * 1e6, "us", 100)


def _unit_rows(n: int) -> torch.Tensor:
    rows = torch.empty(n, DIM, dtype=torch.float16, device="cuda")
    centres = torch.randn(2000, DIM, device="cuda")
    for part in torch.split(rows, 1 << 18):
        noise = 0.8 * torch.randn(len(part), DIM, device="cuda")
        part.copy_(torch.nn.functional.normalize(centres[torch.randint(2000, (len(part),))] + noise, dim=1))
    return rows


def _reference(features: torch.Tensor, queries: np.ndarray) -> np.ndarray:
    wide = torch.tensor(queries, device="cuda").double()
    best: list[torch.Tensor] = []
    for query in wide:
        scores = torch.cat([(part.double() @ query).float() for part in torch.split(features, 1 << 18)])
        best.append(scores.topk(K).indices + 1)
    found: np.ndarray = torch.stack(best).cpu().numpy()
    return found


def _filled(features: torch.Tensor, kernel: Kernel) -> TorchIndex:
    index = TorchIndex(DIM, device="cuda", kernel=kernel)
    for start in range(0, len(features), 1 << 18):
        part = features[start : start + (1 << 18)].cpu().numpy()
        index.upsert(np.arange(start + 1, start + 1 + len(part)), part, np.ones(len(part), np.float32))
    return index


def _seconds(call: Callable[[], object], repeats: int = 15) -> float:
    times = []
    for turn in range(repeats + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        if turn >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _copy_bandwidth() -> float:
    source = torch.ones(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * len(source) / _seconds(lambda: target.copy_(source))


def _gemm_rate() -> float:
    a = torch.randn(8192, 8192, device="cuda").half()
    return 2 * 8192**3 / _seconds(lambda: a @ a)
