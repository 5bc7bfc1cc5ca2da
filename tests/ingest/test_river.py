from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.errors import CapacityError, ImageRefused, StoreError, StoreFull
from indexer.geometry import Geometry
from indexer.ingest.budget import Budget
from indexer.ingest.commit import Committer
from indexer.ingest.river import River, Sources
from indexer.types import Committed, ContentHash, FilePath, Outcome, Reason, StoredFeature, content_hash
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.features import MemoryFeatureCache
from tests.fakes.index import MemoryIndex
from tests.fakes.river import SPACE, FakeDecoder, FakeEmbedder, FakeFiles, FakeSettle, pixels_of


class Bench:
    """A whole river over fakes."""

    def __init__(self, retry_s: float = 0.01) -> None:
        self.files = FakeFiles()
        self.settle = FakeSettle(self.files.stamp)
        self.decoder = FakeDecoder()
        self.embedder = FakeEmbedder()
        self.catalogue = MemoryCatalogue()
        self.cache = MemoryFeatureCache(SPACE)
        self.index = MemoryIndex(SPACE.dim)
        self.geometry = Geometry(self.embedder.projection, "visual")
        self.reachable = True
        self.budget = Budget(32, 1 << 20)
        self.committer = Committer(
            self.catalogue, self.cache, self.index, self.geometry, self.settle.add, retry_s=retry_s
        )
        self.river = River(
            self.settle,
            Sources(self.files.read, 1 << 20, self.files.stamp, lambda path: self.reachable),
            self.decoder,
            self.embedder,
            self.catalogue,
            self.cache,
            self.index,
            self.committer,
            self.budget,
            retry_s=retry_s,
        )

    def start(self) -> Bench:
        self.committer.start()
        self.river.start()
        return self

    def close(self) -> None:
        self.river.close()
        self.committer.close()

    def bring(self, *paths: bytes) -> None:
        for path in paths:
            self.settle.add(FilePath(path))
        assert self.settle.wait_empty()

    def check(self) -> None:
        """The oracle: catalogue, index and features equal a fresh look at the files."""
        truth = self.files.truth()
        ids, hashes = self.catalogue.live()
        records = self.catalogue.images(ids.tolist())
        found = {path: record.hash for record in records.values() for path in record.paths}
        assert found == truth
        assert set(hashes) == set(truth.values())
        assert self.index.ids().tolist() == ids.tolist()
        contents = {content_hash(data): data for _, data in self.files.files.values()}
        for vector_id, hash in zip(ids.tolist(), hashes, strict=True):
            feature = self.embedder.feature_of(pixels_of(contents[hash]))
            assert np.array_equal(self.cache.get_many([hash])[hash].feature, feature)
            assert np.array_equal(self.index.rows(np.array([vector_id]))[0], feature)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench().start()
    yield bench
    bench.close()


def test_a_new_file_becomes_searchable(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.check()
    assert bench.embedder.n_encoded == 1


def test_same_bytes_at_two_paths_share_one_row(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.files.write(b"/w/b.png", b"one")
    bench.bring(b"/w/a.png", b"/w/b.png")
    bench.check()
    assert len(bench.index) == 1
    assert bench.embedder.n_encoded == 1


def test_copies_that_arrive_while_the_first_is_encoded_wait_for_it(bench: Bench) -> None:
    bench.decoder.hold = threading.Event()
    read = threading.Semaphore(0)
    bench.files.before_read = lambda path: read.release()
    paths = [bench.files.write(b"/w/%d.png" % i, b"one") for i in range(20)]
    for path in paths:
        bench.settle.add(path)
    assert all(read.acquire(timeout=10) for _ in paths)
    bench.decoder.hold.set()
    assert bench.settle.wait_empty()
    bench.check()
    assert bench.decoder.n_decoded == 1


def test_a_rename_encodes_nothing_and_keeps_the_id(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    before = bench.index.ids().tolist()
    bench.files.rename(b"/w/a.png", b"/w/b.png")
    bench.bring(b"/w/a.png", b"/w/b.png")
    bench.check()
    assert bench.embedder.n_encoded == 1
    assert bench.index.ids().tolist() == before


def test_a_file_that_went_and_came_back_is_not_encoded_again(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.files.delete(b"/w/a.png")
    bench.bring(b"/w/a.png")
    bench.check()
    assert len(bench.index) == 0
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.check()
    assert bench.embedder.n_encoded == 1
    assert bench.river.n_cache_hits == 1


def test_an_unchanged_file_is_not_read_again(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.bring(b"/w/a.png")
    assert bench.files.reads == [b"/w/a.png"]


def test_a_changed_file_replaces_its_content(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.files.write(b"/w/a.png", b"two")
    bench.bring(b"/w/a.png")
    bench.check()
    assert len(bench.index) == 1


def test_a_refused_file_is_recorded_with_its_reason_and_tried_again_only_when_it_changes(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"bad")
    bench.bring(b"/w/a.png")
    record = bench.catalogue.file(FilePath(b"/w/a.png"))
    assert record is not None
    assert (record.reason, record.detail) == (Reason.CORRUPT, "not a picture")
    bench.bring(b"/w/a.png")
    assert len(bench.files.reads) == 1
    bench.files.write(b"/w/a.png", b"good")
    bench.bring(b"/w/a.png")
    bench.check()
    assert bench.catalogue.counts().refused == {}


def test_a_file_refused_for_a_reason_that_may_pass_is_tried_again_as_it_is(bench: Bench) -> None:
    def fail(path: FilePath) -> None:
        raise ImageRefused(Reason.UNREADABLE, "Input/output error")

    bench.files.before_read = fail
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    assert bench.catalogue.counts().refused == {Reason.UNREADABLE: 1}
    bench.files.before_read = lambda path: None
    bench.bring(b"/w/a.png")
    bench.check()
    assert bench.catalogue.counts().refused == {}


def test_a_file_that_changes_while_it_is_read_is_read_again(bench: Bench) -> None:
    def change_once(path: FilePath) -> None:
        bench.files.before_read = lambda path: None
        bench.files.write(path, b"final")

    bench.files.write(b"/w/a.png", b"draft")
    bench.files.before_read = change_once
    bench.settle.add(FilePath(b"/w/a.png"))
    # while it is in flight its own write's event arrives, as it would from a watcher
    assert bench.settle.wait_empty()
    bench.check()
    assert bench.catalogue.file(FilePath(b"/w/a.png")).hash == content_hash(b"final")


def test_nothing_below_an_unreachable_folder_is_gone(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.reachable = False
    bench.files.delete(b"/w/a.png")
    bench.bring(b"/w/a.png")
    assert bench.catalogue.file(FilePath(b"/w/a.png")) is not None
    assert len(bench.index) == 1


def test_a_lost_feature_and_row_are_encoded_again(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.cache.drop_many([content_hash(b"one")])
    bench.index.remove(bench.index.ids())
    bench.bring(b"/w/a.png")
    bench.check()
    assert bench.embedder.n_encoded == 2


def test_a_lost_row_comes_back_from_the_cache(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.index.remove(bench.index.ids())
    bench.bring(b"/w/a.png")
    bench.check()
    assert bench.embedder.n_encoded == 1


def test_encoding_anew_replaces_the_feature_though_it_is_known(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.river.bring({content_hash(b"one"): [FilePath(b"/w/a.png")]}, anew=True)
    assert bench.settle.wait_empty()
    bench.check()
    assert bench.embedder.n_encoded == 2
    assert bench.river.n_on_their_way == 0
    assert bench.river.end_anew() == 0


def test_encoding_anew_tries_every_path_of_a_content_and_ends_without_those_that_changed(bench: Bench) -> None:
    for name, data in ((b"a", b"one"), (b"b", b"one"), (b"c", b"two"), (b"d", b"three")):
        bench.files.write(b"/w/%s.png" % name, data)
        bench.bring(b"/w/%s.png" % name)
    bench.files.delete(b"/w/a.png")  # unseen as yet
    bench.files.write(b"/w/c.png", b"being written")
    paths = {b"one": [b"/w/a.png", b"/w/b.png"], b"two": [b"/w/c.png"], b"three": [b"/w/d.png"]}
    bench.river.bring({content_hash(data): [FilePath(p) for p in named] for data, named in paths.items()}, anew=True)
    assert bench.settle.wait_empty()
    assert bench.river.n_on_their_way == 0
    assert bench.river.end_anew() == 1
    assert bench.embedder.n_encoded == 5


def test_what_is_brought_and_somebody_writes_to_is_not_waited_for(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.settle.hold(FilePath(b"/w/a.png"))
    bench.river.bring({content_hash(b"one"): [FilePath(b"/w/a.png")]}, anew=True)
    assert bench.river.n_on_their_way == 0
    assert bench.river.end_anew() == 1


def test_a_file_too_large_to_be_read_takes_no_room_from_others() -> None:
    bench = Bench()
    taken: list[int] = []
    acquire = bench.budget.acquire
    bench.budget.acquire = lambda size_bytes: taken.append(size_bytes) or acquire(size_bytes)  # type: ignore[method-assign, func-returns-value]
    bench.start()
    try:
        bench.files.write(b"/w/film.mp4", b"x" * ((1 << 20) + 1))
        bench.bring(b"/w/film.mp4")
    finally:
        bench.close()
    assert taken == [0]


def test_an_unplugged_disk_makes_no_file_gone_or_refused(bench: Bench) -> None:
    bench.files.write(b"/w/a.png", b"one")
    bench.bring(b"/w/a.png")
    bench.files.write(b"/w/a.png", b"two")

    def unplug(path: FilePath) -> None:
        bench.reachable = False
        raise ImageRefused(Reason.UNREADABLE, "Input/output error")

    bench.files.before_read = unplug
    bench.bring(b"/w/a.png")
    record = bench.catalogue.file(FilePath(b"/w/a.png"))
    assert record is not None
    assert record.hash == content_hash(b"one")


def test_a_full_disk_pauses_and_loses_nothing() -> None:
    bench = Bench()
    full = threading.Event()
    full.set()
    tried = threading.Event()
    put_many = bench.cache.put_many

    def put_or_refuse(features: object) -> None:
        if full.is_set():
            tried.set()
            raise StoreFull("no room left; free some space")
        put_many(features)

    bench.cache.put_many = put_or_refuse
    bench.start()
    bench.files.write(b"/w/a.png", b"one")
    bench.settle.add(FilePath(b"/w/a.png"))
    assert tried.wait(10)
    assert len(bench.settle) == 1
    assert bench.catalogue.counts().files == 0
    full.clear()
    assert bench.settle.wait_empty()
    bench.check()
    assert bench.committer.trouble is None
    assert bench.embedder.n_encoded == 1
    bench.close()


@pytest.mark.parametrize("where", ["read", "catalogue", "cache"])
def test_what_is_not_the_files_fault_pauses_reading_and_loses_nothing(where: str) -> None:
    bench = Bench()
    tries = threading.Semaphore(0)
    healthy = threading.Event()

    def failing(really: Callable[..., object]) -> Callable[..., object]:
        def maybe(*arguments: object) -> object:
            if not healthy.is_set():
                tries.release()
                raise CapacityError("Too many open files") if where == "read" else StoreFull("cannot be opened")
            return really(*arguments)

        return maybe

    if where == "read":
        bench.files.before_read = failing(lambda path: None)
    elif where == "catalogue":
        bench.catalogue.files = failing(bench.catalogue.files)
    else:
        bench.cache.get_many = failing(bench.cache.get_many)
    bench.start()
    for n in range(5):
        bench.settle.add(bench.files.write(b"/w/%d.png" % n, b"%d" % (n // 2)))
    assert all(tries.acquire(timeout=10) for _ in range(20))
    assert bench.river.trouble
    healthy.set()
    assert bench.settle.wait_empty()
    bench.check()
    assert bench.river.trouble is None
    assert bench.catalogue.counts().refused == {}
    bench.close()


def test_an_outcome_that_cannot_be_stored_is_refused_and_its_neighbours_are_kept() -> None:
    bench = Bench()
    put_many = bench.cache.put_many

    def put_unless_bad(features: Mapping[ContentHash, StoredFeature]) -> None:
        if content_hash(b"5") in features:
            raise ValueError("features must have unit length")
        put_many(features)

    bench.cache.put_many = put_unless_bad
    paths = [bench.files.write(b"/w/%d.png" % n, b"%d" % n) for n in range(9)]
    bench.river.start()
    for path in paths:
        bench.settle.add(path)
    while bench.committer.n_waiting < len(paths):  # one batch
        bench.settle.wait_empty(0.01)
    bench.committer.start()
    assert bench.settle.wait_empty()
    (record,) = bench.catalogue.refused(10)
    assert (record.path, record.reason) == (paths[5], Reason.NOT_STORABLE)
    assert record.detail == "ValueError: features must have unit length"
    assert bench.committer.trouble is None
    assert bench.committer.n_waiting == 0
    bench.cache.put_many = put_many
    bench.bring(paths[5])
    bench.check()
    assert bench.catalogue.counts().refused == {}
    bench.close()


@pytest.mark.parametrize("error", [StoreError("a disk error"), RuntimeError("no idea"), StoreFull("no room")])
def test_a_store_that_takes_nothing_pauses_and_refuses_nothing(error: Exception) -> None:
    bench = Bench()
    tries = threading.Semaphore(0)
    healthy = threading.Event()
    commit = bench.catalogue.commit

    def commit_or_fail(outcomes: Sequence[Outcome]) -> Committed:
        if not healthy.is_set():
            tries.release()
            raise error
        return commit(outcomes)

    bench.catalogue.commit = commit_or_fail
    bench.start()
    for n in range(5):
        bench.settle.add(bench.files.write(b"/w/%d.png" % n, b"%d" % n))
    assert all(tries.acquire(timeout=10) for _ in range(20))
    assert str(error) in (bench.committer.trouble or "")
    assert len(bench.settle) == 5
    healthy.set()
    assert bench.settle.wait_empty()
    bench.check()
    assert bench.catalogue.counts().refused == {}
    assert bench.embedder.n_encoded == 5
    bench.close()


NAMES = [b"/w/%s" % name for name in (b"a", b"b", b"c", b"d/e", b"d/f")]
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.sampled_from([b"1", b"2", b"3", b"bad1", b"bad2"])),
        st.tuples(st.just("delete"), st.sampled_from(NAMES)),
        st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("rest")),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OPERATIONS)
def test_whatever_happens_to_the_files_the_index_ends_equal_to_them(operations: list[tuple[bytes, ...]]) -> None:
    bench = Bench().start()
    try:
        for operation in operations:
            match operation:
                case ("write", path, data):
                    bench.files.write(path, data)
                    bench.settle.add(FilePath(path))
                case ("delete", path) if path in bench.files.files:
                    bench.files.delete(path)
                    bench.settle.add(FilePath(path))
                case ("rename", old, new) if old in bench.files.files and old != new:
                    bench.files.rename(old, new)
                    bench.settle.add(FilePath(old))
                    bench.settle.add(FilePath(new))
                case ("rest",):
                    assert bench.settle.wait_empty()
        assert bench.settle.wait_empty()
        bench.check()
        contents: set[ContentHash] = set(bench.embedder.encoded)
        assert len(bench.embedder.encoded) == len(contents), "something was encoded twice"
    finally:
        bench.close()
