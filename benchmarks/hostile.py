"""Hostile files mixed with good ones through the decode pool, and what that does to the process that runs it.

python -m benchmarks.hostile [--n 5000] [--good 2000] [--seed 0] [--workers 2] [--json]
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from benchmarks.mutants import good_files, hostile_files
from benchmarks.report import Row, at_least, at_most, emit
from indexer.errors import ImageRefused
from indexer.images.limits import Limits
from indexer.images.pool import DecodePool
from indexer.types import Decoded, Preprocess, Reason

PREPROCESS = Preprocess(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
TIMEOUT_S = 10.0
WARM_SHARE = 0.1
"""Of the run, before memory is first read: pools, code paths and the allocator's arenas are then as they stay."""


@dataclass
class Tally:
    """What came of every file."""

    good: int = 0
    decoded_anyway: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    without_reason: int = 0
    good_refused: int = 0
    last_answer_s: float = field(default_factory=time.monotonic)
    longest_pause_s: float = 0.0

    def answered(self, _: Future[Decoded]) -> None:
        now = time.monotonic()
        self.longest_pause_s = max(self.longest_pause_s, now - self.last_answer_s)
        self.last_answer_s = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5000, help="hostile files")
    parser.add_argument("--good", type=int, default=2000, help="good files among them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    files = [(True, data) for data in good_files(arguments.good, arguments.seed)]
    files += [(False, data) for _, data in hostile_files(arguments.n, arguments.seed)]
    order = np.random.default_rng(arguments.seed).permutation(len(files))
    emit(_run([files[i] for i in order], arguments.workers), arguments.json)


def _run(files: list[tuple[bool, bytes]], n_workers: int) -> Iterator[Row]:
    tally = Tally()
    pool = DecodePool(PREPROCESS, Limits(), n_workers=n_workers, timeout_s=TIMEOUT_S)
    waiting: deque[tuple[bool, Future[Decoded]]] = deque()
    before = 0
    try:
        pool.decode(files[0][1]).exception()
        started = tally.last_answer_s = time.monotonic()
        for i, (good, data) in enumerate(files):
            if i == int(WARM_SHARE * len(files)):
                before = _resident_bytes()
            waiting.append((good, pool.decode(data)))
            waiting[-1][1].add_done_callback(tally.answered)
            while len(waiting) > 64 or (waiting and waiting[0][1].done()):
                _count(tally, *waiting.popleft())
        while waiting:
            _count(tally, *waiting.popleft())
        elapsed = time.monotonic() - started
        drift = (_resident_bytes() - before) / 1e6
        zombies = _zombies()
    finally:
        pool.close()
    n_hostile = sum(not good for good, _ in files)
    told = ", ".join(f"{reason} {n}" for reason, n in tally.reasons.most_common())
    sys.stderr.write(f"{tally.decoded_anyway} of {n_hostile} hostile files decoded all the same; refused: {told}\n")
    yield Row("R6-rate", f"files of all kinds, {n_workers} workers", len(files) / elapsed, "files/s")
    yield at_least(
        "R6-good", f"good files decoded, of {tally.good}", 100 * (1 - tally.good_refused / tally.good), "%", 100
    )
    yield at_most(
        "R6-reason", f"refusals without a reason, of {tally.reasons.total()}", tally.without_reason, "files", 0
    )
    yield at_most("R6-pause", "longest time without any answer", tally.longest_pause_s, "s", TIMEOUT_S + 1)
    yield at_most("R6-drift", "growth of this process's resident memory", drift, "MB", 100)
    yield at_most("R6-zombies", "children left unreaped", zombies, "processes", 0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Row("R6-peak", "peak of this process's resident memory, the corpus included", peak, "MiB")


def _count(tally: Tally, good: bool, future: Future[Decoded]) -> None:
    error = future.exception()
    tally.good += good
    if error is None:
        tally.decoded_anyway += not good
        return
    tally.good_refused += good
    if isinstance(error, ImageRefused) and error.detail:
        tally.reasons[error.reason] += 1
    else:
        tally.without_reason += 1


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def _zombies() -> int:
    n = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                name, state = stat.read().rpartition(b")")[::2]
        except OSError:
            continue
        n += state.split()[0] == b"Z" and b"python" in name
    return n


if __name__ == "__main__":
    main()
