"""Variants and similar scenes: the model proposes, pixels decide."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from benchmarks.photographs import draw
from indexer.duplicates.find import Duplicates, Finder
from indexer.errors import FileChanged, ImageRefused, Stopped
from indexer.store.looks import KeptLooks
from indexer.types import (
    Decoded,
    FileContent,
    FilePath,
    Found,
    Gone,
    ImageInfo,
    Preprocess,
    Reason,
    Stamp,
    content_hash,
)
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.index import MemoryIndex

INFO = ImageInfo("JPEG", 64, 64, 9)


class World:
    """Pictures in a catalogue, an index and on a disk; a file's bytes name its pixels."""

    def __init__(self, folder: Path) -> None:
        self.catalogue = MemoryCatalogue()
        self.index = MemoryIndex(4)
        self.files: dict[FilePath, bytes] = {}
        self.pixels: dict[bytes, np.ndarray] = {}
        self.n_decoded = 0
        self.folder = folder
        self.start()

    def start(self) -> None:
        """As after a restart: nothing is known but what was kept."""
        kept = KeptLooks(self.folder, Preprocess(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), 1)
        self.finder = Finder(self.index, self.catalogue, self, self.read, kept)  # type: ignore[arg-type]

    def add(self, name: bytes, pixels: np.ndarray, row: list[float]) -> int:
        path = FilePath(b"/w/" + name)
        self.files[path], self.pixels[name] = name, pixels
        hash = content_hash(name)
        id = self.catalogue.commit([Found(path, Stamp(1, len(self.files), 1, 1, 1), hash, INFO)]).ids[hash]
        unit = np.array([row]) / np.linalg.norm(row)
        self.index.upsert(np.array([id]), unit.astype(np.float16), np.ones(1, np.float32))
        return id

    def read(self, path: FilePath) -> FileContent:
        if path not in self.files:
            raise FileChanged("gone")
        data = self.files[path]
        return FileContent(Stamp(1, 1, 1, 1, 1), content_hash(data), data)

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        self.n_decoded += 1
        future: Future[Decoded] = Future()
        if data in self.pixels:
            future.set_result(Decoded(self.pixels[data], INFO))
        else:
            future.set_exception(ImageRefused(Reason.CORRUPT, "no picture"))
        return future

    def found(self) -> Duplicates:
        return self.finder.find(lambda _done, _total: None)


def picture(seed: int) -> np.ndarray:
    return np.asarray(draw(64, 64, seed))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """1 and 2 are one picture; 3 is another of the same scene; 4 is unlike all."""
    world = World(tmp_path / "looks")
    world.add(b"a", picture(0), [1, 0, 0, 0])
    world.add(b"b", picture(0), [1, 0.05, 0, 0])
    world.add(b"c", picture(1), [1, 0, 0.1, 0])
    world.add(b"d", picture(2), [0, 0, 0, 1])
    return world


def test_close_rows_of_the_same_pixels_are_variants(world: World) -> None:
    assert [group.ids for group in world.found().variants] == [(1, 2)]


def test_a_similar_scene_is_told_with_the_first_of_its_variants(world: World) -> None:
    assert [group.ids for group in world.found().similar] == [(1, 3)]


def test_the_same_pixels_are_no_variant_of_what_the_model_tells_apart(world: World) -> None:
    world.add(b"e", picture(0), [0, 1, 0, 0])
    assert [group.ids for group in world.found().variants] == [(1, 2)]


def test_a_picture_is_decoded_once_however_often_is_asked(world: World) -> None:
    world.found()
    n_decoded = world.n_decoded
    assert world.found() == world.found()
    assert world.n_decoded == n_decoded == 3


def test_what_was_seen_outlives_a_restart(world: World) -> None:
    found = world.found()
    world.start()
    n_decoded = world.n_decoded
    assert world.found() == found
    assert world.n_decoded == n_decoded
    world.add(b"e", picture(3), [1, 0, 0, 0.1])
    world.found()
    assert world.n_decoded == n_decoded + 1


def test_what_was_seen_by_a_search_that_was_broken_off_is_kept(world: World) -> None:
    def stop(n_done: int, n_total: int) -> None:
        if n_done > len(world.index):
            raise Stopped("the service is going down")

    with pytest.raises(Stopped):
        world.finder.find(stop)
    n_decoded = world.n_decoded
    assert n_decoded
    world.start()
    world.found()
    assert world.n_decoded == n_decoded


def test_of_what_is_needed_no_more_not_much_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.duplicates.find._KEPT_EVERY", 0)
    for i in range(4):
        world.add(b"odd %d" % i, picture(10 + i), [0, 1, 0.01 * i, 0])
    world.found()
    world.index.remove(world.index.ids()[:4])
    n_decoded = world.n_decoded
    world.index.remove(world.index.ids()[2:])
    world.found()
    world.start()
    world.found()
    assert world.n_decoded == n_decoded
    assert len(world.finder._known()) == 2


def test_a_file_that_is_gone_or_no_picture_any_more_is_no_variant(world: World) -> None:
    del world.files[FilePath(b"/w/b")]
    assert world.found().variants == ()
    world.files[FilePath(b"/w/b")] = b"other bytes"
    assert world.found().variants == ()
    world.files[FilePath(b"/w/b")] = b"b"
    assert len(world.found().variants) == 1


def test_what_cannot_be_decoded_now_is_no_variant(world: World) -> None:
    del world.pixels[b"b"]
    assert world.found().variants == ()


def test_two_that_cannot_be_seen_are_not_taken_for_the_same(world: World) -> None:
    world.pixels.clear()
    assert world.found().variants == ()


def test_what_has_gone_from_the_catalogue_meanwhile_is_left_out(world: World) -> None:
    world.catalogue.commit([Gone(FilePath(b"/w/b"))])
    assert world.found().variants == ()


def test_the_progress_never_goes_back(world: World) -> None:
    told: list[tuple[int, int]] = []
    world.finder.find(lambda n_done, n_total: told.append((n_done, n_total)))
    assert told == sorted(told)
    assert all(n_done <= n_total for n_done, n_total in told)
