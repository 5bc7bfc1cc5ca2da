"""Months in minutes: searches, additions and deletions without a pause on a large index; memory must not grow."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.report import Row, at_least, at_most
from benchmarks.torture.oracle import differences
from benchmarks.torture.stub import configured, feature_of, open_stub, space_of
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config
from indexer.engine import RunningEngine, open_engine
from indexer.errors import NotFound
from indexer.features.disk import DiskFeatureCache
from indexer.ports import VectorIndex
from indexer.proc import resident_bytes, share_heaps
from indexer.store.data_dir import DataDir
from indexer.types import (
    FilePath,
    Found,
    IdQuery,
    ImageInfo,
    ImageQuery,
    Query,
    Stamp,
    StoredFeature,
    TextQuery,
    VectorQuery,
    content_hash,
)

ROWS = 100_000
MINUTES = 30
SEARCHERS = 8
_ADDS_PER_S, _DELETES_PER_S = 100, 20
_DEAD_GOAL_S = 1.0
_TICK_S = 0.1


@dataclass
class Result:
    """What came of it.

    Attributes:
        slope_mb: Growth of resident memory a minute, over the second half.
        slope_rows_mb: Of that, what the index's additional rows take.
    """

    errors: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    n_searches: int = 0
    n_added: int = 0
    n_deleted: int = 0
    slope_mb: float = 0.0
    slope_rows_mb: float = 0.0
    memory_mb: list[float] = field(default_factory=list)
    seconds: float = 0.0


def run(args: argparse.Namespace) -> Iterator[Row]:
    minutes = args.rounds or MINUTES
    with tempfile.TemporaryDirectory() as root:
        result = torture(Path(root), 60 * minutes, args.seed)
    for line in [*result.errors[:10], *result.dead[:10], *result.differing]:
        print(line)
    print(f"resident memory, MB: {result.memory_mb}", file=sys.stderr)
    what = f"{minutes:g} minutes on {ROWS:,} rows, {result.n_searches:,} searches, {result.n_added:,} added"
    yield at_most("R9a", f"errors in {what}, {result.n_deleted:,} deleted", len(result.errors), "", 0)
    yield at_most(
        "R9b", f"dead paths in answers {_DEAD_GOAL_S:g} s after they were seen to go", len(result.dead), "", 0
    )
    yield at_most("R9c", "growth of resident memory a minute, second half", result.slope_mb, "MB", 1.0)
    beside = result.slope_mb - result.slope_rows_mb
    yield at_most("R9f", f"of that beside {result.slope_rows_mb:.2f} MB of new rows in the index", beside, "MB", 1.0)
    yield at_most("R9d", "unlike the folders at the end", len(result.differing), "findings", 0)
    yield at_least("R9e", "additions a second", result.n_added / result.seconds, "/s", 0.9 * _ADDS_PER_S)


def torture(root: Path, seconds: float, seed: int, n_rows: int = ROWS) -> Result:
    """Run searchers beside a steady stream of changes for so long."""
    share_heaps()  # as the service does
    config = configured(root)
    fill(config, n_rows)
    result, done = Result(), threading.Event()
    with open_engine(config, model=open_stub) as engine:
        engine.wait_idle(120)
        gone_at = _watch_the_gone()
        threads = [
            threading.Thread(target=_search, args=(engine, done, result, gone_at, seed + i, n_rows))
            for i in range(SEARCHERS)
        ]
        threads.append(threading.Thread(target=_change, args=(config.folders[0], done, result, seed)))
        began = time.monotonic()
        for thread in threads:
            thread.start()
        memory = _sampled_memory(began + seconds, engine.parts.index)
        done.set()
        for thread in threads:
            thread.join()
        result.seconds = time.monotonic() - began
        engine.wait_idle(60)
        result.differing = differences(engine, config.folders)
    result.memory_mb = [round(size / 1e6, 1) for _, size, _ in memory[:: max(1, len(memory) // 20)]]
    times, *sizes = np.array(memory[len(memory) // 2 :]).T
    result.slope_mb, result.slope_rows_mb = (float(np.polyfit(times / 60, size / 1e6, 1)[0]) for size in sizes)
    return result


def fill(config: Config, n: int) -> None:
    """n real files, recorded as if they had been encoded: that many through the river would take minutes."""
    data = DataDir(config.store_dir)
    folder = config.folders[0]
    with data.lock():
        catalogue, cache = SqliteCatalogue.open(data.catalogue), DiskFeatureCache(data.features, space_of())
        for start in range(0, n, 2000):
            found, features = [], {}
            for i in range(start, min(start + 2000, n)):
                path = folder / f"{i // 2000}" / f"{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                contents = b"first %d" % i
                path.write_bytes(contents)
                info = ImageInfo("STUB", 4, 4, len(contents))
                hash = content_hash(contents)
                features[hash] = StoredFeature(feature_of(contents), info)
                found.append(Found(FilePath(bytes(path)), Stamp.of(path.stat()), hash, info))
            cache.put_many(features)
            catalogue.commit(found)
        cache.close()
        catalogue.close()


def _watch_the_gone() -> dict[bytes, float]:
    """Paths whose deletion was seen -> when; told by the catalogue from now on."""
    gone_at: dict[bytes, float] = {}
    commit = SqliteCatalogue.commit

    def noted(self: SqliteCatalogue, outcomes: list[object]) -> object:
        done = commit(self, outcomes)  # type: ignore[arg-type]
        now = time.monotonic()
        for outcome in outcomes:
            if not isinstance(outcome, Found):
                gone_at[outcome.path] = now  # type: ignore[attr-defined]
        return done

    SqliteCatalogue.commit = noted  # type: ignore[assignment, method-assign]
    return gone_at


def _search(
    engine: RunningEngine, done: threading.Event, result: Result, gone_at: dict[bytes, float], seed: int, n_rows: int
) -> None:
    rng = random.Random(seed)
    while not done.is_set():
        try:
            asked = time.monotonic()
            hits = engine.search(_question(rng, engine, n_rows), rng.choice((1, 10, 50))).hits
        except NotFound:
            continue  # deleted since
        except Exception as e:
            result.errors.append(f"{type(e).__name__}: {e}")
            continue
        result.n_searches += 1
        for path in (path for hit in hits for path in hit.paths):
            if asked - gone_at.get(path, asked) > _DEAD_GOAL_S:
                result.dead.append(f"{path!r}: {asked - gone_at[path]:.1f} s after it was seen to go")
        done.wait(rng.uniform(0, 0.2))


def _question(rng: random.Random, engine: RunningEngine, n_rows: int) -> Query:
    match rng.randrange(4):
        case 0:
            return TextQuery(f"words {rng.randrange(1000)}")
        case 1:
            return ImageQuery(b"never seen %d" % rng.randrange(10**9))
        case 2:
            return IdQuery(content_hash(b"first %d" % rng.randrange(n_rows)).hex())
        case _:
            return VectorQuery([rng.gauss(0, 1) for _ in range(engine.dims[0])])


def _change(folder: Path, done: threading.Event, result: Result, seed: int) -> None:
    """Add and delete at steady rates; what was added is deleted again, so that the index stays about as large."""
    rng = random.Random(seed)
    alive: list[int] = []  # numbers, not paths: the harness must not grow either
    began = time.monotonic()
    while not done.wait(_TICK_S):
        due = time.monotonic() - began
        while result.n_added < due * _ADDS_PER_S:
            path = _new_path(folder, result.n_added)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"new %d" % result.n_added)
            alive.append(result.n_added)
            result.n_added += 1
        while result.n_deleted < due * _DELETES_PER_S and alive:
            place = rng.randrange(len(alive))
            alive[place], alive[-1] = alive[-1], alive[place]
            _new_path(folder, alive.pop()).unlink()
            result.n_deleted += 1


def _new_path(folder: Path, number: int) -> Path:
    return folder / "new" / f"{number % 500}" / f"{number}.jpg"


def _sampled_memory(until_s: float, index: VectorIndex) -> list[tuple[float, int, int]]:
    """Seconds, resident memory and that of the index, once a second."""
    samples = []
    while (now := time.monotonic()) < until_s:
        samples.append((now, resident_bytes(), index.n_bytes))
        time.sleep(min(1.0, max(0.0, until_s - now)))
    return samples
