"""The index against FAISS and against the memory's speed: `python -m benchmarks.index [--quick] [--only C6] [--json]`.

C5 to C8 on the CPU; G7 to G9 where there is a CUDA device. Rows are clustered, queries are held out.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks import index_gpu
from benchmarks.flat_peer import FlatPeer
from benchmarks.report import Row, at_least, at_most, emit, paired_ratio, samples, skipped
from benchmarks.vectors import Clusters
from indexer.index.approximate import ApproximateIndex
from indexer.index.cpu import CpuIndex
from indexer.types import Features, Ids

K = 10
WANTED_RECALL = 0.985
UNMEASURED = skipped("C6b", "one exact query, 1M x 1280 FP16", "--quick", "x", "<= 1.15")


def filled(rows: Features, threads: int) -> CpuIndex:
    index = CpuIndex(rows.shape[1], threads=threads)
    for start in range(0, len(rows), 8192):
        part = rows[start : start + 8192]
        index.upsert(np.arange(start + 1, start + 1 + len(part)), part, np.ones(len(part), np.float32))
    return index


def recall(found: Ids, truth: Ids) -> float:
    """Mean share of the true ids that were found."""
    return float(np.mean([len(set(f) & set(t)) / len(t) for f, t in zip(found.tolist(), truth.tolist(), strict=True)]))


def batch(threads: int, repeats: int) -> Iterator[Row]:
    """C5: 64 queries on 100,000 rows of 1024."""
    clusters = Clusters(1024, n_centres=2000)
    rows, queries = clusters.rows(100_000), clusters.queries(64)
    index = filled(rows, threads)
    truth = np.argsort(-(queries.astype(np.float64) @ rows.T.astype(np.float64)), axis=1)[:, :K] + 1
    yield at_least(
        "C5c", "recall@10 of 64 exact queries, 100k x 1024", recall(index.search(queries, K).ids, truth), "", 1.0
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        paths = Path(folder) / "rows.npy", Path(folder) / "queries.npy"
        np.save(paths[0], rows)
        np.save(paths[1], queries)
        plain = stack.enter_context(FlatPeer(*paths, threads, None, None))
        tuned, how = _best_tuned(stack, paths, threads)
        times: dict[str, list[float]] = {"ours": [], "plain": [], "tuned": []}
        calls = {"ours": lambda: _timed(lambda: index.search(queries, K)), "plain": plain.search, "tuned": tuned.search}
        for turn in range(repeats + 1):
            for name, call in calls.items():
                seconds = call()
                if turn:
                    times[name].append(seconds)
    ms = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    what = f"64 exact queries, 100k x 1024, {threads} threads: {ms['ours']:.1f} ms against "
    yield at_least(
        "C5a",
        f"{what}{ms['plain']:.1f}",
        paired_ratio(times, "plain", "ours"),
        "x",
        11,
        "FAISS IndexFlatIP as it comes",
    )
    yield at_least(
        "C5b", f"{what}{ms['tuned']:.1f}", paired_ratio(times, "tuned", "ours"), "x", 1.3, f"FAISS IndexFlatIP, {how}"
    )
    index.close()


def _best_tuned(stack: ExitStack, paths: tuple[Path, Path], threads: int) -> tuple[FlatPeer, str]:
    tried: list[tuple[float, FlatPeer, str]] = []
    for core in (None, "Zen", "SkylakeX"):
        peer = stack.enter_context(FlatPeer(*paths, threads, 20, core))
        seconds = statistics.median(peer.search() for _ in range(5))
        tried.append((seconds, peer, f"BLAS from 20 queries on, OPENBLAS_CORETYPE={core or 'unset'}"))
    tried.sort(key=lambda one: one[0])
    return tried[0][1], tried[0][2]


def _timed(call: Callable[[], object]) -> float:
    return samples({"it": call}, 1, 0)["it"][0]


class Bandwidth:
    """Reads memory with every thread as fast as NumPy can: the yardstick for a scan."""

    def __init__(self, threads: int, n_bytes: int = 1 << 29) -> None:
        self._parts = np.array_split(np.ones(n_bytes // 8, np.int64), threads * 8)
        self._pool = ThreadPoolExecutor(threads)
        self.n_bytes = n_bytes

    def read(self) -> None:
        list(self._pool.map(np.sum, self._parts))

    def close(self) -> None:
        self._pool.shutdown()


def one_query(n: int, id: str, threads: int, repeats: int) -> Iterator[Row]:
    """C6: one query against the time that memory takes to deliver its bytes."""
    rows = Clusters(1280, n_centres=max(1, n // 50)).rows(n)
    query = Clusters(1280, n_centres=max(1, n // 50)).queries(1)
    index, memory = filled(rows, threads), Bandwidth(threads)
    n_bytes = rows.nbytes
    del rows
    times = samples({"search": lambda: index.search(query, K), "read": memory.read}, repeats, 2)
    times["limit"] = [seconds * n_bytes / memory.n_bytes for seconds in times["read"]]
    speed = memory.n_bytes / statistics.median(times["read"]) / 1e9
    ms = statistics.median(times["search"]) * 1e3
    what = f"one exact query, {n // 1000}k x 1280 FP16, {threads} threads: {ms:.2f} ms at {speed:.1f} GB/s"
    yield at_most(id, what, paired_ratio(times, "search", "limit"), "x", 1.15, "bytes / measured read bandwidth")
    index.close()
    memory.close()


def approximate(threads: int, repeats: int, n: int) -> Iterator[Row]:
    """C7: lists propose, the exact index ranks; queries are no rows, as widely as the index itself found it needs."""
    clusters = Clusters(1280, n_centres=2000)
    rows, queries = clusters.rows(n), clusters.queries(100)
    exactly = filled(rows, threads)
    index = ApproximateIndex(exactly, WANTED_RECALL, least_rows=1, calm_s=0.01)
    truth = exactly.search(queries, K).ids
    began = time.monotonic()
    if not index.wait(1800) or index.point is None:
        raise SystemExit("C7: no lists were made")
    made_s, point = time.monotonic() - began, index.point
    found = recall(np.concatenate([index.search(queries[at : at + 1], K).ids for at in range(100)]), truth)
    turns = cycle(range(100))
    calls = {
        "exact": lambda: exactly.search(queries[:1], K),
        "approximate": lambda: index.search(queries[(at := next(turns)) : at + 1], K),
    }
    times = samples(calls, 10 * repeats, 5)
    exact, fast = (statistics.median(times[name]) * 1e3 for name in ("exact", "approximate"))
    what = f"one approximate query, {n:,} x 1280, recall@10 {found:.4f}: {fast:.2f} ms against {exact:.2f}"
    peer = f"our exact search; {point.n_probe} lists, {point.factor} candidates a hit"
    row = at_least("C7", what, paired_ratio(times, "exact", "approximate"), "x", 6, peer)
    yield row if found >= WANTED_RECALL else replace(row, ok=False)
    what = f"memory beside {n:,} rows, 6.6 MB of it for the rotation; {made_s:.0f} s to make"
    yield Row("C7b", what, 100 * point.n_bytes / rows.nbytes, "% of them")
    index.close()


def change(repeats: int) -> Iterator[Row]:
    """C8: remove or update one row of 100,000."""
    rows = Clusters(1024, n_centres=2000).rows(100_000)
    index = filled(rows, 1)
    flat: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(1024))
    wide, one = rows.astype(np.float32), np.ones(1, np.float32)
    flat.add_with_ids(wide, np.arange(1, 100_001))
    n_calls = 200  # of ours in one timing
    ids = iter(np.random.default_rng(3).permutation(np.arange(1, 100_001)))

    def remove() -> None:
        for _ in range(n_calls):
            assert index.remove(np.array([next(ids)])) == 1

    def update() -> None:
        for _ in range(n_calls):
            index.upsert(np.array([77]), rows[76:77], one)

    def flat_remove() -> None:
        assert flat.remove_ids(np.array([next(ids)])) == 1

    def flat_update() -> None:
        id = next(ids)
        flat.remove_ids(np.array([id]))
        flat.add_with_ids(wide[id - 1 : id], np.array([id]))

    calls = {"remove": remove, "flat remove": flat_remove, "update": update, "flat update": flat_update}
    times = samples(calls, repeats)
    for id, name in (("C8a", "remove"), ("C8b", "update")):
        ours, theirs = statistics.median(times[name]) / n_calls * 1e6, statistics.median(times[f"flat {name}"]) * 1e3
        what = f"{name} 1 of 100k x 1024: {ours:.1f} us against {theirs:.1f} ms"
        ratio = n_calls * paired_ratio(times, f"flat {name}", name)
        yield at_least(id, what, ratio, "x", 1000, "FAISS IndexIDMap2 over IndexFlatIP")
    index.close()


def rows(quick: bool, only: str = "") -> Iterator[Row]:
    """Every row that this machine can give, or those of one group."""
    threads = len(os.sched_getaffinity(0))
    repeats = 5 if quick else 15
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "C5": lambda: batch(threads, repeats),
        "C6a": lambda: one_query(100_000, "C6a", threads, 4 * repeats),
        "C6b": lambda: iter([UNMEASURED]) if quick else one_query(1_000_000, "C6b", threads, 2 * repeats),
        "C7": lambda: chain(
            approximate(threads, repeats, 50_000 if quick else 100_000),
            iter(()) if quick else approximate(threads, repeats, 1_000_000),
        ),
        "C8": lambda: change(repeats),
        "G": lambda: index_gpu.rows(quick),
    }
    return chain.from_iterable(measure() for name, measure in groups.items() if name.startswith(only))


def main() -> None:
    parser = argparse.ArgumentParser(description="The index against FAISS and against the memory's speed.")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer, in under a minute or two")
    parser.add_argument("--only", default="", metavar="ID", help="rows that start with this, such as C6")
    parser.add_argument("--json", action="store_true", help="one line per row")
    asked = parser.parse_args()
    emit(rows(asked.quick, asked.only), asked.json)


if __name__ == "__main__":
    main()
