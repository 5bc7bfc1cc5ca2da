from __future__ import annotations

from threading import Lock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.geometry import Geometry
from indexer.restore import forget_unwatched, refill, restore, unsearchable
from indexer.types import FilePath, Found, ImageInfo, Stamp, StoredFeature, content_hash
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.features import MemoryFeatureCache
from tests.fakes.index import MemoryIndex
from tests.fakes.river import SPACE, FakeEmbedder, pixels_of

INFO = ImageInfo("png", 8, 8, 9)
EMBEDDER = FakeEmbedder()
GEOMETRY = Geometry(EMBEDDER.projection, "visual")


class World:
    def __init__(self, n: int) -> None:
        self.catalogue = MemoryCatalogue()
        self.cache = MemoryFeatureCache(SPACE)
        self.index = MemoryIndex(SPACE.dim)
        self.hashes = [content_hash(b"%d" % i) for i in range(n)]
        self.features = {
            hash: StoredFeature(EMBEDDER.feature_of(pixels_of(b"%d" % i)), INFO) for i, hash in enumerate(self.hashes)
        }
        committed = self.catalogue.commit(
            [Found(FilePath(b"/w/%d" % i), Stamp(1, i, 1, 1, 1), hash, INFO) for i, hash in enumerate(self.hashes)]
        )
        self.ids = dict(committed.ids)
        if self.features:
            self.cache.put_many(self.features)

    def restore(self, **options: bool) -> object:
        return restore(self.catalogue, self.cache, self.index, GEOMETRY, Lock(), **options)


@given(
    n=st.integers(0, 40),
    lost=st.sets(st.integers(0, 39)),
    present=st.sets(st.integers(0, 39)),
    phantoms=st.sets(st.integers(1000, 1010)),
    anew=st.booleans(),
)
def test_the_index_holds_exactly_the_live_contents_that_have_a_feature(
    n: int, lost: set[int], present: set[int], phantoms: set[int], anew: bool
) -> None:
    world = World(n)
    lost = {i for i in lost if i < n}
    before = sorted([world.ids[world.hashes[i]] for i in present if i < n] + list(phantoms))
    if before:
        some = np.tile(EMBEDDER.feature_of(pixels_of(b"stale")), (len(before), 1))
        if not anew:  # rows that are there hold the right feature, unless somebody asks for all of them anew
            by_id = {world.ids[hash]: stored.feature for hash, stored in world.features.items()}
            some = np.stack([by_id.get(vector_id, some[0]) for vector_id in before])
        world.index.upsert(np.array(before), *GEOMETRY.rows(some))
    world.cache.drop_many([world.hashes[i] for i in lost])

    done = world.restore(anew=anew)

    was_there = {i for i in present if i < n}
    expected = {i for i in range(n) if i not in lost or i in was_there}
    assert world.index.ids().tolist() == sorted(world.ids[world.hashes[i]] for i in expected)
    assert set(done.missing) == {world.hashes[i] for i in lost if anew or i not in was_there}
    assert done.n_removed == len(phantoms)
    for i in expected - lost:
        row = world.index.rows(np.array([world.ids[world.hashes[i]]]))[0]
        assert np.array_equal(row, world.features[world.hashes[i]].feature)


def test_progress_rises_to_the_whole() -> None:
    world = World(5000)
    steps: list[tuple[int, int]] = []
    restore(
        world.catalogue,
        world.cache,
        world.index,
        GEOMETRY,
        Lock(),
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps[0] == (0, 5000)
    assert steps[-1] == (5000, 5000)
    assert steps == sorted(steps)


def test_a_content_that_dies_while_its_row_is_written_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(3)
    get_many = world.cache.get_many
    dead = world.hashes[1]

    def die_then_get(hashes: list[bytes]) -> object:
        world.catalogue.commit([*_gone(world, 1)])
        return get_many(hashes)

    monkeypatch.setattr(world.cache, "get_many", die_then_get)
    world.restore()
    assert world.ids[dead] not in world.index.ids()
    assert len(world.index) == 2


def _gone(world: World, i: int) -> list[object]:
    from indexer.types import Gone

    return [Gone(FilePath(b"/w/%d" % i))]


def test_contents_without_a_row_are_told_by_their_paths_below_a_folder() -> None:
    world = World(4)
    world.restore()
    assert unsearchable(world.catalogue, world.index, FilePath(b"/w")) == []
    world.index.remove(np.array([world.ids[world.hashes[2]]]))
    assert unsearchable(world.catalogue, world.index, FilePath(b"/w")) == [b"/w/2"]
    assert unsearchable(world.catalogue, world.index, FilePath(b"/v")) == []


def test_files_outside_the_watched_folders_are_forgotten_and_no_others() -> None:
    world = World(2)
    elsewhere = [FilePath(b"/ww/a.png"), FilePath(b"/ww/deep/b.png")]
    world.catalogue.commit([Found(path, Stamp(1, 9, 1, 1, 1), content_hash(path), INFO) for path in elsewhere])
    forget_unwatched(world.catalogue, [FilePath(b"/w")])
    assert [world.catalogue.file(path) for path in elsewhere] == [None, None]
    assert world.catalogue.counts().files == 2


@given(n=st.integers(0, 40), lost=st.sets(st.integers(0, 39)), rowless=st.sets(st.integers(0, 39)))
def test_features_that_were_lost_come_back_from_the_rows_of_the_visual_space(
    n: int, lost: set[int], rowless: set[int]
) -> None:
    world = World(n)
    world.restore()
    world.cache.drop_many([hash for i, hash in enumerate(world.hashes) if i in lost])
    world.index.remove(np.array([world.ids[hash] for i, hash in enumerate(world.hashes) if i in rowless], np.int64))
    assert refill(world.catalogue, world.cache, world.index, GEOMETRY) == []
    there = {hash: world.features[hash] for i, hash in enumerate(world.hashes) if i not in lost & rowless}
    found = world.cache.get_many(world.hashes)
    assert found.keys() == there.keys()
    assert all(np.array_equal(found[hash].feature, there[hash].feature) for hash in there)
    assert all(found[hash].info == INFO for hash in there)


def test_what_was_never_encoded_is_not_called_lost(caplog: pytest.LogCaptureFixture) -> None:
    world = World(4)  # as after a change of precision: everything is known, and nothing encoded
    world.cache.drop_many(world.hashes)
    assert refill(world.catalogue, world.cache, world.index, GEOMETRY) == []
    assert caplog.text == ""
    world = World(4)
    world.restore()
    world.cache.drop_many(world.hashes[:3])
    refill(world.catalogue, world.cache, world.index, GEOMETRY)
    assert "had lost 3 features" in caplog.text


def test_features_that_were_lost_are_to_be_encoded_where_a_row_is_a_joint_embedding() -> None:
    world = World(4)
    joint = Geometry(EMBEDDER.projection, "joint")
    world.index = MemoryIndex(joint.row_dim)
    restore(world.catalogue, world.cache, world.index, joint, Lock())
    world.cache.drop_many(world.hashes[1:])
    world.index.remove(np.array([world.ids[world.hashes[3]]]))  # the start has this one encoded
    assert refill(world.catalogue, world.cache, world.index, joint) == world.hashes[1:3]
    assert set(world.cache.hashes()) == {world.hashes[0]}
