"""A scan reports what differs from what is recorded: new, changed, gone; nothing else, and nothing unseen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.types import FilePath, Stamp
from indexer.watch.accept import Exclude
from indexer.watch.scan import FolderScanner
from tests.watch.trees import Recorded, remove, walk, write


@pytest.fixture
def root(tmp_path: Path) -> FilePath:
    (tmp_path / "root").mkdir()
    return FilePath(os.fsencode(tmp_path / "root"))


def scan(root: FilePath, recorded: Recorded, *patterns: str, folder: FilePath | None = None) -> list[FilePath]:
    scanner = FolderScanner(Exclude(patterns, [root]))
    found = list(scanner.scan(folder or root, recorded.folder, recorded.folders_under))
    assert len(found) == len(set(found))
    return sorted(found)


def test_an_unchanged_tree_has_nothing_to_report(root: FilePath) -> None:
    for name in (b"/a.jpg", b"/sub/b.jpg", b"/sub/deep/c.jpg"):
        write(root + name)
    assert scan(root, Recorded(walk(root))) == []


def test_new_changed_and_gone_files_are_reported(root: FilePath) -> None:
    kept, changed, gone = (write(root + name) for name in (b"/kept", b"/sub/changed", b"/sub/gone"))
    recorded = Recorded(walk(root))
    write(changed, b"longer")
    os.unlink(gone)
    new = write(root + b"/new/x/y.jpg")
    assert scan(root, recorded) == sorted([changed, gone, new])
    assert kept in recorded.files


def test_a_change_with_the_old_time_restored_is_reported(root: FilePath) -> None:
    path = write(root + b"/a.jpg", b"old")
    recorded = Recorded(walk(root))
    before = os.lstat(path)
    write(path, b"new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scan(root, recorded) == [path]


def test_files_of_a_folder_that_is_no_more_are_gone(root: FilePath) -> None:
    gone = [write(root + b"/sub/deep/%d.jpg" % i) for i in range(3)]
    recorded = Recorded(walk(root))
    remove(root + b"/sub")
    assert scan(root, recorded) == gone


def test_a_folder_in_place_of_a_file_and_a_file_in_place_of_a_folder(root: FilePath) -> None:
    file, inside = write(root + b"/file"), write(root + b"/folder/x.jpg")
    recorded = Recorded(walk(root))
    remove(file)
    remove(root + b"/folder")
    now_inside, now_file = write(root + b"/file/y.jpg"), write(root + b"/folder")
    assert scan(root, recorded) == sorted([file, inside, now_inside, now_file])


def test_a_folder_below_can_be_scanned_alone(root: FilePath) -> None:
    write(root + b"/other/new.jpg")
    new = write(root + b"/sub/new.jpg")
    gone = FilePath(root + b"/sub/gone.jpg")
    beside = FilePath(root + b"/sub2/gone.jpg")
    stamp = Stamp(1, 2, 3, 4, 5)
    recorded = Recorded({gone: stamp, beside: stamp})
    assert scan(root, recorded, folder=FilePath(root + b"/sub")) == [gone, new]


def test_a_folder_below_that_is_no_more_has_gone_with_all_that_was_in_it(root: FilePath) -> None:
    gone = [write(root + name) for name in (b"/sub/a.jpg", b"/sub/deep/b.jpg")]
    recorded = Recorded(walk(root))
    os.rename(root + b"/sub", root + b"/elsewhere")
    assert scan(root, recorded, folder=FilePath(root + b"/sub")) == gone
    assert scan(root, recorded, folder=FilePath(root + b"/sub/deep")) == gone[1:]


def test_a_watched_folder_that_is_no_more_tells_nothing(root: FilePath) -> None:
    recorded = Recorded({write(root + b"/sub/a.jpg"): Stamp(1, 2, 3, 4, 5)})
    remove(root)
    with pytest.raises(FileNotFoundError):
        scan(root, recorded)
    with pytest.raises(FileNotFoundError):
        scan(root, recorded, folder=FilePath(root + b"/sub"))
    write(root)  # a file in its place
    with pytest.raises(NotADirectoryError):
        scan(root, recorded)
    with pytest.raises(NotADirectoryError):
        scan(root, recorded, folder=FilePath(root + b"/sub"))


def test_links_are_neither_followed_nor_reported(root: FilePath, tmp_path: Path) -> None:
    outside = write(os.fsencode(tmp_path / "outside" / "x.jpg"))
    real = write(root + b"/a.jpg")
    os.symlink(outside, root + b"/link.jpg")
    os.symlink(os.path.dirname(outside), root + b"/link")
    os.symlink(root, root + b"/loop")
    os.symlink(b"nowhere", root + b"/dangling.jpg")
    assert scan(root, Recorded()) == [real]


def test_pipes_sockets_and_links_are_reported_only_in_place_of_files(root: FilePath) -> None:
    os.mkfifo(root + b"/pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsdecode(root + b"/socket.jpg"))
    os.symlink(b"/etc/passwd", root + b"/link.jpg")
    assert scan(root, Recorded()) == []
    names = (b"/link.jpg", b"/pipe.jpg", b"/socket.jpg")
    recorded = Recorded({FilePath(root + name): Stamp(1, 2, 3, 4, 5) for name in names})
    assert scan(root, recorded) == [root + name for name in names]


def test_what_is_left_out_is_reported_only_if_it_is_recorded(root: FilePath) -> None:
    write(root + b"/.git/new.jpg")
    write(root + b"/new.tmp")
    recorded = Recorded()
    for name in (b"/.git/old.jpg", b"/old.tmp", b"/raw/deep/old.jpg"):
        recorded.set(path := write(root + name), Stamp.of(os.lstat(path)))
    assert scan(root, recorded, ".*", "*.tmp", "raw/deep") == sorted(recorded.files)
    assert scan(root, recorded, ".*", folder=FilePath(root + b"/.git")) == [root + b"/.git/old.jpg"]


def test_names_are_bytes(root: FilePath) -> None:
    names = [
        b"/\xff\xfe\n.jpg",
        "/é.jpg".encode(),
        "/e\u0301.jpg".encode(),
        b"/-rf",
        "/\U0001f600".encode(),
        b"/" + b"x" * 255,
    ]
    written = [write(root + b"/\xffdir" + name) for name in names]
    assert scan(root, Recorded()) == sorted(written)
    assert scan(root, Recorded(walk(root))) == []


def test_empty_sparse_and_hard_linked_files_are_files(root: FilePath) -> None:
    empty, sparse, linked = write(root + b"/empty", b""), write(root + b"/sparse"), FilePath(root + b"/linked")
    os.truncate(sparse, 1 << 40)
    os.link(empty, linked)
    assert scan(root, Recorded()) == [empty, linked, sparse]


UNREADABLE = """
import os, sys
from indexer.watch.accept import Exclude
from indexer.watch.scan import FolderScanner
from indexer.types import Stamp
os.chdir(sys.argv[1])
os.setuid(65534)
known = {b"root/closed": {b"a": Stamp(1, 2, 3, 4, 5)}, b"root/closed/deep": {b"b": Stamp(1, 2, 3, 4, 5)},
         b"root/listed": {b"c": Stamp(1, 2, 3, 4, 5)}, b"root/gone": {b"d": Stamp(1, 2, 3, 4, 5)}}
scanner = FolderScanner(Exclude([], [b"root"]))
print(list(scanner.scan(b"root", lambda f: known.get(f, {}), lambda f: iter(known))))
"""


def test_what_cannot_be_read_is_not_reported_gone(root: FilePath) -> None:
    write(root + b"/closed/deep/b")
    write(root + b"/listed/c")
    new = write(root + b"/new.jpg")
    os.chmod(root + b"/closed", 0)
    os.chmod(root + b"/listed", 0o744)  # others may read the names, but look at nothing
    if os.geteuid() == 0:  # permissions do not bind root: be somebody else
        os.chmod(os.path.dirname(root), 0o755)
        command = [sys.executable, "-c", UNREADABLE, os.fsdecode(os.path.dirname(root))]
        outcome = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
        assert outcome.stdout.strip() == b"[b'root/new.jpg', b'root/gone/d']", outcome.stderr
        return
    os.chmod(root + b"/listed", 0o400)
    stamp = Stamp(1, 2, 3, 4, 5)
    recorded = Recorded(
        {FilePath(root + n): stamp for n in (b"/closed/a", b"/closed/deep/b", b"/listed/c", b"/gone/d")}
    )
    try:
        assert scan(root, recorded) == [root + b"/gone/d", new]
    finally:
        os.chmod(root + b"/closed", 0o700)
        os.chmod(root + b"/listed", 0o700)


def test_a_lack_of_descriptors_ends_the_scan(root: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    write(root + b"/below/a.jpg")
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path.endswith(b"below"):
            raise OSError(24, "Too many open files")
        return real(path)

    monkeypatch.setattr("indexer.watch.scan.os.scandir", scandir)
    with pytest.raises(OSError, match="Too many open files"):
        scan(root, Recorded({}))


@pytest.mark.parametrize("broken", ["scandir", "stat"])
def test_an_io_error_keeps_what_is_recorded(root: FilePath, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    ill = [write(root + b"/ill/%d.jpg" % i) for i in range(3)]
    recorded = Recorded(walk(root))
    recorded.set(FilePath(root + b"/ill/deep/x.jpg"), Stamp(1, 2, 3, 4, 5))
    new = write(root + b"/new.jpg")
    real = os.scandir

    class IllEntry:
        def __init__(self, entry: os.DirEntry[bytes]) -> None:
            self.path, self.name, self.is_file, self.is_dir = entry.path, entry.name, entry.is_file, entry.is_dir

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            raise OSError(5, "Input/output error")

    class Ill:
        """A listing that breaks off after its first entry, or whose entries cannot be looked at."""

        def __init__(self, folder: bytes) -> None:
            self.entries = [IllEntry(entry) for entry in real(folder)]

        def __enter__(self) -> Iterator[IllEntry]:
            if broken == "stat":
                return iter(self.entries)
            return self.break_off()

        def __exit__(self, *error: object) -> None:
            pass

        def break_off(self) -> Iterator[IllEntry]:
            raise OSError(5, "Input/output error")
            yield

    monkeypatch.setattr(os, "scandir", lambda folder: Ill(folder) if folder.endswith(b"/ill") else real(folder))
    gone = [] if broken == "scandir" else [root + b"/ill/deep/x.jpg"]
    assert scan(root, recorded) == sorted([*gone, new])
    assert ill[0] in recorded.files


# ---------------------------------------------------------------- against a model

NAMES = st.sampled_from([b"a", b"b", b"\xff", "é".encode(), "e\u0301".encode(), b"skip", b"x\ny"])
RELATIVE = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
CHANGES = st.lists(
    st.tuples(st.sampled_from(["write", "write", "mkdir", "remove", "link", "fifo", "move"]), RELATIVE, RELATIVE),
    max_size=14,
)


def change(root: bytes, kind: str, relative: bytes, other: bytes) -> None:
    """One change of the tree; those that make no sense are passed over, as a file system would refuse them."""
    path = root + b"/" + relative
    try:
        os.makedirs(path if kind == "mkdir" else os.path.dirname(path), exist_ok=True)
        if kind == "write":
            write(path, other)
        elif kind == "remove":
            remove(path)
        elif kind == "link":
            os.symlink(root + b"/" + other, path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "move":
            os.rename(path, root + b"/" + other)
    except OSError:
        return


@settings(max_examples=60, deadline=None)
@given(before=CHANGES, after=CHANGES)
def test_a_scan_reports_exactly_the_difference_to_a_fresh_walk(
    before: list[tuple[str, bytes, bytes]], after: list[tuple[str, bytes, bytes]]
) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = FilePath(os.fsencode(folder))
        for kind, relative, other in before:
            change(root, kind, relative, other)
        recorded = Recorded(walk(root))  # "skip" is recorded too, as if it had been left out only since
        for kind, relative, other in after:
            change(root, kind, relative, other)
        truth = walk(root, excluded=frozenset({b"skip"}))
        different = {path for path in truth | recorded.files if truth.get(path) != recorded.files.get(path)}
        assert set(scan(root, recorded, "skip")) == different
