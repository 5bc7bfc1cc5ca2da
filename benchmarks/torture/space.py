"""No room, no writing, no descriptors, disk errors: ingest pauses and says so, search stays up, and work goes on after.

On a small file system of its own (root; tmpfs) the disk is filled to so many free bytes; without root, and for what a
file system cannot be made to do, SQLite's calls are barred by an error of choice.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.report import Row, at_least, at_most, skipped
from benchmarks.torture import vfs
from benchmarks.torture.daemon import Daemon
from benchmarks.torture.disks import memory
from benchmarks.torture.oracle import differences
from benchmarks.torture.shelf import Shelf
from benchmarks.torture.shortages import barred, full, without_descriptors
from benchmarks.torture.stub import open_stub
from indexer.engine import open_engine
from indexer.errors import IndexerError
from indexer.ingest.commit import Committer, Result
from indexer.types import ImageQuery

N_POINTS = 500
_STEP_BYTES = 4096
_STEPS = 100  # free space is tried from none to this many steps, again and again, as the store grows
_DISK_BYTES = 24 << 20
_N_PROCESSES = 4  # a point mostly waits
_CALM_S = 10.0


@dataclass
class Point:
    """What happened at one shortage.

    Attributes:
        what: The shortage.
        paused: Whether work had to wait for its end.
        wrong: What must not be: silence, a search that failed, a difference from the files afterwards.
        resumed_s: From the end of the shortage to rest.
    """

    what: str
    paused: bool = False
    wrong: list[str] = field(default_factory=list)
    resumed_s: float = 0.0


Shortage = Callable[[], contextlib.AbstractContextManager[None]]


class Bench:
    """An engine in this process, over files that change while something is short.

    Args:
        folder: Holds the watched folder.
        store: The store, elsewhere if need be.
        seed: Of the changes.
    """

    def __init__(self, folder: Path, store: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._config = Daemon(folder, {"store.dir": str(store)}).config
        self._shelf = Shelf(folder / "pictures", self._rng)
        self._shelf.disturb(40)
        self._engine = open_engine(self._config, model=open_stub)
        self._engine.wait_idle(30)

    def close(self) -> None:
        self._engine.close()

    def suffer(self, what: str, shortage: Shortage, *, reopen: bool = False, hurts_us: bool = False) -> Point:
        """Change files during a shortage, or just before it, if it would hurt the hand that changes them.

        With `reopen` the service is closed before and started during it.
        """
        point = Point(what)
        if reopen:
            self._engine.close()
        if hurts_us:
            self._shelf.disturb(self._rng.randrange(1, 25))
        with shortage():
            started = self._reopen(point) if reopen else True
            if not hurts_us:
                self._shelf.disturb(self._rng.randrange(1, 25))
            if started:
                point.paused = not self._rests_or_says_so(point)
                self._search(point)
                self._save(point)
        since = time.monotonic()
        if not started:
            self._engine = open_engine(self._config, model=open_stub)
        if not self._engine.wait_idle(_CALM_S * 3):
            point.wrong.append("it does not come to rest")
        point.resumed_s = time.monotonic() - since
        point.wrong += differences(self._engine, self._config.folders)
        point.wrong += [f"a generation is damaged: {path.name}" for path in self._config.store_dir.rglob("*.bad")]
        if any("paused" in notice for notice in self._engine.stats().notices):
            point.wrong.append("it still says that it is paused")
        return point

    def _reopen(self, point: Point) -> bool:
        try:
            self._engine = open_engine(self._config, model=open_stub)
        except IndexerError:  # said clearly
            point.paused = True
            return False
        return True

    def _rests_or_says_so(self, point: Point) -> bool:
        """Whether all work is done; False when ingest says that it cannot."""
        time.sleep(0.1)  # a change is heard of after some milliseconds
        deadline = time.monotonic() + _CALM_S
        while time.monotonic() < deadline:
            if self._engine.wait_idle(0.02):
                return True
            if any("ingest is paused" in notice for notice in self._engine.stats().notices):
                return False
        point.wrong.append("it neither comes to rest nor says why")
        return False

    def _save(self, point: Point) -> None:
        try:
            self._engine._keeper.save_anew()  # noqa: SLF001 # it does so once a minute
        except Exception as e:  # a snapshot is no reason to fail
            point.wrong.append(f"a snapshot failed: {type(e).__name__}: {e}")

    def _search(self, point: Point) -> None:
        for data in self._rng.sample(sorted(self._shelf.contents.values()), 3):
            try:
                self._engine.search(ImageQuery(data), limit=5)
            except Exception as e:  # whatever it is, search must stay up
                point.wrong.append(f"a search failed: {type(e).__name__}: {e}")


# ---------------------------------------------------------------- points

BARS: tuple[tuple[str, int, tuple[vfs.Call, ...]], ...] = (
    ("no room (SQLITE_FULL)", vfs.FULL, ("write",)),
    ("a read-only file system (SQLITE_READONLY)", vfs.READONLY, ("write", "truncate")),
    ("EIO at a write", vfs.IOERR_WRITE, ("write",)),
    ("EIO at fsync", vfs.IOERR_FSYNC, ("sync",)),
)


def barred_points(folder: Path, n: int, seed: int) -> Iterator[Point]:
    """Each error in turn, after ever more calls that went well; of the catalogue, the features, or both."""
    vfs.watch(None)  # before the databases are opened
    bench = Bench(folder, folder / "data", seed)
    try:
        for i in range(n):
            what, code, calls = BARS[i % len(BARS)]
            among = ("", "catalogue", "features")[i // len(BARS) % 3]
            n_let = i // (3 * len(BARS))
            shortage = partial(barred, code, calls, n_let, among)
            yield bench.suffer(f"{what} after {n_let}, {among or 'both'}", shortage, reopen=i % 5 == 4)
    finally:
        bench.close()


def descriptor_points(folder: Path, n: int, seed: int) -> Iterator[Point]:
    """From no descriptor to spare upwards."""
    bench = Bench(folder, folder / "data", seed)
    try:
        for i in range(n):
            shortage = partial(without_descriptors, i % 20)
            yield bench.suffer(f"{i % 20} descriptors to spare", shortage, reopen=i % 5 == 4, hurts_us=True)
    finally:
        bench.close()


def full_points(folder: Path, points: range, seed: int) -> list[Point]:
    """A disk of this process's own, filled to each of the points."""
    logging.disable(logging.CRITICAL)
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "torture", disk], check=True)
    try:
        bench = Bench(folder, disk / "data", seed)
        found = []
        for i in points:
            n_free = i % _STEPS * _STEP_BYTES
            found.append(bench.suffer(f"{n_free} bytes free", partial(full, disk, n_free), reopen=i % 5 == 4))
        bench.close()
        return found
    finally:
        subprocess.run(["umount", "--lazy", disk], check=False)


def can_mount() -> bool:
    """Whether this process may have a file system of its own."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "torture", folder], check=False, capture_output=True)
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return mounted.returncode == 0


def starts_on_read_only(folder: Path) -> str:
    """What a start says on a file system mounted read-only; empty when it starts, or breaks."""
    Bench(folder, folder / "data", 1).close()
    data = folder / "data"
    subprocess.run(["mount", "--bind", data, data], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", data], check=True)
        open_engine(Daemon(folder).config, model=open_stub).close()
    except IndexerError as e:
        return str(e)
    finally:
        subprocess.run(["umount", data], check=True)
    return ""


# ---------------------------------------------------------------- figures


def run(args: argparse.Namespace) -> Iterator[Row]:
    logging.disable(logging.CRITICAL)
    n_points = args.rounds or N_POINTS
    n_others = max(20, n_points // 5)
    if can_mount():
        points = _all_full_points(n_points, args.seed)
        yield from rows(("R7a", "R7b"), f"{n_points} points of free space, tmpfs, seed {args.seed}", points)
        with tempfile.TemporaryDirectory(dir=memory()) as folder:
            said = starts_on_read_only(Path(folder))
        yield at_least("R7g", f"a start on a read-only file system is refused: {said}", int(bool(said)), "", 1)
    else:
        yield skipped("R7a", "points of free space", "needs root", "", "<= 0")
    for ids, what, make in (
        (("R7c", "R7d"), "errors of SQLite's writes and syncs", barred_points),
        (("R7e", "R7f"), "shortages of descriptors", descriptor_points),
    ):
        with tempfile.TemporaryDirectory(prefix="space-", dir=memory()) as folder:
            yield from rows(ids, f"{n_others} {what}", list(make(Path(folder), n_others, args.seed)))
    yield at_least(
        "R7h", "mutants caught: a committer that drops what it cannot store", int(_dropping_is_caught()), "", 1
    )


def _all_full_points(n: int, seed: int) -> list[Point]:
    context = multiprocessing.get_context("forkserver")
    with (
        tempfile.TemporaryDirectory(prefix="space-", dir=memory()) as name,
        ProcessPoolExecutor(_N_PROCESSES, context) as pool,
    ):
        tried = []
        for k in range(_N_PROCESSES):
            folder = Path(name) / str(k)
            folder.mkdir()
            points = range(k * n // _N_PROCESSES, (k + 1) * n // _N_PROCESSES)
            tried.append(pool.submit(full_points, folder, points, seed + k))
        return [point for future in tried for point in future.result()]


def _dropping_is_caught() -> bool:
    with tempfile.TemporaryDirectory(prefix="space-", dir=memory()) as folder, dropping():
        return any(point.wrong for point in barred_points(Path(folder), 5, 1))


@contextlib.contextmanager
def dropping() -> Iterator[None]:
    """A mutant: what cannot be stored is forgotten."""

    def drop(committer: Committer, batch: Sequence[Result]) -> bool:
        committer._failure(batch)  # noqa: SLF001 # stands in for a method
        return True

    with patch.object(Committer, "_try_store", drop):
        yield


def rows(ids: tuple[str, str], what: str, points: Sequence[Point]) -> Iterator[Row]:
    """The figures of some shortages."""
    wrong = [f"{point.what}: {point.wrong[0]}" for point in points if point.wrong]
    n_paused = sum(point.paused for point in points)
    told = f" ({'; '.join(wrong[:3])})" if wrong else ""
    whole = f"{what}: silent, search failed, lost or different after{told}"
    yield at_most(ids[0], whole, len(wrong), "points", 0)
    slowest_s = max((point.resumed_s for point in points), default=0.0)
    yield at_most(ids[1], f"the same, {n_paused} paused: slowest to rest after the end of it", slowest_s, "s", 10)
