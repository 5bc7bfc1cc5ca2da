from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from indexer.errors import CapacityError, FileChanged, ImageRefused
from indexer.files import reading
from indexer.files.reading import read_file
from indexer.types import FilePath, Reason, Stamp


def as_path(path: Path) -> FilePath:
    return FilePath(os.fsencode(path))


def test_bytes_hash_and_stamp_belong_together(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")
    content = read_file(as_path(file), 100)
    assert content.data == b"picture"
    assert content.hash == hashlib.sha256(b"picture").digest()
    assert content.stamp == Stamp.of(file.stat())


def test_a_file_with_another_stamp_than_expected_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")
    stamp = Stamp.of(file.stat())
    file.write_bytes(b"another")
    os.utime(file, ns=(0, stamp.mtime_ns))  # the old mtime restored: the ctime betrays it
    with pytest.raises(FileChanged):
        read_file(as_path(file), 100, expected=stamp)


@pytest.mark.parametrize("change", ["append", "truncate", "overwrite"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"x" * 1000)
    os.utime(file, ns=(0, 0))
    read = os.read

    def change_then_read(descriptor: int, n: int) -> bytes:
        monkeypatch.setattr(reading.os, "read", read)
        data = read(descriptor, n)
        if change == "append":
            with file.open("ab") as stream:
                stream.write(b"more")
        elif change == "truncate":
            os.truncate(file, 10)
        else:
            with file.open("r+b") as stream:
                stream.write(b"y")
        return data

    monkeypatch.setattr(reading.os, "read", change_then_read)
    with pytest.raises(FileChanged):
        read_file(as_path(file), 10_000)


def test_nothing_there_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(as_path(tmp_path / "a.png"), 100)


def test_what_is_no_picture_file_is_refused_with_its_reason(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(b"x" * 101)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    reasons = {}
    for name in ("fifo", "folder", "empty", "large", "link"):
        with pytest.raises(ImageRefused) as refused:
            read_file(as_path(tmp_path / name), 100)
        reasons[name] = refused.value.reason
    assert reasons == {
        "fifo": Reason.NOT_REGULAR,
        "folder": Reason.NOT_REGULAR,
        "empty": Reason.EMPTY,
        "large": Reason.TOO_MANY_BYTES,
        "link": Reason.NOT_REGULAR,
    }


def test_a_sparse_terabyte_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "sparse.png"
    file.touch()
    os.truncate(file, 1 << 40)
    with pytest.raises(ImageRefused) as refused:
        read_file(as_path(file), 200_000_000)
    assert refused.value.reason is Reason.TOO_MANY_BYTES


def test_an_io_error_is_refused_as_unreadable_and_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")

    def fail(descriptor: int, n: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reading.os, "read", fail)
    with pytest.raises(ImageRefused) as refused:
        read_file(as_path(file), 100)
    assert refused.value.reason is Reason.UNREADABLE
    assert refused.value.reason.transient


def test_a_lack_of_descriptors_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: bytes, flags: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(reading.os, "open", fail)
    with pytest.raises(CapacityError, match="Too many open files"):
        read_file(as_path(tmp_path / "a.png"), 100)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    before = len(os.listdir("/proc/self/fd"))
    for name in ("empty", "missing"):
        with pytest.raises((ImageRefused, FileNotFoundError)):
            read_file(as_path(tmp_path / name), 100)
    assert len(os.listdir("/proc/self/fd")) == before
