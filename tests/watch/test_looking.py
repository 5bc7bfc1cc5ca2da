"""A look tells the stamp of a regular file that is truly at its path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.types import FilePath, Stamp
from indexer.watch.accept import Exclude
from indexer.watch.looking import Look
from tests.watch.trees import write


@pytest.fixture
def root(tmp_path: Path) -> FilePath:
    (tmp_path / "root").mkdir()
    return FilePath(os.fsencode(tmp_path / "root"))


def stamp(root: FilePath, path: bytes, *patterns: str) -> Stamp | None:
    return Look(Exclude(patterns, [root])).stamp(FilePath(path))


def test_a_regular_file_has_its_stamp(root: FilePath) -> None:
    path = write(root + b"/sub/a.jpg")
    assert stamp(root, path) == Stamp.of(os.lstat(path))


def test_everything_else_has_none(root: FilePath) -> None:
    file = write(root + b"/a.jpg")
    os.mkfifo(root + b"/pipe")
    os.symlink(file, root + b"/link")
    for name in (b"/missing", b"/missing/below", b"/a.jpg/below", b"/pipe", b"/link", b""):
        assert stamp(root, root + name) is None


def test_what_is_left_out_has_none(root: FilePath) -> None:
    assert stamp(root, write(root + b"/a.tmp"), "*.tmp") is None
    assert stamp(root, write(root + b"/.git/a.jpg"), ".*") is None


def test_what_is_reached_through_a_link_below_the_watched_folder_is_not_there(root: FilePath, tmp_path: Path) -> None:
    outside = write(os.fsencode(tmp_path / "outside" / "deep" / "a.jpg"))
    os.symlink(os.fsencode(tmp_path / "outside"), root + b"/link")
    os.symlink(root, root + b"/loop")
    write(root + b"/b.jpg")
    assert stamp(root, root + b"/link/deep/a.jpg") is None
    assert stamp(root, root + b"/loop/b.jpg") is None
    os.symlink(root, os.fsencode(tmp_path / "way in"))  # above the watched folder, links are the person's own affair
    way_in = FilePath(os.fsencode(tmp_path / "way in"))
    assert stamp(way_in, way_in + b"/b.jpg") == Stamp.of(os.lstat(root + b"/b.jpg"))
    assert stamp(root, outside) == Stamp.of(os.lstat(outside))


def test_an_error_of_the_file_system_is_no_answer(root: FilePath) -> None:
    def lstat(path: FilePath) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        Look(Exclude([], [root]), lstat).stamp(FilePath(root + b"/sub/a.jpg"))


def test_folders_are_looked_at_once_per_batch(root: FilePath) -> None:
    looked: list[bytes] = []

    def lstat(path: FilePath) -> os.stat_result:
        looked.append(path)
        return os.lstat(path)

    paths = [write(root + b"/a/b/%d.jpg" % i) for i in range(10)]
    look = Look(Exclude([], [root]), lstat)
    assert all(look.stamp(path) for path in paths)
    assert sorted(looked) == sorted([root + b"/a", root + b"/a/b", *paths])
