"""Every change of real files is hinted at, or a rescan is asked for, whatever becomes of the folder and its watches."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.types import FilePath
from indexer.watch import emitter as emitter_module
from indexer.watch import inotify as inotify_module
from indexer.watch.accept import Exclude
from indexer.watch.hints import Hints
from indexer.watch.inotify import InotifyTree, WatchLimitError
from indexer.watch.mounts import Mount
from indexer.watch.watchdog_watcher import FolderWatcher
from tests.watch.trees import remove, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the events are Linux's")

PATIENCE_S = 10.0


class Ears:
    """What a watcher said."""

    def __init__(self) -> None:
        self.dirty: list[FilePath] = []
        self.rescans: list[tuple[FilePath, str]] = []
        self._heard = threading.Condition()

    def on_dirty(self, path: FilePath) -> None:
        with self._heard:
            if not path.endswith(b"/"):  # a folder to be compared, told twice
                self.dirty.append(path)
            self._heard.notify_all()

    def on_rescan(self, folder: FilePath, reason: str) -> None:
        with self._heard:
            self.rescans.append((folder, reason))
            self._heard.notify_all()

    def until(self, said: Callable[[], bool]) -> bool:
        with self._heard:
            return self._heard.wait_for(said, PATIENCE_S)

    def heard(self, *paths: bytes) -> bool:
        return self.until(lambda: set(paths) <= set(self.dirty))

    def asked(self, folder: bytes, times: int = 1) -> bool:
        return self.until(lambda: sum(asked == folder for asked, _ in self.rescans) >= times)

    def forget(self) -> None:
        with self._heard:
            self.dirty.clear()
            self.rescans.clear()


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def root(tmp_path: Path) -> FilePath:
    (tmp_path / "root").mkdir()
    return FilePath(os.fsencode(tmp_path / "root"))


@contextlib.contextmanager
def watching(root: FilePath, ears: Ears, *patterns: str, **settings: object) -> Iterator[FolderWatcher]:
    parts = {"check_s": 0.05, "poll_s": 0.05} | settings
    watcher = FolderWatcher([root], Exclude(patterns, [root]), ears.on_dirty, ears.on_rescan, **parts)  # type: ignore[arg-type]
    watcher.start()
    try:
        if os.path.isdir(root):
            assert ears.asked(root)  # the watches are in place
            ears.forget()
        yield watcher
    finally:
        watcher.close()


def state(watcher: FolderWatcher) -> str:
    (only,) = watcher.state().values()
    return only


def until_state(watcher: FolderWatcher, begins: str) -> bool:
    deadline_s = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not state(watcher).startswith(begins):
        if time.monotonic() > deadline_s:
            return False
        pause.wait(0.01)
    return True


# ---------------------------------------------------------------- changes


def test_when_events_begin_the_folder_is_compared_once(root: FilePath, ears: Ears) -> None:
    write(root + b"/there already.jpg")
    with watching(root, ears) as watcher:
        assert state(watcher) == "events"
        assert ears.heard(write(root + b"/new.jpg"))
    assert ears.rescans == []
    assert set(ears.dirty) == {root + b"/new.jpg"}


def test_changes_of_files_are_hinted_at(root: FilePath, ears: Ears) -> None:
    old = write(root + b"/sub/old.jpg")
    with watching(root, ears):

        def hints(change: Callable[[], object], *paths: bytes) -> None:
            ears.forget()
            change()
            assert ears.heard(*paths), paths

        hints(lambda: write(old, b"in place"), old)
        hints(lambda: os.truncate(write(old), 0), old)
        hints(lambda: os.utime(old, (1, 1)), old)
        hints(lambda: os.chmod(old, 0o600), old)
        hints(lambda: os.link(old, root + b"/linked.jpg"), root + b"/linked.jpg")
        hints(lambda: os.rename(old, root + b"/sub/new.jpg"), old, root + b"/sub/new.jpg")
        hints(lambda: os.rename(root + b"/sub/new.jpg", root + b"/up.jpg"), root + b"/sub/new.jpg", root + b"/up.jpg")
        write(root + b"/tmp")
        hints(lambda: os.replace(root + b"/tmp", root + b"/up.jpg"), root + b"/up.jpg")
        hints(lambda: os.unlink(root + b"/up.jpg"), root + b"/up.jpg")
        hints(lambda: write(root + b"/\xff\n.jpg"), root + b"/\xff\n.jpg")


def test_files_that_come_from_and_go_outside_are_hinted_at(root: FilePath, ears: Ears, tmp_path: Path) -> None:
    outside = write(os.fsencode(tmp_path / "outside.jpg"))
    with watching(root, ears):
        os.rename(outside, root + b"/in.jpg")
        assert ears.heard(root + b"/in.jpg")
        ears.forget()
        os.rename(root + b"/in.jpg", outside)
        assert ears.heard(root + b"/in.jpg")


def test_a_close_is_hinted_at_after_the_last_write(root: FilePath, ears: Ears) -> None:
    path = FilePath(root + b"/slow.jpg")
    with watching(root, ears), open(path, "wb", buffering=0) as file:
        assert ears.heard(path)
        ears.forget()
        file.write(b"x" * 10_000)
        file.close()
        assert ears.heard(path)


def test_what_is_left_out_is_not_heard_of(root: FilePath, ears: Ears) -> None:
    os.mkdir(root + b"/.git")
    with watching(root, ears, ".*", "*.tmp", "raw/old"):
        for name in (b"/a.tmp", b"/.git/a.jpg", b"/.new/a.jpg", b"/raw/old/a.jpg", b"/raw/b.tmp"):
            write(root + name)
        assert ears.heard(write(root + b"/raw/last.jpg"))
        assert ears.heard(write(root + b"/last.jpg"))
    assert set(ears.dirty) == {root + b"/raw/last.jpg", root + b"/last.jpg"}


# ---------------------------------------------------------------- folders


def test_files_of_a_folder_made_a_moment_ago_are_not_missed(root: FilePath, ears: Ears) -> None:
    with watching(root, ears):
        made = [write(root + b"/%d/deep/er/%d.jpg" % (i, j)) for i in range(20) for j in range(5)]
        assert ears.heard(*made)
        ears.forget()
        later = [write(root + b"/%d/deep/er/later.jpg" % i) for i in range(20)]
        assert ears.heard(*later)


def test_a_folder_moved_in_brings_its_files_and_is_watched(root: FilePath, ears: Ears, tmp_path: Path) -> None:
    outside = os.fsencode(tmp_path / "outside")
    for i in range(100):
        write(outside + b"/deep/%d.jpg" % i)
    with watching(root, ears):
        os.rename(outside, root + b"/in")
        assert ears.heard(*(root + b"/in/deep/%d.jpg" % i for i in range(100)))
        assert ears.heard(write(root + b"/in/deep/later.jpg"))


def test_a_folder_moved_out_is_to_be_compared_and_heard_of_no_more(root: FilePath, ears: Ears, tmp_path: Path) -> None:
    write(root + b"/out/deep/a.jpg")
    outside = os.fsencode(tmp_path / "outside")
    with watching(root, ears):
        os.rename(root + b"/out", outside)
        assert ears.asked(root + b"/out")
        ears.forget()
        write(outside + b"/deep/unheard.jpg")
        assert ears.heard(write(root + b"/last.jpg"))
        assert set(ears.dirty) == {root + b"/last.jpg"}


def test_a_renamed_folder_is_known_by_its_new_name(root: FilePath, ears: Ears) -> None:
    write(root + b"/a/deep/x.jpg")
    with watching(root, ears):
        os.rename(root + b"/a", root + b"/b")
        assert ears.asked(root + b"/a")
        assert ears.heard(root + b"/b/deep/x.jpg")
        ears.forget()
        assert ears.heard(write(root + b"/b/deep/y.jpg"))
        assert set(ears.dirty) == {root + b"/b/deep/y.jpg"}


def test_two_folders_that_change_places_are_both_watched(root: FilePath, ears: Ears) -> None:
    write(root + b"/a/x.jpg")
    write(root + b"/b/y.jpg")
    with watching(root, ears):
        exchange(root + b"/a", root + b"/b")
        assert ears.heard(root + b"/a/y.jpg", root + b"/b/x.jpg")
        ears.forget()
        assert ears.heard(write(root + b"/a/new.jpg"), write(root + b"/b/new.jpg"))
        assert set(ears.dirty) == {root + b"/a/new.jpg", root + b"/b/new.jpg"}


def exchange(a: bytes, b: bytes) -> None:
    """renameat2(2) with RENAME_EXCHANGE."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, a, -100, b, 2) == 0, os.strerror(ctypes.get_errno())


def test_a_folder_deleted_and_made_again_is_watched(root: FilePath, ears: Ears) -> None:
    old = write(root + b"/sub/a.jpg")
    with watching(root, ears):
        for i in range(10):
            remove(root + b"/sub")
            assert ears.heard(old)
            assert ears.heard(write(root + b"/sub/%d.jpg" % i))


def test_a_thousand_renames_of_folders_leave_the_right_names(root: FilePath, ears: Ears) -> None:
    for i in range(10):
        write(root + b"/%d/a/b/x.jpg" % i)
    with watching(root, ears):
        for turn in range(100):
            for i in range(10):
                os.rename(
                    root + b"/%d%s" % (i, b"" if turn == 0 else b"-%d" % (turn - 1)), root + b"/%d-%d" % (i, turn)
                )
        assert ears.heard(*(root + b"/%d-99/a/b/x.jpg" % i for i in range(10)))
        ears.forget()
        last = [write(root + b"/%d-99/a/b/y.jpg" % i) for i in range(10)]
        assert ears.heard(*last)
        assert set(ears.dirty) == set(last)


def test_links_to_folders_are_not_watched(root: FilePath, ears: Ears, tmp_path: Path) -> None:
    outside = write(os.fsencode(tmp_path / "outside" / "x.jpg"))
    os.symlink(os.path.dirname(outside), root + b"/before")
    os.symlink(root, root + b"/loop")
    with watching(root, ears):
        os.symlink(os.path.dirname(outside), root + b"/after")
        write(outside, b"again")
        assert ears.heard(write(root + b"/last.jpg"))
    assert not [path for path in ears.dirty if path.endswith(b"x.jpg")]


def test_a_link_in_place_of_a_new_folder_does_not_steal_the_watch_of_another(root: FilePath) -> None:
    os.makedirs(root + b"/real/deep")
    tree = InotifyTree(root, Exclude([], [root]))
    try:
        os.mkdir(root + b"/made")
        os.rmdir(root + b"/made")
        os.symlink(root + b"/real", root + b"/made")  # before the first event is read
        tree.read(PATIENCE_S)
        # And a link that takes the place of a folder while the folders below it are being added.
        tree._add(FilePath(root + b"/made/deep/"), Hints())
        os.unlink(root + b"/made")
        tree._drop(FilePath(root + b"/made/"))
        tree.read(0)
        expected = [write(root + b"/real/a.jpg"), write(root + b"/real/deep/b.jpg")]
        assert set(tree.read(PATIENCE_S).dirty) == set(expected)
    finally:
        tree.close()


def test_watches_of_folders_that_went_are_given_back(root: FilePath, tmp_path: Path) -> None:
    tree = InotifyTree(root, Exclude([], [root]))
    try:
        for i in range(5):
            os.makedirs(root + b"/%d/deep" % i)
        while tree.n_folders < 11:
            tree.read(1.0)
        for i in range(5):
            os.rename(root + b"/%d" % i, os.fsencode(tmp_path / str(i)))
        remove(root + b"/none")
        os.mkdir(root + b"/last")
        while FilePath(root + b"/last/") not in tree._watches:
            tree.read(1.0)
        assert tree.n_folders == 2
        assert set(tree._folders) == set(tree._watches.values())
        with open(f"/proc/self/fdinfo/{tree._descriptor}") as info:
            assert sum(line.startswith("inotify ") for line in info) == 2
    finally:
        tree.close()


def test_a_folder_that_took_anothers_name_leaves_no_watch_on_it(root: FilePath, tmp_path: Path) -> None:
    os.mkdir(root + b"/sub")
    tree = InotifyTree(root, Exclude([], [root]))
    try:
        os.rename(root + b"/sub", os.fsencode(tmp_path / "outside"))
        os.mkdir(root + b"/sub")
        tree._add(FilePath(root + b"/sub/"), Hints())  # as if found in a listing, before the move is read
        while tree.read(0.1):
            pass
        with open(f"/proc/self/fdinfo/{tree._descriptor}") as info:
            assert sum(line.startswith("inotify ") for line in info) == tree.n_folders == 2
    finally:
        tree.close()


# ---------------------------------------------------------------- the root


def test_a_root_that_comes_later_is_watched_then(root: FilePath, ears: Ears) -> None:
    os.rmdir(root)
    with watching(root, ears) as watcher:
        assert until_state(watcher, "missing")
        assert ears.rescans == []
        os.mkdir(root)
        assert ears.asked(root)
        assert state(watcher) == "events"
        assert ears.heard(write(root + b"/a.jpg"))


def test_a_root_removed_and_made_again_is_compared_and_watched(root: FilePath, ears: Ears) -> None:
    write(root + b"/a.jpg")
    with watching(root, ears) as watcher:
        remove(root)
        assert until_state(watcher, "missing")
        assert ears.rescans == []  # nothing is known of what is not there
        os.mkdir(root)
        assert ears.asked(root)
        assert ears.heard(write(root + b"/b.jpg"))
        assert state(watcher) == "events"


def test_a_root_made_again_at_once_is_compared_and_watched(root: FilePath, ears: Ears) -> None:
    with watching(root, ears):
        for turn in range(1, 4):
            remove(root)
            os.mkdir(root)
            assert ears.asked(root, turn)
        # The last look at the root may still be of its predecessor: then it is compared once more.
        assert ears.until(lambda: bool(write(root + b"/b.jpg")) and root + b"/b.jpg" in ears.dirty)


def test_a_root_moved_away_and_another_in_its_place_is_compared_and_watched(root: FilePath, ears: Ears) -> None:
    with watching(root, ears):
        os.rename(root, root + b".old")
        os.mkdir(root)
        assert ears.asked(root)
        ears.forget()
        write(root + b".old/unheard.jpg")
        assert ears.heard(write(root + b"/b.jpg"))
        assert set(ears.dirty) == {root + b"/b.jpg"}


def test_a_root_exchanged_is_noticed_at_once(root: FilePath, ears: Ears) -> None:
    os.mkdir(root + b".other")
    with watching(root, ears, check_s=30.0):
        exchange(root, root + b".other")
        assert ears.asked(root)
        assert ears.heard(write(root + b"/b.jpg"))


def test_a_root_whose_parent_was_moved_is_missing(root: FilePath, ears: Ears, tmp_path: Path) -> None:
    inner = FilePath(root + b"/inner")
    os.mkdir(inner)
    with watching(inner, ears) as watcher:
        os.rename(root, root + b".old")
        assert until_state(watcher, "missing")
        os.rename(root + b".old", root)
        assert ears.asked(inner)


def test_a_root_that_is_a_link_is_followed(root: FilePath, ears: Ears, tmp_path: Path) -> None:
    link = FilePath(os.fsencode(tmp_path / "link"))
    os.symlink(root, link)
    with watching(link, ears):
        write(root + b"/a.jpg")
        assert ears.heard(link + b"/a.jpg")


def test_a_mount_over_the_root_is_compared_and_watched(
    root: FilePath, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = [Mount(1, FilePath(b"/"), "ext4")]
    monkeypatch.setattr(emitter_module, "mounts", lambda: list(table))
    with watching(root, ears):
        table.append(Mount(2, FilePath(root + b"/usb"), "ext4"))
        assert ears.asked(root)
        table.append(Mount(3, root, "ext4"))
        assert ears.asked(root, 2)
        assert ears.heard(write(root + b"/a.jpg"))


REAL_MOUNT = """
import os, subprocess, sys
from indexer.watch.accept import Exclude
from indexer.watch.hints import Hints
from tests.watch.test_watcher import Ears, until_state, watching, write
root, usb = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[1]) + b"/usb"
os.mkdir(usb)
ears = Ears()
with watching(root, ears) as watcher:
    for target in (usb, root):
        subprocess.run(["mount", "-t", "tmpfs", "none", target], check=True)
        assert ears.asked(root)
        assert ears.heard(write(target + b"/on it.jpg"))
        ears.forget()
        subprocess.run(["umount", target], check=True)
        assert ears.asked(root)
        assert ears.heard(write(target + b"/below it.jpg"))
        ears.forget()
print("heard")
"""


def test_real_mounts_come_and_go(root: FilePath) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount, not even in a namespace of one's own")
    command = ["unshare", "-rm", sys.executable, "-c", REAL_MOUNT, os.fsdecode(root)]
    outcome = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False, timeout=60)
    assert outcome.stdout == b"heard\n", outcome.stderr.decode()


# ---------------------------------------------------------------- where events fail


def test_more_events_than_the_kernel_holds_are_told_as_lost(root: FilePath) -> None:
    with open("/proc/sys/fs/inotify/max_queued_events") as setting:
        n_queued = int(setting.read())
    tree = InotifyTree(root, Exclude([], [root]))
    path = write(root + b"/a.jpg")
    for i in range(n_queued // 2 + 10):  # two kinds in turn: equal events in a row count once
        os.utime(path, (i, i))
        os.link(path, root + b"/b")
        os.unlink(root + b"/b")
    try:
        assert tree.read(0).dirty
        while not tree.lost:
            tree.read(PATIENCE_S)
        assert "queue" in tree.lost
    finally:
        tree.close()


def test_after_an_overflow_the_watcher_compares_and_goes_on(
    root: FilePath, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees: list[InotifyTree] = []

    class Tree(InotifyTree):
        def __init__(self, *parts: object) -> None:
            super().__init__(*parts)  # type: ignore[arg-type]
            trees.append(self)

    monkeypatch.setattr(emitter_module, "InotifyTree", Tree)
    with watching(root, ears) as watcher:
        inject(trees[0], inotify_module._C.IN_Q_OVERFLOW)
        assert ears.heard(write(root + b"/a.jpg"))
        assert ears.asked(root)
        assert len(trees) == 2
        assert ears.heard(write(root + b"/b.jpg"))
        assert state(watcher) == "events"


def inject(tree: InotifyTree, mask: int) -> None:
    """The next reading finds this event of the kernel's before all others."""
    real = tree._sort
    event = inotify_module._HEADER.pack(-1, mask, 0, 0)
    tree._sort = lambda events, hints: real(event + events, hints)  # type: ignore[method-assign]


@pytest.mark.parametrize("limit", ["watches", "instances"])
def test_without_watches_the_folder_is_polled_and_says_what_to_raise(
    root: FilePath, ears: Ears, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    import ctypes

    def refuse(*ignored: object) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(inotify_module, "inotify_add_watch" if limit == "watches" else "inotify_init", refuse)
    with watching(root, ears) as watcher:
        assert state(watcher).startswith("polling: watch limit reached: raise fs.inotify.max_user_" + limit)
        assert ears.asked(root, 3)


def test_a_new_folder_beyond_the_limit_leads_to_polling_and_gives_the_watches_back(
    root: FilePath, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inotify_module.inotify_add_watch
    given: list[bytes] = []

    def add(descriptor: int, path: bytes, mask: int) -> int:
        import ctypes

        if len(given) == 5:
            ctypes.set_errno(errno.ENOSPC)
            return -1
        given.append(path)
        return real(descriptor, path, mask)  # type: ignore[arg-type]

    monkeypatch.setattr(inotify_module, "inotify_add_watch", add)
    with watching(root, ears) as watcher:
        assert state(watcher) == "events"
        for i in range(10):
            os.mkdir(root + b"/%d" % i)
        assert until_state(watcher, "polling: watch limit reached")
        assert ears.asked(root, 3)
        # Watches are free again, and it is time to try: back to events.
        given.clear()
        monkeypatch.setattr(inotify_module, "inotify_add_watch", real)
        (only,) = watcher._emitters
        only._retry_s = 0.0
        assert until_state(watcher, "events")
        ears.forget()
        assert ears.heard(write(root + b"/5/a.jpg"))


def test_a_tree_that_could_not_be_watched_keeps_no_descriptor(root: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        InotifyTree(FilePath(root + b"/missing"), Exclude([], [root]))
    monkeypatch.setattr(inotify_module, "inotify_add_watch", lambda *ignored: -1)
    monkeypatch.setattr(inotify_module.ctypes, "get_errno", lambda: errno.ENOSPC)
    with pytest.raises(WatchLimitError):
        InotifyTree(root, Exclude([], [root]))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_network_file_system_is_polled_unless_told_otherwise(
    root: FilePath, ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitter_module, "mounts", lambda: [Mount(1, FilePath(b"/"), "nfs4")])
    with watching(root, ears) as watcher:
        assert state(watcher) == "polling: a network file system (nfs4) sends no events"
        assert ears.asked(root, 3)
    with watching(root, ears, polling="never") as watcher:
        assert until_state(watcher, "events")
    monkeypatch.setattr(emitter_module, "mounts", list)
    with watching(root, ears, polling="always") as watcher:
        assert until_state(watcher, "polling")
        assert state(watcher) == "polling"


def test_a_polled_root_that_goes_and_returns_is_noticed(root: FilePath, ears: Ears) -> None:
    with watching(root, ears, polling="always") as watcher:
        remove(root)
        assert until_state(watcher, "missing")
        ears.forget()
        os.mkdir(root)
        assert ears.asked(root, 2)
        assert state(watcher) == "polling"


def test_a_reader_that_fails_is_begun_anew(root: FilePath, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    real = InotifyTree.read
    failures = iter([True])

    def read(tree: InotifyTree, timeout_s: float) -> object:
        if next(failures, False):
            raise RuntimeError("made up")
        return real(tree, timeout_s)

    monkeypatch.setattr(InotifyTree, "read", read)
    with watching(root, ears) as watcher:
        assert ears.asked(root)
        assert ears.heard(write(root + b"/a.jpg"))
        assert state(watcher) == "events"


def test_a_handler_that_raises_ends_nothing(root: FilePath, ears: Ears) -> None:
    bad = [True, True]

    def on_dirty(path: FilePath) -> None:
        if bad:
            bad.pop()
            raise RuntimeError("made up")
        ears.on_dirty(path)

    watcher = FolderWatcher([root], Exclude([], [root]), on_dirty, ears.on_rescan)
    watcher.start()
    try:
        assert ears.asked(root)
        for i in range(4):
            write(root + b"/%d.jpg" % i)
        assert ears.heard(root + b"/3.jpg")
    finally:
        watcher.close()


def test_close_ends_every_thread_and_gives_every_descriptor_back(root: FilePath, ears: Ears) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    with watching(root, ears, check_s=30.0):
        assert threading.active_count() > before[1]
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 5.0  # it did not wait for the next check
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_watcher_that_never_started_can_be_closed(root: FilePath, ears: Ears) -> None:
    FolderWatcher([root], Exclude([], [root]), ears.on_dirty, ears.on_rescan).close()
