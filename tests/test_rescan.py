from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from indexer.errors import StoreFull
from indexer.rescan import Rescans
from indexer.types import MOVED_AWAY, FilePath, Found, ImageInfo, Settled, Stamp, content_hash
from tests.fakes.catalogue import MemoryCatalogue


class ListedScanner:
    """Yields what it is told to; counts its scans."""

    def __init__(self) -> None:
        self.differing: list[FilePath] = []
        self.scanned: list[FilePath] = []
        self.arrived = threading.Semaphore(0)
        self.error: Exception | None = None
        self.before: Callable[[], None] = lambda: None

    def scan(
        self,
        folder: FilePath,
        known: Callable[[FilePath], Mapping[bytes, Stamp]],
        known_folders: Callable[[FilePath], Iterator[FilePath]],
    ) -> Iterator[FilePath]:
        self.scanned.append(folder)
        self.before()
        try:
            if self.error:
                raise self.error
            yield from self.differing
        finally:
            self.arrived.release()


class DirtySet:
    def __init__(self) -> None:
        self.paths: list[FilePath] = []

    def add(self, path: FilePath) -> None:
        self.paths.append(path)

    def take(self, limit: int, timeout_s: float) -> list[Settled]:
        return []


class World:
    def __init__(self, folder: Path, doubt: str | None = None) -> None:
        self.folder = FilePath(bytes(folder))
        self.scanner = ListedScanner()
        self.settle = DirtySet()
        self.doubt = doubt
        self.asked: list[int] = []
        self.accepted: list[FilePath] = []
        self.catalogue = MemoryCatalogue()
        self.unsearchable: list[FilePath] = []
        self.rescans = Rescans(
            [self.folder],
            self.scanner,
            self.catalogue,
            self.settle,
            self.ask,
            self.accepted.append,
            lambda folder: self.unsearchable,
            every_s=3600,
            retry_s=0.01,
        )

    def ask(self, folder: FilePath, n_missing: int, n_lost: int) -> str | None:
        self.asked.append(n_lost)
        return self.doubt

    def wait_scans(self, n: int) -> None:
        for _ in range(n):
            assert self.scanner.arrived.acquire(timeout=10)
        self.rescans.close()  # ends after the scan that runs


def test_every_folder_is_scanned_at_the_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    new = tmp_path / "new.png"
    new.touch()
    world.scanner.differing = [FilePath(bytes(new)), FilePath(bytes(tmp_path / "gone.png"))]
    world.rescans.start()
    world.wait_scans(1)
    assert sorted(world.settle.paths) == [bytes(tmp_path / "gone.png"), bytes(new)]
    assert world.asked == [1]
    assert world.accepted == [world.folder]


def test_missing_files_that_are_not_believed_to_be_gone_are_held_and_told(tmp_path: Path) -> None:
    world = World(tmp_path, doubt="4,000 of 5,000 files are missing at once")
    new = tmp_path / "new.png"
    new.touch()
    world.scanner.differing = [FilePath(bytes(new)), FilePath(bytes(tmp_path / "gone.png"))]
    world.rescans.start()
    world.wait_scans(1)
    assert world.settle.paths == [bytes(new)]
    assert world.rescans.held == {world.folder: "4,000 of 5,000 files are missing at once"}
    assert world.accepted == []


def test_a_person_may_confirm_that_held_files_are_gone(tmp_path: Path) -> None:
    world = World(tmp_path, doubt="4,000 of 5,000 files are missing at once")
    world.scanner.differing = [FilePath(bytes(tmp_path / "gone.png"))]
    world.rescans.request_all("asked for", confirm=True)
    world.rescans.start()
    world.wait_scans(1)
    assert world.settle.paths == [bytes(tmp_path / "gone.png")]
    assert world.rescans.held == {}


def test_a_folder_that_cannot_be_listed_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(tmp_path)
    world.scanner.error = OSError(5, "Input/output error")
    world.rescans.start()
    world.wait_scans(1)
    assert world.settle.paths == []
    assert "Input/output error" in caplog.text


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), StoreFull("the catalogue cannot be opened")])
def test_what_the_machine_lacks_is_told_and_the_scan_tried_again_soon(tmp_path: Path, error: Exception) -> None:
    world = World(tmp_path)
    told: list[str | None] = []

    def before() -> None:
        told.append(world.rescans.trouble)
        world.scanner.error = error if len(told) <= 3 else None

    world.scanner.before = before
    new = tmp_path / "new.png"
    new.touch()
    world.scanner.differing = [FilePath(bytes(new))]
    world.rescans.start()
    world.wait_scans(4)
    assert told[0] is None
    assert all("cannot be scanned" in (why or "") for why in told[1:])
    assert world.settle.paths == [bytes(new)]
    assert world.rescans.trouble is None
    assert not world.rescans.busy


def test_requests_for_one_folder_before_it_is_scanned_are_one_scan(tmp_path: Path) -> None:
    world = World(tmp_path)
    sub = FilePath(bytes(tmp_path / "sub"))
    for _ in range(5):
        world.rescans.request(sub, "overflow")
    world.rescans.start()
    world.wait_scans(2)
    assert sorted(world.scanner.scanned) == sorted([world.folder, sub])


def test_files_that_came_up_under_another_name_are_not_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    moved = [tmp_path / "b" / f"{i}.png" for i in range(3)]
    (tmp_path / "b").mkdir()
    for path in moved:
        path.touch()
        stamp = Stamp.of(path.stat())
        old = FilePath(bytes(tmp_path / "a" / path.name))
        world.catalogue.commit([Found(old, stamp, content_hash(path.name.encode()), ImageInfo("PNG", 1, 1, 1))])
        world.scanner.differing += [old, FilePath(bytes(path))]
    lost = FilePath(bytes(tmp_path / "a" / "lost.png"))
    world.catalogue.commit([Found(lost, Stamp(1, 2, 3, 4, 5), content_hash(b"lost"), ImageInfo("PNG", 1, 1, 1))])
    world.scanner.differing.append(lost)
    world.rescans.start()
    world.wait_scans(1)
    assert world.asked == [1]
    assert len(world.settle.paths) == 7


def test_files_whose_content_is_known_under_another_name_are_not_lost(tmp_path: Path) -> None:
    world = World(tmp_path)
    hash, info = content_hash(b"picture"), ImageInfo("PNG", 1, 1, 1)
    old, new = FilePath(bytes(tmp_path / "old.png")), FilePath(bytes(tmp_path / "new.png"))
    world.catalogue.commit([Found(path, Stamp(1, i, 1, 1, 1), hash, info) for i, path in enumerate((old, new))])
    both_gone = [FilePath(bytes(tmp_path / f"{i}.png")) for i in range(2)]
    world.catalogue.commit([Found(path, Stamp(1, 9, 1, 1, 1), content_hash(b"other"), info) for path in both_gone])
    world.scanner.differing = [old, *both_gone]
    world.rescans.start()
    world.wait_scans(1)
    assert world.asked == [2]


def test_a_new_file_with_the_inode_of_a_missing_one_is_no_rename(tmp_path: Path) -> None:
    world = World(tmp_path)
    new = tmp_path / "new.png"
    new.write_bytes(b"a picture of another disk")
    stamp = Stamp.of(new.stat())
    old = FilePath(bytes(tmp_path / "old.png"))
    info = ImageInfo("PNG", 1, 1, 1)
    world.catalogue.commit([Found(old, stamp._replace(size_bytes=7, mtime_ns=1), content_hash(b"picture"), info)])
    world.scanner.differing = [old, FilePath(bytes(new))]
    world.rescans.start()
    world.wait_scans(1)
    assert world.asked == [1]


def test_what_the_kernel_says_was_moved_away_is_not_doubted_for_its_number(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.scanner.differing = [FilePath(b"%s/a/%d.png" % (bytes(tmp_path), i)) for i in range(2000)]
    folder = FilePath(bytes(tmp_path / "a"))
    world.rescans.request(folder, MOVED_AWAY)
    world.rescans.request(folder, "another reason")
    world.rescans.start()
    world.wait_scans(2)
    assert 0 in world.asked


def test_a_scan_that_is_believed_ends_what_was_held_below(tmp_path: Path) -> None:
    world = World(tmp_path, doubt="too many")
    world.scanner.differing = [FilePath(bytes(tmp_path / "a" / "gone.png"))]
    world.rescans.request(FilePath(bytes(tmp_path / "a")), "overflow")
    world.rescans.start()
    for _ in range(2):
        assert world.scanner.arrived.acquire(timeout=10)
    world.rescans.request_all("asked for", confirm=True)
    world.wait_scans(1)
    assert world.rescans.held == {}


def test_a_scan_of_a_watched_folder_brings_back_what_has_no_row(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.unsearchable = [FilePath(bytes(tmp_path / "known.png"))]
    world.rescans.start()
    world.wait_scans(1)
    assert world.settle.paths == world.unsearchable
