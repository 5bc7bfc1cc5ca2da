"""Watcher, scanner and settle queue together: whatever happens, what is recorded comes to equal a fresh walk."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

import pytest

from indexer.types import FilePath
from indexer.watch.accept import Exclude
from indexer.watch.scan import FolderScanner
from indexer.watch.settle import SettleQueue
from indexer.watch.watchdog_watcher import FolderWatcher
from tests.watch.trees import Recorded, remove, walk, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the events are Linux's")

PATIENCE_S = 20.0
SETTLE_S = 0.1


class House:
    """The smallest program around the three: a thread that scans where asked, and two that record what has settled."""

    def __init__(self, root: FilePath, *patterns: str, n_max: int = 200_000) -> None:
        self.root = root
        self.recorded = Recorded()
        self.changed = threading.Condition()
        exclude = Exclude(patterns, [root])
        self.wanted: queue.Queue[FilePath | None] = queue.Queue()
        self.scanned: queue.Queue[FilePath] = queue.Queue()
        self.settle = SettleQueue(SETTLE_S, exclude=exclude, on_overflow=lambda: self.wanted.put(root), n_max=n_max)
        self.scanner = FolderScanner(exclude)
        self.watcher = FolderWatcher([root], exclude, self.settle.add, lambda f, _: self.wanted.put(f), check_s=0.05)
        self.before_recording: Callable[[FilePath], object] = lambda path: None
        self.excluded = frozenset(map(os.fsencode, patterns))
        self.threads = [threading.Thread(target=work) for work in (self.scan, self.record, self.record)]

    @contextlib.contextmanager
    def open(self) -> Iterator[House]:
        for thread in self.threads:
            thread.start()
        self.watcher.start()
        try:
            yield self
        finally:
            self.watcher.close()
            self.settle.close()
            self.wanted.put(None)
            for thread in self.threads:
                thread.join()

    def scan(self) -> None:
        while (folder := self.wanted.get()) is not None:
            with contextlib.suppress(OSError):  # the watched folder is not there
                for path in self.scanner.scan(folder, self.folder, self.folders_under):
                    self.settle.add(path)
            self.scanned.put(folder)

    def folder(self, folder: FilePath) -> dict[bytes, object]:
        with self.changed:
            return self.recorded.folder(folder)  # type: ignore[return-value]

    def folders_under(self, folder: FilePath) -> Iterator[FilePath]:
        with self.changed:
            return self.recorded.folders_under(folder)

    def record(self) -> None:
        while True:
            settled = self.settle.take(16, PATIENCE_S)
            if not settled:
                return
            for path, stamp in settled:
                self.before_recording(path)
                with self.changed:
                    self.recorded.set(path, stamp)
                    self.changed.notify_all()
                self.settle.done(path)

    def agrees(self) -> bool:
        """Wait until all that is recorded equals a fresh walk, and nothing more is on its way."""

        def equal() -> bool:
            return self.recorded.files == walk(self.root, self.excluded) and len(self.settle) == 0

        with self.changed:
            return any(self.changed.wait_for(equal, 0.05) for _ in range(round(PATIENCE_S / 0.05)))


@pytest.fixture
def outside() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        yield os.fsencode(folder)


@pytest.fixture
def root(outside: bytes) -> FilePath:
    os.mkdir(outside + b"/root")
    return FilePath(outside + b"/root")


NAMES = [b"a", b"b", b"c", b"\xff", "é".encode(), "e\u0301".encode(), b"skip"]


def one_change(root: bytes, outside: bytes, dice: random.Random) -> None:
    """Something that people and programs do to files, at random; what makes no sense now is passed over."""

    def place(top: bytes = root) -> bytes:
        return top + b"/" + b"/".join(dice.choices(NAMES, k=dice.randint(1, 3)))

    path, other = place(), place(dice.choice([root, root, outside]))
    kind = dice.choice(
        ["write"] * 4 + ["replace", "append", "utime", "remove", "symlink", "fifo"] + ["move"] * 3 + ["in"]
    )
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.makedirs(os.path.dirname(other), exist_ok=True)
        if kind == "write":
            write(path, dice.randbytes(dice.randint(0, 100)))
        elif kind == "append":
            descriptor = os.open(
                path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
            )  # a pipe must not hang it
            for _ in range(3):
                os.write(descriptor, b"more")
            os.close(descriptor)
        elif kind == "replace":
            write(path + b"~", dice.randbytes(10))
            os.utime(path + b"~", (1, 1))
            os.replace(path + b"~", path)
        elif kind == "utime":
            os.utime(path, (dice.randint(0, 2**33), dice.randint(0, 2**33)))
        elif kind == "remove":
            remove(path)
        elif kind == "symlink":
            os.symlink(other, path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "move":
            os.rename(path, other)
        elif kind == "in":
            os.rename(place(outside), path)


@pytest.mark.parametrize("seed", range(6))
def test_after_random_changes_what_is_recorded_equals_a_fresh_walk(root: FilePath, outside: bytes, seed: int) -> None:
    dice = random.Random(seed)
    with House(root, "skip").open() as house:
        for _ in range(4):
            for _ in range(dice.choice([5, 50, 150])):
                one_change(root, outside, dice)
            assert house.agrees()
        if seed % 2:
            os.rename(root, outside + b"/old root")
            os.mkdir(root)
        else:
            remove(root)
            write(root + b"/first.jpg")
        for _ in range(30):
            one_change(root, outside, dice)
        assert house.agrees()


def test_a_folder_moved_away_takes_along_what_is_just_being_recorded(root: FilePath, outside: bytes) -> None:
    os.mkdir(root + b"/sub")
    reached, moved = threading.Event(), threading.Event()
    with House(root).open() as house:
        assert house.scanned.get(timeout=PATIENCE_S) == root
        house.before_recording = lambda path: (reached.set(), moved.wait(PATIENCE_S))
        write(root + b"/sub/a.jpg")
        assert reached.wait(PATIENCE_S)
        os.rename(root + b"/sub", outside + b"/out")
        assert house.scanned.get(timeout=PATIENCE_S) == root + b"/sub"
        moved.set()  # the scan is over; only now the file is recorded
        assert house.agrees()
        assert house.recorded.files == {}


def test_a_folder_moved_elsewhere_with_a_link_left_behind_has_gone(root: FilePath, outside: bytes) -> None:
    write(root + b"/sub/deep/a.jpg")
    with House(root).open() as house:
        assert house.agrees()
        os.rename(root + b"/sub", outside + b"/out")
        os.symlink(outside + b"/out", root + b"/sub")
        assert house.agrees()
        assert house.recorded.files == {}


def test_what_was_written_under_another_name_is_found_by_the_next_scan(root: FilePath, outside: bytes) -> None:
    """The kernel tells of a hard-linked file only under the name that was used."""
    path = write(root + b"/a.jpg", b"before")
    with House(root).open() as house:
        assert house.agrees()
        os.link(path, outside + b"/b.jpg")
        write(outside + b"/b.jpg", b"after")
        house.wanted.put(root)
        assert house.agrees()
        assert house.recorded.files[path].size_bytes == len(b"after")


def test_a_flood_of_files_renames_and_moves_is_followed(root: FilePath, outside: bytes) -> None:
    with House(root).open() as house:
        for i in range(1_000):
            write(root + b"/%d/%d.jpg" % (i % 10, i))
        assert house.agrees()
        for i in range(1_000):
            os.rename(root + b"/%d/%d.jpg" % (i % 10, i), root + b"/%d/%d.jpg" % (i % 7, -i))
        os.rename(root + b"/3", outside + b"/out")
        assert house.agrees()
        os.rename(outside + b"/out", root + b"/in")
        os.rename(root + b"/4", root + b"/5/4")
        assert house.agrees()
        assert len(house.recorded.files) == 1_000


def test_more_dirty_paths_than_are_held_arrive_in_the_end(root: FilePath) -> None:
    with House(root, n_max=50).open() as house:
        for i in range(1_000):
            write(root + b"/%d/%d.jpg" % (i % 10, i))
        assert house.agrees()
        remove(root + b"/1")
        os.rename(root + b"/2", root + b"/3/2")
        assert house.agrees()


def test_a_half_written_file_is_never_recorded(root: FilePath) -> None:
    """Writers that pause for longer than the quiet time, with their file open or put in place when whole."""
    whole = b"x" * 1_000
    with House(root).open() as house:
        sizes: set[int] = set()
        record = house.recorded.set
        house.recorded.set = lambda path, stamp: (sizes.add(stamp.size_bytes if stamp else -1), record(path, stamp))[1]  # type: ignore[method-assign]
        pause = threading.Event()
        with open(root + b"/slow.jpg", "wb", buffering=0) as slow, open(root + b"/whole.jpg", "wb") as preallocated:
            preallocated.truncate(len(whole))
            for part in range(4):
                slow.write(whole[part * 250 : (part + 1) * 250])
                pause.wait(2 * SETTLE_S)
        assert house.agrees()
        assert sizes == {len(whole)}
