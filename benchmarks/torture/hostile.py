"""Mutated and made-up picture files among good ones, through the whole engine on the demo model."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.mutants import good_files, hostile_files
from benchmarks.report import Row, at_least, at_most
from benchmarks.torture.stub import configured
from indexer.engine import RunningEngine, open_engine
from indexer.proc import resident_bytes
from indexer.types import ContentHash, ImageQuery, TextQuery, content_hash

HOSTILE = 5_000
_GOOD_SHARE = 0.4
_PAUSE_GOAL_S = 11.0
"""A child is given 10 s for a picture."""
_WARM_SHARE = 0.1
"""Of the work, before memory is first read: pools, code paths and the allocator's arenas are then as they stay."""


@dataclass
class Result:
    """What came of it; memory of this process, which decodes nothing itself."""

    n_good: int = 0
    not_found: list[str] = field(default_factory=list)
    without_reason: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    n_decoded_anyway: int = 0
    longest_pause_s: float = 0.0
    drift_mb: float = 0.0
    errors: list[str] = field(default_factory=list)
    n_searches: int = 0
    n_children_left: int = 0
    seconds: float = 0.0


def run(args: argparse.Namespace) -> Iterator[Row]:
    n = args.rounds or HOSTILE
    with tempfile.TemporaryDirectory() as root:
        result = torture(Path(root), n, int(n * _GOOD_SHARE), args.seed)
    for line in result.not_found[:5] + result.errors[:5]:
        print(line)
    told = ", ".join(f"{reason} {count}" for reason, count in result.reasons.most_common())
    print(f"{result.n_decoded_anyway} of {n} decoded all the same; refused: {told}", file=sys.stderr)
    n_found = result.n_good - len(result.not_found)
    yield at_least("R6a", f"good files of {result.n_good} that are their own top hit", n_found, "", result.n_good)
    yield at_most("R6b", f"refusals of {result.reasons.total()} without a reason", result.without_reason, "", 0)
    yield at_most("R6c", "longest time without an outcome", result.longest_pause_s, "s", _PAUSE_GOAL_S)
    yield at_most("R6d", "growth of the daemon's resident memory", result.drift_mb, "MB", 100)
    yield at_most("R6e", f"searches that failed, of {result.n_searches:,}", len(result.errors), "", 0)
    yield at_most("R6f", "children left behind", result.n_children_left, "processes", 0)
    yield Row("R6g", "files of all kinds a second", (n + result.n_good) / result.seconds, "files/s")


def torture(root: Path, n_hostile: int, n_good: int, seed: int) -> Result:
    """Index them all, search meanwhile, then ask for each good one by its bytes."""
    config = configured(root, {"model.device": "cpu", "decode.timeout_s": 10.0})
    folder = config.folders[0]
    good = {content_hash(data): data for data in good_files(n_good, seed)}
    files = [*good.values(), *(data for _, data in hostile_files(n_hostile, seed))]
    order = np.random.default_rng(seed).permutation(len(files))
    for i, place in enumerate(order):
        path = folder / f"{i // 500}" / f"{i}.jpg"  # whatever they are: names prove nothing
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files[place])
    result = Result(n_good=len(good))
    before = _children()
    with open_engine(config) as engine:
        began = time.monotonic()
        _follow(engine, len(files), result)
        result.seconds = time.monotonic() - began
        _judge(engine, good, result)
    result.n_children_left = len(_children() - before)
    return result


def _follow(engine: RunningEngine, n_files: int, result: Result) -> None:
    """Watch until all have an outcome."""
    pause, first_bytes = threading.Event(), 0
    n_before, changed_at = 0, time.monotonic()
    while not (engine.stats().pending == 0 and n_before >= n_files):
        stats = engine.stats()
        n, now = stats.files + stats.errors, time.monotonic()
        result.longest_pause_s = max(result.longest_pause_s, now - changed_at)
        if n != n_before:
            n_before, changed_at = n, now
        if not first_bytes and n >= _WARM_SHARE * n_files:
            first_bytes = resident_bytes()
        try:
            engine.search(TextQuery("a red circle"), 5)
        except Exception as e:
            result.errors.append(f"{type(e).__name__}: {e}")
        result.n_searches += 1
        pause.wait(0.1)
    result.drift_mb = (resident_bytes() - first_bytes) / 1e6


def _judge(engine: RunningEngine, good: dict[ContentHash, bytes], result: Result) -> None:
    for hash, data in good.items():
        hits = engine.search(ImageQuery(data), 5).hits
        # Two files may show the same picture: then both have the top score.
        if hash.hex() not in [hit.id for hit in hits if hit.score >= hits[0].score]:
            result.not_found.append(f"{hash.hex()[:12]}: a good {data[:4]!r} of {len(data)} bytes")
    result.n_decoded_anyway = engine.stats().indexed - len(good)
    refused, _ = engine.refused(1 << 30)
    for record in refused:
        result.reasons[record.reason.value if record.reason else ""] += 1
        result.without_reason += not (record.reason and record.detail)


def _children() -> set[int]:
    """Processes below this one, ended but unreaped ones too."""
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
