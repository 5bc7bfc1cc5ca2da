from __future__ import annotations

import pytest

from indexer.errors import NotFound
from indexer.thumbnails import Thumbnails
from indexer.types import FileContent, FilePath, ImageInfo, ImageRecord, Stamp, content_hash
from tests.fakes.river import FakeDecoder

STAMP = Stamp(1, 1, 1, 1, 1)


class Shelf:
    def __init__(self, files: dict[bytes, bytes]) -> None:
        self.files = files
        self.n_reads = 0

    def read(self, path: FilePath) -> FileContent:
        self.n_reads += 1
        if path not in self.files:
            raise FileNotFoundError(path)
        return FileContent(STAMP, content_hash(self.files[path]), self.files[path])


def record(data: bytes, *paths: bytes) -> ImageRecord:
    return ImageRecord(1, content_hash(data), ImageInfo("png", 8, 8, 9), tuple(map(FilePath, paths)), 0.0)


def test_a_thumbnail_is_made_once_and_kept() -> None:
    shelf = Shelf({b"/a": b"picture"})
    thumbnails = Thumbnails(FakeDecoder(), shelf.read)
    assert thumbnails.get(record(b"picture", b"/a"), 256) == thumbnails.get(record(b"picture", b"/a"), 256)
    assert shelf.n_reads == 1


def test_the_first_path_that_still_holds_the_content_is_taken() -> None:
    shelf = Shelf({b"/changed": b"another", b"/kept": b"picture"})
    thumbnails = Thumbnails(FakeDecoder(), shelf.read)
    assert thumbnails.get(record(b"picture", b"/gone", b"/changed", b"/kept"), 64) == b"jpegpict"


def test_another_files_bytes_are_never_shown_for_an_id() -> None:
    thumbnails = Thumbnails(FakeDecoder(), Shelf({b"/a": b"swapped in"}).read)
    with pytest.raises(NotFound):
        thumbnails.get(record(b"picture", b"/a"), 64)


def test_memory_for_thumbnails_is_bounded_and_the_oldest_go_first() -> None:
    shelf = Shelf({b"/%d" % i: b"picture%d" % i for i in range(10)})
    thumbnails = Thumbnails(FakeDecoder(), shelf.read, n_bytes=3 * len(b"jpegpict"))
    records = [record(b"picture%d" % i, b"/%d" % i) for i in range(10)]
    for each in records:
        thumbnails.get(each, 64)
    thumbnails.get(records[9], 64)
    assert shelf.n_reads == 10
    thumbnails.get(records[0], 64)
    assert shelf.n_reads == 11
