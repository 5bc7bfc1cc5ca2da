"""What the port promises, on the fake and on SQLite."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from indexer.ports import Catalogue
from indexer.types import ContentHash, FilePath, Found, ImageInfo, Range, Reason, Refused, Stamp, Where
from indexer.where import Filter
from tests.catalogue.samples import answers, found, gone, hash_of, info_of, refused, stamp_of

A, B, C = FilePath(b"/pictures/a.jpg"), FilePath(b"/pictures/b.jpg"), FilePath(b"/pictures/sub/c.jpg")


def test_an_empty_catalogue_has_nothing(catalogue: Catalogue) -> None:
    ids, hashes = catalogue.live()
    assert ids.dtype == np.int64
    assert (len(ids), hashes) == (0, [])
    assert catalogue.folder(FilePath(b"/pictures")) == {}
    assert catalogue.file(A) is None
    assert catalogue.images([1, 2]) == {}
    assert catalogue.refused(10) == []
    assert answers(catalogue)["counts"] == (0, 0, {})


def test_a_found_file_is_told_with_all_that_is_known(catalogue: Catalogue) -> None:
    committed = catalogue.commit([found(A, 1)])
    (vector_id,) = committed.ids.values()
    record = catalogue.file(A)
    assert record is not None
    assert (record.path, record.stamp, record.hash, record.vector_id) == (A, stamp_of(1), hash_of(1), vector_id)
    assert (record.reason, record.detail) == (None, "")
    image = catalogue.images([vector_id])[vector_id]
    assert (image.vector_id, image.hash, image.info, image.paths) == (vector_id, hash_of(1), info_of(1), (A,))
    assert image.modified_s == stamp_of(1).mtime_ns / 1e9


def test_same_bytes_at_two_paths_share_one_id(catalogue: Catalogue) -> None:
    committed = catalogue.commit([found(B, 1), found(A, 1), found(C, 2)])
    assert set(committed.ids) == {hash_of(1), hash_of(2)}
    vector_id = committed.ids[hash_of(1)]
    assert catalogue.images([vector_id])[vector_id].paths == (A, B)
    assert sorted(catalogue.paths_of([hash_of(1)])) == [A, B]
    assert (catalogue.counts().files, catalogue.counts().contents) == (3, 2)


def test_a_content_lives_until_its_last_path_goes(catalogue: Catalogue) -> None:
    vector_id = catalogue.commit([found(A, 1), found(B, 1)]).ids[hash_of(1)]
    assert catalogue.commit([gone(A)]).removed == []
    assert catalogue.ids_of([hash_of(1)]) == {hash_of(1): vector_id}
    assert catalogue.commit([gone(B)]).removed == [vector_id]
    assert catalogue.ids_of([hash_of(1)]) == {}
    assert catalogue.images([vector_id]) == {}


def test_a_rename_inside_one_batch_keeps_the_id(catalogue: Catalogue) -> None:
    vector_id = catalogue.commit([found(A, 1)]).ids[hash_of(1)]
    committed = catalogue.commit([gone(A), found(B, 1)])
    assert (committed.ids, committed.removed) == ({hash_of(1): vector_id}, [])
    assert catalogue.images([vector_id])[vector_id].paths == (B,)


def test_two_files_that_swap_their_contents_keep_both_ids(catalogue: Catalogue) -> None:
    before = catalogue.commit([found(A, 1), found(B, 2)]).ids
    committed = catalogue.commit([found(A, 2), found(B, 1)])
    assert committed.ids == before
    assert committed.removed == []


def test_an_id_is_never_used_again(catalogue: Catalogue) -> None:
    seen = set()
    for _ in range(3):
        seen.add(catalogue.commit([found(A, 1)]).ids[hash_of(1)])
        catalogue.commit([gone(A)])
    assert len(seen) == 3
    assert min(seen) >= 1


def test_a_changed_file_leaves_its_old_content(catalogue: Catalogue) -> None:
    old = catalogue.commit([found(A, 1)]).ids[hash_of(1)]
    assert catalogue.commit([found(A, 2)]).removed == [old]
    assert set(answers(catalogue)["live"]) == {hash_of(2)}


def test_the_last_outcome_of_a_path_wins(catalogue: Catalogue) -> None:
    committed = catalogue.commit([found(A, 1), gone(A), found(A, 2), refused(B), found(B, 3)])
    assert set(committed.ids) == {hash_of(2), hash_of(3)}
    assert answers(catalogue)["live"] == {hash_of(2), hash_of(3)}
    assert catalogue.counts().refused == {}


def test_seq_rises_by_one_with_every_batch_that_holds_something(catalogue: Catalogue) -> None:
    first = catalogue.commit([found(A, 1)]).seq
    assert catalogue.commit([]).seq == first
    assert catalogue.commit([gone(A)]).seq == first + 1
    assert catalogue.commit([gone(A)]).seq == first + 2


def test_a_path_that_was_never_recorded_may_be_gone(catalogue: Catalogue) -> None:
    committed = catalogue.commit([gone(A)])
    assert (dict(committed.ids), list(committed.removed)) == ({}, [])


def test_a_refused_file_has_a_reason_and_no_content(catalogue: Catalogue) -> None:
    catalogue.commit([refused(A, Reason.TOO_MANY_PIXELS, detail="90 Mpx")])
    record = catalogue.file(A)
    assert record is not None
    assert (record.hash, record.vector_id) == (None, None)
    assert (record.reason, record.detail) == (Reason.TOO_MANY_PIXELS, "90 Mpx")
    assert catalogue.folder(FilePath(b"/pictures")) == {b"a.jpg": stamp_of(0)}
    assert catalogue.counts().refused == {Reason.TOO_MANY_PIXELS: 1}


@pytest.mark.parametrize("reason", list(Reason))
def test_only_a_file_refused_for_a_transient_reason_always_seems_changed(catalogue: Catalogue, reason: Reason) -> None:
    catalogue.commit([refused(A, reason)])
    expected = Stamp(0, 0, 0, 0, 0) if reason.transient else stamp_of(0)
    assert catalogue.folder(FilePath(b"/pictures")) == {b"a.jpg": expected}
    record = catalogue.file(A)
    assert record is not None
    assert record.stamp == stamp_of(0)


def test_a_picture_that_turns_bad_leaves_its_content_and_back(catalogue: Catalogue) -> None:
    catalogue.commit([found(A, 1)])
    assert len(catalogue.commit([refused(A)]).removed) == 1
    assert answers(catalogue)["counts"] == (0, 0, {Reason.CORRUPT: 1})
    catalogue.commit([found(A, 1)])
    assert answers(catalogue)["counts"] == (1, 1, {})


def test_refused_files_come_latest_first_and_in_pages(catalogue: Catalogue) -> None:
    for n in range(5):
        catalogue.commit([refused(b"/pictures/%d.jpg" % n)])
    catalogue.commit([found(b"/pictures/good.jpg", 1)])
    pages = [[record.path for record in catalogue.refused(2, offset)] for offset in (0, 2, 4, 6)]
    assert pages == [[b"/pictures/4.jpg", b"/pictures/3.jpg"], [b"/pictures/2.jpg", b"/pictures/1.jpg"],
                     [b"/pictures/0.jpg"], []]  # fmt: skip


def test_a_folder_tells_its_own_files_only(catalogue: Catalogue) -> None:
    catalogue.commit([found(A, 1), found(C, 2), found(b"/pictures.old/d.jpg", 3), found(b"/top.jpg", 4)])
    assert catalogue.folder(FilePath(b"/pictures")) == {b"a.jpg": stamp_of(1)}
    assert catalogue.folder(FilePath(b"/pictures/sub")) == {b"c.jpg": stamp_of(2)}
    assert catalogue.folder(FilePath(b"/")) == {b"top.jpg": stamp_of(4)}
    assert catalogue.folder(FilePath(b"/pic")) == {}


def test_below_a_folder_is_not_beside_it(catalogue: Catalogue) -> None:
    beside = [b"/pictures-2/e.jpg", b"/pictures.old/d.jpg", b"/pictures0/f.jpg"]
    catalogue.commit([found(A, 1), found(C, 2), *(found(path, 3) for path in beside)])
    assert set(catalogue.folders_under(FilePath(b"/pictures"))) == {b"/pictures", b"/pictures/sub"}
    assert set(catalogue.files_under(FilePath(b"/pictures"))) == {A, C}
    assert set(catalogue.files_under(FilePath(b"/"))) == {A, C, *beside}


def test_a_folder_without_files_is_forgotten(catalogue: Catalogue) -> None:
    catalogue.commit([found(A, 1), found(C, 2)])
    catalogue.commit([gone(C)])
    assert set(catalogue.folders_under(FilePath(b"/pictures"))) == {b"/pictures"}


def test_a_file_is_below_itself(catalogue: Catalogue) -> None:
    catalogue.commit([found(A, 1), found(b"/pictures/a.jpg/inside.jpg", 2)])
    assert set(catalogue.files_under(A)) == {A, b"/pictures/a.jpg/inside.jpg"}
    assert set(catalogue.files_under(C)) == set()


def test_a_stamp_leads_to_its_content(catalogue: Catalogue) -> None:
    catalogue.commit([found(A, 1), found(B, 2), refused(C, n=3)])
    others = [stamp_of(2)._replace(**{field: value + 1}) for field, value in stamp_of(2)._asdict().items()]
    stamps = [stamp_of(2), stamp_of(3), *others, stamp_of(1)]
    assert catalogue.hashes_by_stamp(stamps) == {stamp_of(1): hash_of(1), stamp_of(2): hash_of(2)}
    assert catalogue.hashes_by_stamp(others) == {}
    assert catalogue.hashes_by_stamp([]) == {}


def test_files_are_told_together_as_one_by_one(catalogue: Catalogue) -> None:
    paths = [FilePath(b"/pictures/%d.jpg" % i) for i in range(1_200)]  # more than one statement asks for
    catalogue.commit([found(path, i) for i, path in enumerate(paths[::2])])
    catalogue.commit([refused(A, n=5_000)])
    told = catalogue.files([*paths, A, A, FilePath(b"/pictures")])
    assert told.keys() == {*paths[::2], A}
    assert all(record == catalogue.file(path) for path, record in told.items())
    assert catalogue.files([]) == {}


@pytest.mark.parametrize(
    "name",
    [
        b"\xff\xfe\n.jpg",
        "naïve ünïcode 🦊.png".encode(),
        b"'; DROP TABLE file; --",
        b"x" * 255,
        b"a%_*?[",
        b"-rf",
        b" ",
    ],
)
def test_any_name_comes_back_as_it_was(catalogue: Catalogue, name: bytes) -> None:
    path = FilePath(b"/pictures/" + name)
    catalogue.commit([found(path, 1)])
    assert catalogue.folder(FilePath(b"/pictures")) == {name: stamp_of(1)}
    assert list(catalogue.files_under(FilePath(b"/pictures"))) == [path]
    assert catalogue.paths_of([hash_of(1)]) == [path]
    catalogue.commit([gone(path)])
    assert catalogue.counts().files == 0


@pytest.mark.parametrize(
    "stamp",
    [
        Stamp(2**64 - 1, 2**64 - 1, 0, 0, 0),
        Stamp(0, 2**63, 2**62, -(2**62), -1),
        Stamp(1, 2, 3, 10**22, -(10**22)),
        Stamp(0, 0, 0, 0, 0),
    ],
)
def test_any_number_that_a_file_system_gives_comes_back(catalogue: Catalogue, stamp: Stamp) -> None:
    catalogue.commit([found(A, 1, stamp)])
    assert catalogue.folder(FilePath(b"/pictures")) == {b"a.jpg": stamp}
    assert catalogue.hashes_by_stamp([stamp]) == {stamp: hash_of(1)}
    record = catalogue.file(A)
    assert record is not None
    assert record.stamp == stamp


def test_what_is_known_of_a_content_can_change(catalogue: Catalogue) -> None:
    vector_id = catalogue.commit([found(A, 1)]).ids[hash_of(1)]
    better = ImageInfo("PNG", 7, 8, 9)
    assert catalogue.commit([Found(A, stamp_of(1), hash_of(1), better)]).ids == {hash_of(1): vector_id}
    assert catalogue.images([vector_id])[vector_id].info == better


def test_the_newest_copy_dates_an_image(catalogue: Catalogue) -> None:
    old, new = Stamp(1, 2, 3, 5_000_000_000, 6), Stamp(1, 3, 3, 7_500_000_000, 6)
    vector_id = catalogue.commit([found(A, 1, new), found(B, 1, old)]).ids[hash_of(1)]
    assert catalogue.images([vector_id])[vector_id].modified_s == 7.5


def test_many_contents_are_asked_at_once(catalogue: Catalogue) -> None:
    committed = catalogue.commit([found(b"/pictures/%04d.jpg" % n, n) for n in range(2500)])
    hashes = [hash_of(n) for n in range(2500)]
    assert catalogue.ids_of([*hashes, ContentHash(bytes(32))]) == committed.ids
    images = catalogue.images([*committed.ids.values(), 10**9])
    assert {record.hash: record.paths for record in images.values()} == {
        hash_of(n): (b"/pictures/%04d.jpg" % n,) for n in range(2500)
    }
    assert len(catalogue.paths_of(hashes)) == 2500


def test_all_paths_gone_leaves_nothing(catalogue: Catalogue) -> None:
    batch = [found(b"/pictures/%d/%d.jpg" % (n % 7, n), n // 2) for n in range(200)]
    ids = catalogue.commit([*batch, refused(B)]).ids
    committed = catalogue.commit([gone(b"/pictures/%d/%d.jpg" % (n % 7, n)) for n in range(200)] + [gone(B)])
    assert sorted(committed.removed) == sorted(ids.values())
    assert answers(catalogue)["counts"] == (0, 0, {})
    assert list(catalogue.folders_under(FilePath(b"/"))) == []


def test_readers_and_writers_do_not_disturb_each_other(catalogue: Catalogue) -> None:
    def write(n: int) -> None:
        for i in range(20):
            catalogue.commit([found(b"/pictures/%d/%d.jpg" % (n, i), 100 * n + i)])

    def read() -> None:
        while not finished.is_set():
            ids, hashes = catalogue.live()
            for record in catalogue.images(ids.tolist()).values():
                if record.hash not in hashes:
                    wrong.append(record)

    finished = threading.Event()
    wrong: list[object] = []
    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join(60)
    finished.set()
    for thread in readers:
        thread.join(60)
    assert wrong == []
    assert answers(catalogue)["counts"] == (60, 60, {})


def test_text_that_is_not_unicode_does_not_stop_a_batch(catalogue: Catalogue) -> None:
    detail = b"cannot open \xff.jpg".decode(errors="surrogateescape")
    catalogue.commit([Refused(A, stamp_of(1), Reason.UNREADABLE, detail), found(B, 2)])
    assert catalogue.counts().files == 1
    record = catalogue.file(A)
    assert record is not None
    assert record.detail.startswith("cannot open ")


def test_a_filter_is_answered_anew_when_the_catalogue_has_changed(catalogue: Catalogue) -> None:
    wanted = Filter(Where(path=("*.jpg",), width_px=Range(102, None)))
    ids = catalogue.commit([found(A, 1), found(B, 2)]).ids
    for _ in range(2):
        assert catalogue.matching(wanted).tolist() == [ids[hash_of(2)]]
    more = catalogue.commit([found(C, 3)]).ids
    assert catalogue.matching(wanted).tolist() == [ids[hash_of(2)], more[hash_of(3)]]
    catalogue.commit([gone(B), refused(A)])
    assert catalogue.matching(wanted).tolist() == [more[hash_of(3)]]
    assert catalogue.matching(Filter(Where(size_bytes=Range(10**6, None)))).dtype == np.int64


def test_times_of_paths_are_told_in_the_order_of_the_paths(catalogue: Catalogue) -> None:
    vector_id = catalogue.commit([found(B, 1), found(A, 1, stamp_of(9))]).ids[hash_of(1)]
    record = catalogue.images([vector_id])[vector_id]
    assert record.paths == (A, B)
    assert record.mtimes_ns == (stamp_of(9).mtime_ns, stamp_of(1).mtime_ns)


def test_what_is_left_out_is_left_out_of_a_folder_that_is_wanted_whole(catalogue: Catalogue) -> None:
    ids = catalogue.commit([found(A, 1), found(FilePath(b"/pictures/b.png"), 2)]).ids
    wanted = Filter(Where(path=("/pictures",), not_path=("*.jpg",)))
    assert catalogue.matching(wanted).tolist() == [ids[hash_of(2)]]


def test_contents_with_several_paths_come_by_the_bytes_that_their_copies_take(catalogue: Catalogue) -> None:
    assert catalogue.copied().tolist() == []
    copies = {500: 2, 2000: 2, 400: 5, 9000: 1}
    ids = catalogue.commit(
        [found(b"/pictures/%d-%d" % (n, i), n) for n, n_paths in copies.items() for i in range(n_paths)]
    ).ids
    wanted = [ids[hash_of(n)] for n in (400, 2000, 500)]
    assert catalogue.copied().tolist() == wanted
    catalogue.commit([gone(b"/pictures/2000-0"), refused(b"/pictures/none")])
    assert catalogue.copied().tolist() == [wanted[0], wanted[2]]
