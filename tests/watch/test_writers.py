"""A file that somebody still writes to is told from one that nobody does: real files, real processes."""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.types import FilePath
from indexer.watch import writers
from indexer.watch.writers import has_writer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")

OPEN = """
import os, sys
handle = open(sys.argv[1], sys.argv[2])
if sys.argv[3:]:
    import mmap
    pages = mmap.mmap(handle.fileno(), 0)
    handle.close()
print("open", flush=True)
sys.stdin.read()
"""


def memory_folder() -> Path | None:
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


@pytest.fixture(params=["disk", "memory"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FilePath]:
    """A file of two pages on the file system of the test's folder, and one on tmpfs where there is one."""
    folder = (memory_folder() if request.param == "memory" else None) or tmp_path
    path = folder / f"lookalike-test-{os.getpid()}.jpg"
    path.write_bytes(b"x" * 8192)
    yield FilePath(os.fsencode(path))
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def other_process(path: FilePath, mode: str, *more: str) -> Iterator[None]:
    command = [sys.executable, "-c", OPEN, os.fsdecode(path), mode, *more]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield
        process.communicate(b"")


def test_a_file_at_rest_has_no_writer(file: FilePath) -> None:
    assert not has_writer(file)
    assert not has_writer(file)


@pytest.mark.parametrize("mode", ["r+b", "ab", "wb"])
def test_another_process_that_has_it_open_is_a_writer_until_it_closes(file: FilePath, mode: str) -> None:
    with other_process(file, mode):
        assert has_writer(file)
    assert not has_writer(file)


def test_this_process_is_a_writer_too(file: FilePath) -> None:
    with open(file, "r+b"):
        assert has_writer(file)
    assert not has_writer(file)


def test_a_mapping_outlives_its_file_descriptor_and_still_writes(file: FilePath) -> None:
    with other_process(file, "r+b", "mapped"):
        assert has_writer(file)
    descriptor = os.open(file, os.O_RDWR)
    pages = mmap.mmap(descriptor, 8192)
    os.close(descriptor)
    assert has_writer(file)
    pages.close()
    assert not has_writer(file)


def test_readers_are_no_writers(file: FilePath) -> None:
    with open(file, "rb") as reader, mmap.mmap(reader.fileno(), 0, access=mmap.ACCESS_READ), other_process(file, "rb"):
        assert not has_writer(file)


def test_the_look_leaves_no_lease_behind(file: FilePath) -> None:
    assert not has_writer(file)
    # A lease still held would make this fail at once.
    os.close(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
    with open("/proc/locks") as locks:
        assert f":{os.stat(file).st_ino} " not in locks.read()


def test_a_writer_that_comes_during_the_look_ends_nobody(file: FilePath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaking a lease signals its holder; with the default signal this process would be gone."""
    held, signals = [], []
    real = writers.fcntl.fcntl

    def fcntl(descriptor: int, command: int, argument: int) -> int:
        if command == writers.fcntl.F_SETLEASE and argument == writers.fcntl.F_UNLCK:
            held.append(True)
            with pytest.raises(BlockingIOError):  # the lease is held now; this open breaks it
                os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        return real(descriptor, command, argument)

    monkeypatch.setattr(writers.fcntl, "fcntl", fcntl)
    before = signal.signal(signal.SIGURG, lambda number, frame: signals.append(number))
    try:
        assert not has_writer(file)
    finally:
        signal.signal(signal.SIGURG, before)
    assert held == [True]
    assert signals == [signal.SIGURG]


def test_a_file_leased_for_writing_counts_as_written(file: FilePath) -> None:
    """File servers take write leases for clients that hold unwritten bytes."""
    descriptor = os.open(file, os.O_RDWR)
    try:
        writers.fcntl.fcntl(descriptor, writers.fcntl.F_SETSIG, signal.SIGURG)
        writers.fcntl.fcntl(descriptor, writers.fcntl.F_SETLEASE, writers.fcntl.F_WRLCK)
        assert has_writer(file)
        writers.fcntl.fcntl(descriptor, writers.fcntl.F_SETLEASE, writers.fcntl.F_UNLCK)
    finally:
        os.close(descriptor)


def test_where_it_cannot_be_known_no_writer_is_assumed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    for name in ("missing", "pipe", "link", "folder"):
        assert not has_writer(FilePath(os.fsencode(tmp_path / name)))


def test_a_file_of_another_owner_is_taken_as_it_is(tmp_path: Path) -> None:
    if os.geteuid() != 0:  # then most files are
        assert not has_writer(FilePath(b"/etc/passwd"))
        return
    (tmp_path / "a.jpg").write_bytes(b"x")
    tmp_path.chmod(0o755)
    code = f"""
import os, sys
from indexer.watch.writers import has_writer
os.chdir({str(tmp_path)!r})
assert has_writer(b"a.jpg")
os.setuid(65534)
assert os.access("a.jpg", os.R_OK)
sys.exit(has_writer(b"a.jpg"))
"""
    with open(tmp_path / "a.jpg", "ab"):  # a writer that the other user cannot learn of
        outcome = subprocess.run(
            [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2], capture_output=True
        )
    assert outcome.returncode == 0, outcome.stderr
