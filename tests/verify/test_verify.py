"""Every kind of fault is found, named, and mended when asked; what merely just changed is none."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.errors import ImageRefused, Stopped
from indexer.types import (
    ContentHash,
    FilePath,
    Finding,
    Flaw,
    Gone,
    ImageRecord,
    Reason,
    Refused,
    StoredFeature,
    VerifyReport,
)
from tests.verify.world import World

MakeWorld = Callable[..., World]


@pytest.fixture(params=["fake", "real"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "store" if request.param == "real" else None)
    yield made
    made.close()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "store")
    yield made
    made.close()


def assert_right(world: World) -> None:
    """The oracle: catalogue, features and rows are what the files say."""
    ids, hashes = world.catalogue.live()
    records = world.catalogue.images(ids.tolist())
    assert {path: record.hash for record in records.values() for path in record.paths} == world.files.truth()
    assert world.index.ids().tolist() == ids.tolist()
    stored = world.cache.get_many(hashes)
    contents = {world.hash_of(path): data for path, (_, data) in world.files.files.items()}
    for vector_id, hash in zip(ids.tolist(), hashes, strict=True):
        assert np.array_equal(stored[hash].feature, world.feature_of(contents[hash]))
        rows, _ = world.geometry.rows(stored[hash].feature[None, :])
        assert np.array_equal(world.index.rows(np.array([vector_id])), rows)


def only(report: VerifyReport) -> Finding:
    """The one finding."""
    (finding,) = report.examples
    assert sum(report.found.values()) == 1
    return finding


def test_a_store_without_faults_is_well_and_everything_was_looked_at(world: World) -> None:
    world.bring(5)
    world.index_all([world.files.write(b"/w/copy.png", b"image 0"), world.files.write(b"/w/bad.png", b"bad")])
    report = world.verify(sample=3)
    assert report.ok
    assert (report.found, report.mended, report.examples, report.notes) == ({}, {}, (), ())
    assert (report.files, report.contents, report.features, report.rows) == (7, 5, 5, 5)
    assert (report.kept, report.reencoded, report.sample, report.repair) == (0, 3, 3, False)


def test_progress_rises_to_the_whole(world: World) -> None:
    world.bring(5)
    world.verify(sample=2)
    done = [(each.n_done, each.n_total) for each in world.progress]
    assert done == sorted(done)
    assert all(n_done <= n_total for n_done, n_total in done)
    assert world.progress[0].task == "verify"


# ---------------------------------------------------------------- one fault of each kind


def plant(world: World, fault: str, path: FilePath) -> tuple[Flaw, str]:
    """Make one thing wrong; what should be said of it."""
    match fault:
        case "row lost":
            world.drop_row(path)
            return Flaw.MISSING, "the index has no row"
        case "feature lost":
            world.drop_feature(path)
            return Flaw.MISSING, "no feature is stored"
        case "feature and row lost":
            world.drop_feature(path)
            world.drop_row(path)
            return Flaw.MISSING, "no feature is stored"
        case "phantom row":
            world.add_row(10**12)
            return Flaw.ORPHANED, "the row is of no live content"
        case "one bit of a row":
            flip_row(world, path)
            return Flaw.DRIFTED, "the row differs from its feature"
        case "another feature":
            world.other_feature(path)
            return Flaw.DRIFTED, "the row differs from its feature"
        case "another feature and row":
            world.other_feature(path)
            stored = world.cache.get_many([world.hash_of(path)])[world.hash_of(path)]
            world.index.upsert(np.array([world.id_of(path)]), *world.geometry.rows(stored.feature[None, :]))
            return Flaw.DRIFTED, "the feature is not what the file encodes to"
        case "bytes changed secretly":
            world.change_secretly(path, b"IMAGE 1")
            return Flaw.DRIFTED, "the file's bytes changed, though its times and size did not"
        case "file changed":
            world.files.write(path, b"another image")
            return Flaw.STALE, "the file has changed since it was recorded"
        case "file gone":
            world.files.delete(path)
            return Flaw.STALE, "the file is gone, but still recorded"
        case _:
            world.files.write(b"/w/new.png", b"new image")
            return Flaw.STALE, "the file is not recorded"


def flip_row(world: World, path: FilePath) -> None:
    ids = np.array([world.id_of(path)])
    row, norm = world.index.rows(ids).copy(), world.index.norms(ids)
    row.view(np.uint16)[0, 3] ^= 1
    world.index.upsert(ids, row, norm)


FAULTS = [
    "row lost", "feature lost", "feature and row lost", "phantom row", "one bit of a row", "another feature and row",
    "bytes changed secretly", "file changed", "file gone", "file new",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_named_left_alone_and_mended_when_asked(world: World, fault: str) -> None:
    path = world.bring(4)[1]
    flaw, what = plant(world, fault, path)
    before = world.index.ids().tolist()

    found = only(world.verify(sample=4))
    assert (found.flaw, found.mended) == (flaw, False)
    assert found.what.startswith(what)
    assert {found.path, found.hash, found.vector_id} != {None}
    assert world.index.ids().tolist() == before

    report = world.verify(sample=4, repair=True)
    assert only(report).mended
    assert report.ok
    assert report.found == report.mended == {flaw: 1}
    assert world.verify(sample=4).found == {}
    assert_right(world)


def test_mending_writes_only_what_was_wrong(world: World) -> None:
    paths = world.bring(6)
    world.drop_row(paths[0])
    world.drop_feature(paths[1])
    n_encoded = world.embedder.n_encoded
    assert world.verify(repair=True).mended == {Flaw.MISSING: 2}
    assert world.embedder.n_encoded == n_encoded + 1
    assert world.n_changed == 1


def test_a_swapped_feature_is_seen_against_its_row_and_only_a_sample_tells_which_is_right(world: World) -> None:
    """Both pass their checks; the row is derived, so it is made to follow. Encoding again finds out."""
    path = world.bring(3)[1]
    flaw, what = plant(world, "another feature", path)
    assert only(world.verify()).what == what
    report = world.verify(sample=3, repair=True)
    assert report.ok
    assert report.found == {flaw: 2}
    assert_right(world)


def test_every_path_that_holds_a_secretly_changed_file_is_read_again(world: World) -> None:
    """Hard links share their bytes and their stamp."""
    one, other = world.files.write(b"/w/1.png", b"image 1"), world.files.write(b"/w/2.png", b"image 1")
    world.index_all([one, other])
    for path in (one, other):
        world.change_secretly(path, b"IMAGE 1")
    assert world.verify(sample=1, repair=True).ok
    assert_right(world)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.integers(0, 9), st.sampled_from(FAULTS), max_size=6))
def test_any_mixture_of_faults_is_mended(faults: dict[int, str]) -> None:
    world = World()
    try:
        paths = [world.files.write(b"/w/%d.png" % i, b"image %d" % i) for i in range(10)]
        world.index_all(paths)
        for i, fault in faults.items():
            if fault == "bytes changed secretly":
                world.change_secretly(paths[i], b"IMAGE %d" % i)
            else:
                plant(world, fault, paths[i])
        assert world.verify(sample=10, repair=True).ok
        again = world.verify(sample=10)
        assert again.found == {}
        assert_right(world)
    finally:
        world.close()


def test_rows_of_joint_embeddings_are_held_against_their_features_too() -> None:
    world = World(space="joint")
    try:
        paths = world.bring(50)
        assert world.verify().found == {}
        rows, norms = world.geometry.rows(world.feature_of(b"other")[None, :])
        world.index.upsert(np.array([world.id_of(paths[7])]), rows, norms)
        assert only(world.verify(repair=True)).vector_id == world.id_of(paths[7])
        assert world.verify().found == {}
    finally:
        world.close()


# ---------------------------------------------------------------- damage, in the real stores


def corrupt(database: Path, statement: str) -> None:
    with sqlite3.connect(database, isolation_level=None) as con:
        assert con.execute(statement).rowcount == 1
    con.close()


def test_a_feature_that_fails_its_checksum_is_damaged_and_encoded_again(real: World) -> None:
    path = real.bring(4)[1]
    assert real.store is not None
    key = f"{real.embedder.space.fingerprint}:{real.hash_of(path).hex()}"
    flipped = "CAST(substr(value, 1, 120) || x'ff' || substr(value, 122) AS BLOB)"
    corrupt(real.store / "features" / "cache.db", f"UPDATE Cache SET value = {flipped} WHERE key = '{key}'")
    report = real.verify()
    assert only(report).flaw is Flaw.DAMAGED
    assert only(report).hash == real.hash_of(path)
    assert not report.ok
    report = real.verify(repair=True)  # the cache has dropped it by now
    assert report.mended == {Flaw.MISSING: 1}
    assert_right(real)


def test_damage_is_found_and_mended_in_one_go(real: World) -> None:
    path = real.bring(4)[1]
    assert real.store is not None
    key = f"{real.embedder.space.fingerprint}:{real.hash_of(path).hex()}"
    corrupt(real.store / "features" / "cache.db", f"UPDATE Cache SET value = x'00' WHERE key = '{key}'")
    report = real.verify(repair=True)
    assert report.found == report.mended == {Flaw.DAMAGED: 1}
    assert_right(real)


def test_a_damaged_feature_of_a_content_that_went_away_is_dropped_and_done_with(real: World) -> None:
    path = real.bring(4)[1]
    assert real.store is not None
    key = f"{real.embedder.space.fingerprint}:{real.hash_of(path).hex()}"
    real.files.delete(path)
    real.index_all([path])
    corrupt(real.store / "features" / "cache.db", f"UPDATE Cache SET value = x'00' WHERE key = '{key}'")
    report = real.verify()
    assert only(report).mended
    assert report.ok
    assert report.kept == 0


@pytest.mark.parametrize("table", ["content", "file"])
def test_a_damaged_row_of_the_catalogue_is_dropped_and_its_file_recorded_anew(real: World, table: str) -> None:
    real.bring(4)
    assert real.store is not None
    where = "id = (SELECT max(id) FROM content)" if table == "content" else "name = x'312e706e67'"
    corrupt(real.store / "catalogue.db", f"UPDATE {table} SET size_bytes = size_bytes + 1 WHERE {where}")
    report = real.verify(repair=True)
    assert report.ok
    assert report.found[Flaw.DAMAGED] == report.mended[Flaw.DAMAGED] == 1
    assert report.found[Flaw.STALE] == 1
    assert_right(real)


# ---------------------------------------------------------------- no findings


def test_features_of_contents_that_went_away_are_kept_and_no_fault(world: World) -> None:
    paths = world.bring(4)
    world.files.delete(paths[0])
    world.index_all([paths[0]])
    report = world.verify()
    assert (report.found, report.kept, report.features) == ({}, 1, 4)


def test_a_change_on_its_way_is_no_finding(world: World) -> None:
    path = world.bring(3)[0]
    world.files.write(path, b"another image")
    world.decoder.hold = hold = threading.Event()
    read = threading.Event()
    world.files.before_read = lambda _path: read.set()
    world.settle.add(path)
    assert read.wait(10)
    assert world.verify().found == {}
    hold.set()
    assert world.settle.wait_empty()


def test_a_change_whose_event_comes_a_moment_later_is_no_finding(world: World) -> None:
    path = world.bring(3)[0]
    world.files.write(path, b"another image")
    world.patience_s = 1.0

    def event_arrives(seconds: float) -> None:
        if seconds > 0:
            world.on_pause = lambda _seconds: None
            world.index_all([path])

    world.on_pause = event_arrives
    assert world.verify().found == {}
    assert_right(world)


def test_verifying_while_pictures_come_change_and_go_finds_nothing(world: World) -> None:
    world.bring(30)
    n = iter(range(1000, 100_000))

    def traffic(_seconds: float) -> None:
        i = next(n)
        path = world.files.write(b"/w/%d.png" % (i % 40), b"image %d" % i)
        world.settle.add(path)
        if i % 3 == 0 and FilePath(b"/w/%d.png" % (i % 30)) in world.files.files:
            world.files.delete(b"/w/%d.png" % (i % 30))
            world.settle.add(FilePath(b"/w/%d.png" % (i % 30)))

    world.on_pause = traffic
    world.patience_s = 1.0
    for _ in range(5):
        report = world.verify(sample=20)
        assert report.found == {}, report.examples
    assert world.settle.wait_empty()
    assert_right(world)


def test_a_feature_that_is_stored_between_two_looks_is_no_finding(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features are read before the lock is taken; a batch may be committed in between."""
    world.bring(2)
    get_many, images = world.cache.get_many, world.catalogue.images
    answers: list[dict[ContentHash, StoredFeature]] = []

    def look_at_paths(ids: Sequence[int]) -> dict[int, ImageRecord]:
        answers.append({})  # the very next reading of features, of the comparison that follows, comes too early
        return images(ids)

    monkeypatch.setattr(world.catalogue, "images", look_at_paths)
    monkeypatch.setattr(world.cache, "get_many", lambda hashes: answers.pop() if answers else get_many(hashes))
    assert world.verify().found == {}


def test_a_file_that_is_refused_for_a_passing_reason_is_no_finding(world: World) -> None:
    path = world.files.write(b"/w/locked.png", b"locked")
    stamp = world.files.stamp(path)
    assert stamp is not None
    world.catalogue.commit([Refused(path, stamp, Reason.UNREADABLE, "no permission")])
    assert world.verify().found == {}


def test_an_image_of_the_sample_that_the_decoder_refuses_now_is_skipped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bring(3)
    refusal = ImageRefused(Reason.TOO_MANY_PIXELS, "a lower limit")
    monkeypatch.setattr(world.decoder, "_answer", lambda future, data: future.set_exception(refusal))
    report = world.verify(sample=3)
    assert (report.found, report.reencoded) == ({}, 0)
    assert report.notes == ("3 images of the sample could not be read or decoded, or had changed",)


# ---------------------------------------------------------------- what stays


def test_a_loss_that_is_held_in_doubt_is_found_told_and_not_believed(world: World) -> None:
    path = world.bring(3)[0]
    hash = world.hash_of(path)
    world.files.delete(path)
    world.doubt = "3 of 3 files in /w are missing at once"
    report = world.verify(repair=True)
    assert not report.ok
    assert not only(report).mended
    assert report.notes == (f"{world.doubt}; if they are gone for good: indexer rescan --confirm-gone",)
    assert world.catalogue.ids_of([hash])


def test_a_folder_that_cannot_be_listed_is_told_and_its_files_are_no_findings(world: World) -> None:
    world.bring(2)
    world.scanner.error = OSError(5, "Input/output error")
    report = world.verify()
    assert report.found == {}
    assert report.notes == ("/w cannot be listed, its files were not compared: Input/output error",)


def test_without_a_river_rows_are_mended_and_the_rest_is_left(world: World) -> None:
    paths = world.bring(3)
    world.drop_row(paths[0])
    world.drop_feature(paths[1])
    world.files.write(paths[2], b"another image")
    report = world.verify(repair=True, river=False)
    assert report.found == {Flaw.MISSING: 2, Flaw.STALE: 1}
    assert report.mended == {Flaw.MISSING: 1}
    assert report.n_left == 2
    assert [each.mended for each in report.examples if each.flaw is Flaw.MISSING] == [False, True]


def test_what_cannot_be_mended_stays_a_finding(world: World) -> None:
    path = world.bring(3)[0]
    world.drop_feature(path)

    def fail(_path: FilePath) -> None:
        raise Stopped("cannot be read now")

    world.files.before_read = fail
    report = world.verify(repair=True)
    assert not only(report).mended
    assert not report.ok
    assert world.river.end_anew() == 0  # else every later look at the file would encode it


def test_files_of_a_folder_that_is_watched_no_more_are_mentioned(world: World) -> None:
    world.bring(1)
    path = world.files.write(b"/elsewhere/a.png", b"image a")
    world.index_all([path])
    report = world.verify()
    assert report.notes == ("1 recorded files lie in no folder that is watched now; the next start forgets them",)


def test_a_few_examples_stand_for_many_findings_and_those_that_are_left_come_first(world: World) -> None:
    paths = world.bring(20)
    for path in paths:
        world.drop_row(path)
    for path in paths[:3]:
        world.drop_feature(path)
    report = world.verify(repair=True, river=False)
    assert report.found == {Flaw.MISSING: 20}
    assert report.mended == {Flaw.MISSING: 17}
    assert [each.mended for each in report.examples] == [False] * 3 + [True] * 2


def test_a_pause_that_raises_ends_the_verification(world: World) -> None:
    world.bring(2)

    def stop(_seconds: float) -> None:
        raise InterruptedError

    world.on_pause = stop
    with pytest.raises(InterruptedError):
        world.verify()
    world.catalogue.commit([Gone(FilePath(b"/w/0.png"))])
    assert world.committer.lock.acquire(timeout=1)
    world.committer.lock.release()
