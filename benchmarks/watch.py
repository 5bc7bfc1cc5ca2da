"""Scanning and watching: `python -m benchmarks.watch`.

C10: a scan of unchanged files, recorded in a dict or in the catalogue, against the bare calls that any scan must make.
C11: a burst of new files in memory, written by another process as fast as it can, and the time from a file's close to
its path in the dirty set; against watchdog's own reader of the same events, with its event filter.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from watchdog.events import DirCreatedEvent, FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from benchmarks.report import Row, at_least, at_most, emit, samples
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Watch
from indexer.types import FilePath, Found, ImageInfo, Stamp, content_hash
from indexer.watch.accept import Exclude
from indexer.watch.scan import FolderScanner
from indexer.watch.watchdog_watcher import FolderWatcher

N_FOLDERS = 100
N_BURST = 40_000
WRITER = """
import os, sys
folder, n = os.fsencode(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
for i in range(n):
    descriptor = os.open(b"%s/%06d.jpg" % (folder, i), os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"x" * 100)
    os.close(descriptor)
"""

OnPath = Callable[[FilePath], None]
Watching = Callable[[FilePath, OnPath], AbstractContextManager[Callable[[], list[FilePath]]]]


def make_tree(root: FilePath, n_files: int) -> dict[FilePath, dict[bytes, Stamp]]:
    """That many files in a hundred folders; what a catalogue would know of them."""
    known: dict[FilePath, dict[bytes, Stamp]] = {}
    for i in range(N_FOLDERS):
        folder = FilePath(root + b"/%03d" % i)
        os.makedirs(folder)
        for j in range(n_files // N_FOLDERS):
            with open(folder + b"/IMG_%05d.jpg" % j, "wb") as file:
                file.write(b"x")
        with os.scandir(folder) as entries:
            known[folder] = {entry.name: Stamp.of(entry.stat(follow_symlinks=False)) for entry in entries}
    return known


def fill_catalogue(catalogue: SqliteCatalogue, known: dict[FilePath, dict[bytes, Stamp]]) -> None:
    info = ImageInfo("JPEG", 1, 1, 1)
    for folder, files in known.items():
        catalogue.commit(
            [
                Found(FilePath(folder + b"/" + name), stamp, content_hash(folder + name), info)
                for name, stamp in files.items()
            ]
        )


def bare_calls(root: FilePath) -> None:
    """One listing per folder and one lstat per file, and nothing else."""
    waiting: list[bytes] = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)


def scan_rows(folder: Path, n_files: int, repeats: int) -> list[Row]:
    root = FilePath(os.fsencode(folder / "tree"))
    known = make_tree(root, n_files)
    scanner = FolderScanner(Exclude(Watch().exclude, [root]))
    catalogue = SqliteCatalogue.open(folder / "catalogue.db")
    fill_catalogue(catalogue, known)

    def from_dict() -> None:
        assert not list(scanner.scan(root, lambda f: known.get(f, {}), lambda _: iter(known)))

    def from_catalogue() -> None:
        assert not list(scanner.scan(root, catalogue.folder, catalogue.folders_under))

    times = samples({"dict": from_dict, "catalogue": from_catalogue, "bare": lambda: bare_calls(root)}, repeats)
    catalogue.close()
    rate = {name: n_files / statistics.median(seconds) for name, seconds in times.items()}
    what = f"rescan of {n_files:,} unchanged files in {N_FOLDERS} folders"
    peer = f"scandir and lstat alone: {rate['bare']:,.0f}"
    return [
        at_least("C10a", f"{what}, recorded in a dict", rate["dict"], "files/s", 200_000, peer),
        at_least("C10b", f"{what}, recorded in the catalogue", rate["catalogue"], "files/s", 200_000, peer),
    ]


# ---------------------------------------------------------------- watching


@contextmanager
def ours(folder: FilePath, on_path: OnPath) -> Iterator[Callable[[], list[FilePath]]]:
    """Our watcher; what it yields lists what a scan must bring because events were lost."""
    lost = threading.Event()
    begun = threading.Event()

    def on_rescan(_: FilePath, reason: str) -> None:
        (begun if reason == "start" else lost).set()

    watcher = FolderWatcher([folder], Exclude(Watch().exclude, [folder]), on_path, on_rescan)
    watcher.start()
    begun.wait(10)
    scanner = FolderScanner(Exclude((), [folder]))
    yield lambda: list(scanner.scan(folder, lambda _: {}, lambda _: iter(()))) if lost.is_set() else []
    watcher.close()


@contextmanager
def watchdogs(folder: FilePath, on_path: OnPath) -> Iterator[Callable[[], list[FilePath]]]:
    """watchdog as it comes, with only the events that are needed."""

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            on_path(FilePath(os.fsencode(event.src_path)))

    observer = Observer()
    needed: list[type[FileSystemEvent]] = [FileClosedEvent, FileMovedEvent, DirCreatedEvent]
    observer.schedule(Handler(), os.fsdecode(folder), recursive=True, event_filter=needed)
    observer.start()
    yield list
    observer.stop()
    observer.join()


@dataclass(frozen=True, slots=True)
class Burst:
    """How many of the burst's files were seen by events, with the scan that was asked for, and at what CPU time."""

    n_by_events: int
    n_seen: int
    cpu_s: float


def burst(watch: Watching, folder: FilePath) -> Burst:
    seen: dict[FilePath, None] = {}
    grown = threading.Event()

    def on_path(path: FilePath) -> None:
        seen[path] = None
        grown.set()

    os.mkdir(folder)
    command = [sys.executable, "-c", WRITER, os.fsdecode(folder), str(N_BURST)]
    with watch(folder, on_path) as rest, subprocess.Popen(command, stdin=subprocess.PIPE) as writer:
        before_s = time.process_time()
        writer.communicate(b"go\n")
        while grown.wait(1.0):  # until a second passes without a path
            grown.clear()
        cpu_s = time.process_time() - before_s
        by_events = {path for path in seen if path.endswith(b".jpg")}
        found = by_events | set(rest())
    shutil.rmtree(folder)
    return Burst(len(by_events), len(found), cpu_s)


def latencies_ms(watch: Watching, folder: FilePath, n: int) -> list[float]:
    """From a file's close to its path's arrival, one file at a time."""
    arrived: dict[FilePath, float] = {}
    came = threading.Condition()

    def on_path(path: FilePath) -> None:
        with came:
            arrived[path] = time.perf_counter()
            came.notify()

    os.mkdir(folder)
    times = []
    with watch(folder, on_path):
        for i in range(n):
            path = FilePath(folder + b"/%d.jpg" % i)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            with came:
                came.wait_for(partial(arrived.__contains__, path), 0.02)  # its creation, where that is told too
                arrived.pop(path, None)
            os.write(descriptor, b"x")
            os.close(descriptor)
            closed_s = time.perf_counter()
            with came:
                came.wait_for(partial(arrived.__contains__, path), 5)
            times.append((arrived[path] - closed_s) * 1e3)
    shutil.rmtree(folder)
    return times


def watch_rows(folder: Path, repeats: int, n_latencies: int) -> list[Row]:
    root = FilePath(os.fsencode(folder / "burst"))
    bursts: dict[str, list[Burst]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        bursts["ours"].append(burst(ours, root))
        bursts["theirs"].append(burst(watchdogs, root))
    rate = {name: statistics.median(b.n_by_events / b.cpu_s for b in runs) for name, runs in bursts.items()}
    n_lost = max(N_BURST - b.n_seen for b in bursts["ours"])
    told = ", ".join(f"{b.n_by_events:,}" for b in bursts["ours"])
    missed = ", ".join(f"{N_BURST - b.n_seen:,}" for b in bursts["theirs"])
    ms = sorted(latencies_ms(ours, root, n_latencies))
    peer_ms = statistics.median(latencies_ms(watchdogs, root, n_latencies))
    what = f"one file's latency from close to dirty set, p50 (p99 {ms[int(len(ms) * 0.99)]:.2f})"
    return [
        at_most("C11a", f"burst of {N_BURST:,} new files: lost (by events alone: {told})", n_lost, "files", 0,
                f"watchdog's reader lost {missed}"),
        at_least("C11b", f"the same: {rate['ours']:,.0f} files per CPU second", rate["ours"] / rate["theirs"], "x", 6,
                 f"watchdog's reader: {rate['theirs']:,.0f}"),
        at_most("C11c", what, statistics.median(ms), "ms", 5, f"watchdog's reader: {peer_ms:.2f}"),
    ]  # fmt: skip


def measure(quick: bool, folder: Path, memory: Path) -> list[Row]:
    """All rows; scans in a new folder inside `folder`, bursts in one inside `memory`."""
    with tempfile.TemporaryDirectory(dir=folder) as disk, tempfile.TemporaryDirectory(dir=memory) as inside:
        scans = scan_rows(Path(disk), 20_000 if quick else 100_000, 5 if quick else 15)
        return scans + watch_rows(Path(inside), 2 if quick else 5, 200 if quick else 1_000)


def main(arguments: Sequence[str] | None = None) -> None:
    memory = Path("/dev/shm")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller inputs")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the scanned files are made"
    )
    parser.add_argument(
        "--memory",
        type=Path,
        default=memory if memory.is_dir() else Path(tempfile.gettempdir()),
        help="a folder on tmpfs",
    )
    options = parser.parse_args(arguments)
    emit(measure(options.quick, options.dir, options.memory), options.json)


if __name__ == "__main__":
    main()
