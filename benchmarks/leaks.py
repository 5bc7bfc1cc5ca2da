"""Whether leaks are found, and nothing else is: `python -m benchmarks.leaks [--quick | --idle] [--json]`.

A whole engine on the demo model answers searches by pictures of mixed sizes, by words and by ids, from four threads:
the memory is that of this very process, and alarms are the engine's own. First 10,000 clean requests; then each request
keeps 1 MB (in turn bytes and torch tensors), then, once that has been found and given back, 10 kB. With `--idle` nobody
asks anything: first for five minutes without a leak, then something keeps 1 MB, and then 100 kB, each second.
"""

from __future__ import annotations

import argparse
import io
import itertools
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.report import Row, at_most, emit
from indexer.config import load
from indexer.engine import RunningEngine, open_engine
from indexer.proc import resident_bytes
from indexer.types import IdQuery, ImageQuery, Query, TextQuery

N_CLEAN = 10_000
N_FAST = 200
N_SLOW = 20_000
N_THREADS = 4
IDLE_S = 300
IDLE_LEAKS = {1_000_000: 240, 100_000: 600}
"""Bytes a second -> seconds within which they are to be told."""
SMALLEST_PX, LARGEST_PX = 64, 1600


def picture(rng: np.random.Generator) -> bytes:
    """A JPEG of any size."""
    width, height = np.exp(rng.uniform(np.log(SMALLEST_PX), np.log(LARGEST_PX), 2)).astype(int)
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Load:
    """Requests without end, and what each of them keeps."""

    def __init__(self, engine: RunningEngine, pictures: list[bytes], ids: list[str]) -> None:
        self._engine = engine
        self._rng = np.random.default_rng(0)
        self._pictures = pictures
        self._ids = ids
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self.trace: list[int] = []
        self.kept: list[Any] = []

    def run(self, n: int, n_kept: int = 0) -> int | None:
        """Up to n requests, until an alarm is told; the number of the request after which it was, None without."""
        asked = 0
        with ThreadPoolExecutor(N_THREADS) as pool:
            for start in range(0, n, 2 * N_THREADS):
                batch = range(start, min(start + 2 * N_THREADS, n))
                list(pool.map(lambda _: self.ask(n_kept), batch))
                asked += len(batch)
                self.trace.append(resident_bytes())
                if self._engine.stats().leaks:
                    return asked
        return None

    def ask(self, n_kept: int = 0) -> None:
        """One request; so many bytes of it are never given back."""
        with self._lock:
            query, number = self._query(), next(self._numbers)
        self._engine.search(query, 20)
        if n_kept:
            self.kept.append(torch.ones(n_kept, dtype=torch.uint8) if number % 2 else b"\1" * n_kept)

    def _query(self) -> Query:
        kind = self._rng.random()
        if kind < 0.4:
            return ImageQuery(self._pictures[self._rng.integers(len(self._pictures))])
        if kind < 0.7:
            return TextQuery(f"a red circle and {self._rng.integers(1000)} squares")
        return IdQuery(self._ids[self._rng.integers(len(self._ids))])


def rows(scale: float, record: Path | None, *, idle: bool) -> Iterator[Row]:
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pictures").mkdir()
        pictures = [picture(rng) for _ in range(80)]
        for i, data in enumerate(pictures[:40]):
            (root / "pictures" / f"{i}.jpg").write_bytes(data)
        settings = {"watch.folders": [str(root / "pictures")], "model.name": "demo", "model.device": "cpu",
                    "store.dir": str(root / "data"), "watch.settle_s": 0.1}  # fmt: skip
        with open_engine(load(flags=settings, environ={}, cwd=root).config) as engine:
            engine.wait_idle(60)
            threading.Event().wait(1.0)
            engine.wait_idle(60)
            ids = [engine.parts.catalogue.live()[1][i].hex() for i in range(engine.stats().indexed)]
            asking = Load(engine, pictures, ids)
            yield from quiet(asking, engine) if idle else measured(asking, engine, scale, record)


def quiet(load: Load, engine: RunningEngine) -> Iterator[Row]:
    """Nothing is asked."""
    for _ in range(200):
        load.ask()
    told = _idle_until_told(load, engine, 0, IDLE_S)
    yield at_most("M4", f"alarms in {IDLE_S} s in which nothing is asked", 0 if told is None else 1, "alarms", 0)
    for n_bytes, within_s in IDLE_LEAKS.items():
        told = _idle_until_told(load, engine, n_bytes, 2 * within_s)
        what = f"seconds until a leak of {n_bytes // 1000} kB a second is told, with nothing asked"
        yield at_most("M5" if n_bytes == 1_000_000 else "M6", what, told or 10**9, "s", within_s)
        load.kept.clear()
        engine.release_memory()
        while engine.stats().leaks:
            threading.Event().wait(1.0)


def _idle_until_told(load: Load, engine: RunningEngine, n_bytes: int, most_s: int) -> int | None:
    started, pause = time.monotonic(), threading.Event()
    while (passed_s := time.monotonic() - started) < most_s:
        pause.wait(1.0)
        load.kept.append(b"\1" * n_bytes)
        if engine.stats().leaks:
            return int(passed_s)
    return None


def measured(load: Load, engine: RunningEngine, scale: float, record: Path | None) -> Iterator[Row]:
    n_clean = int(N_CLEAN * scale)
    n_alarms = 0
    left = n_clean
    while left > 0 and (asked := load.run(left)) is not None:
        n_alarms += 1
        left -= asked
    grown = (load.trace[-1] - load.trace[len(load.trace) // 10]) / 1e6
    yield at_most("M1", f"alarms in {n_clean:,} clean requests of mixed sizes", n_alarms, "alarms", 0)
    yield Row("M1b", "growth of resident memory meanwhile, after the first tenth", grown, "MB")
    if record is not None:
        record.write_text("\n".join(str(n_bytes // 1024) for n_bytes in load.trace) + "\n")
    found = load.run(2 * N_FAST, 1_000_000)
    yield at_most("M2", "requests until a leak of 1 MB a request is told", found or 10**9, "requests", N_FAST)
    yield from cleared(load, engine, "M2b", "requests after its end until the alarm goes")
    if scale == 1.0:
        found = load.run(N_SLOW + 2000, 10_000)
        yield at_most("M3", "requests until a leak of 10 kB a request is told", found or 10**9, "requests", N_SLOW)


def cleared(load: Load, engine: RunningEngine, id: str, what: str) -> Iterator[Row]:
    """The leak is mended, and its memory given back."""
    load.kept.clear()
    engine.release_memory()
    n_asked = 0
    while engine.stats().leaks and n_asked < 4000:
        load.ask()
        n_asked += 1
    yield Row(id, what, n_asked, "requests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the clean requests, and no slow leak")
    parser.add_argument("--idle", action="store_true", help="with nothing asked, instead")
    parser.add_argument("--record", type=Path, metavar="FILE", help="resident KiB while clean, every 8 requests")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    logging.basicConfig(level="WARNING")
    emit(rows(0.1 if args.quick else 1.0, args.record, idle=args.idle), args.json)


if __name__ == "__main__":
    main()
