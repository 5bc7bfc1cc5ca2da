"""Every place where a path can stand is told, with what decides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from indexer.errors import InputError
from indexer.types import (
    Explanation,
    FilePath,
    Found,
    ImageInfo,
    Outcome,
    Reason,
    Refused,
    Stamp,
    Standing,
    content_hash,
)
from indexer.watch.accept import Exclude
from indexer.watch.looking import Look
from indexer.watch.settle import SettleQueue
from indexer.why import Witnesses, explain
from tests.fakes.catalogue import MemoryCatalogue
from tests.watch.trees import write

INFO = ImageInfo("PNG", 8, 8, 9)
HASH = content_hash(b"picture")


class Case:
    """A watched folder, what is recorded of it, and who is asked."""

    def __init__(self, tmp_path: Path) -> None:
        self.outside = FilePath(os.fsencode(tmp_path))
        self.root = FilePath(os.fsencode(tmp_path / "pictures"))
        os.mkdir(self.root)
        self.exclude = Exclude(["*.txt", ".*", "private/**"], [self.root])
        self.catalogue = MemoryCatalogue()
        self.reachable = True
        self.held: Mapping[FilePath, str] = {}
        self.waiting: tuple[str | None, float | None] = (None, None)
        self.has_feature: bool | None = True
        self.has_row: bool | None = True
        self.rescan_s: float | None = 300.0
        self.looked: list[FilePath] = []

    def path(self, name: bytes) -> FilePath:
        return FilePath(self.root + b"/" + name)

    def write(self, name: bytes) -> FilePath:
        return FilePath(write(self.path(name)))

    def record(self, outcome: Outcome) -> None:
        self.catalogue.commit([outcome])

    def index(self, name: bytes) -> FilePath:
        path = self.write(name)
        self.record(Found(path, Stamp.of(os.lstat(path)), HASH, INFO))
        return path

    def refuse(self, name: bytes, reason: Reason) -> FilePath:
        path = self.write(name)
        self.record(Refused(path, Stamp.of(os.lstat(path)), reason, "in detail"))
        return path

    def why(self, path: bytes) -> Explanation:
        def look(path: FilePath) -> Stamp | None:
            self.looked.append(path)
            return Look(self.exclude).stamp(path)

        return explain(
            FilePath(path),
            Witnesses(
                folders=[self.root],
                catalogue=self.catalogue,
                rule=self.exclude.rule,
                reachable=lambda path: self.reachable,
                look=look,
                has_feature=lambda content: self.has_feature,
                has_row=lambda vector_id: self.has_row,
                waiting=lambda path: self.waiting,
                held=lambda: self.held,
                rescan_s=self.rescan_s,
            ),
        )


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_an_indexed_path_has_its_id_and_the_paths_that_hold_the_same(case: Case) -> None:
    path, copy = case.index(b"a.png"), case.index(b"copy.png")
    known = case.why(path)
    assert (known.standing, known.searchable) == (Standing.INDEXED, True)
    assert known.sentence == f"It is indexed as {HASH.hex()}, with the same content as 1 other path."
    assert (known.hash, known.same_content) == (HASH, (copy,))
    assert known.vector_id == case.catalogue.ids_of([HASH])[HASH]
    assert known.recorded_at is not None


@pytest.mark.parametrize("path", [b"/etc/passwd", b"/", b"%s/../elsewhere/a.png", b"%s-2/a.png"])
def test_outside_the_watched_folders_nothing_is_looked_at(case: Case, path: bytes) -> None:
    known = case.why(path.replace(b"%s", case.root))
    assert (known.standing, known.searchable) == (Standing.OUTSIDE, False)
    assert os.fsdecode(case.root) in known.sentence
    assert case.looked == []


@pytest.mark.parametrize(
    ("name", "rule"), [(b"a.txt", "*.txt"), (b".git/a.png", ".*"), (b"private/deep/a.png", "private/**")]
)
def test_the_pattern_that_leaves_a_path_out_is_named(case: Case, name: bytes, rule: str) -> None:
    known = case.why(case.path(name))
    assert (known.standing, known.rule) == (Standing.EXCLUDED, rule)
    assert repr(rule) in known.sentence


def test_below_an_unreachable_folder_what_is_recorded_can_still_be_found(case: Case) -> None:
    path = case.index(b"a.png")
    case.reachable = False
    known = case.why(path)
    assert (known.standing, known.searchable) == (Standing.UNREACHABLE, True)
    assert case.looked == []


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        ("settling", Standing.SETTLING),
        ("open for writing", Standing.WRITING),
        ("queued", Standing.QUEUED),
        ("in flight", Standing.ON_ITS_WAY),
    ],
)
def test_a_path_on_its_way_says_where_it_is_and_for_how_long(case: Case, state: str, standing: Standing) -> None:
    path = case.write(b"a.png")
    case.waiting = (state, 1.5)
    known = case.why(path)
    assert (known.standing, known.waits_s, known.searchable) == (standing, 1.5, False)
    case.index(b"a.png")
    known = case.why(path)
    assert known.searchable
    assert known.sentence.endswith("what is recorded of it can still be found.")


def test_a_file_that_the_service_has_not_met_waits_for_the_next_scan(case: Case) -> None:
    known = case.why(case.write(b"a.png"))
    assert (known.standing, known.searchable) == (Standing.NOT_SEEN, False)
    assert "within 300 s" in known.sentence
    case.rescan_s = None
    assert "no server runs" in case.why(case.path(b"a.png")).sentence


def test_a_changed_file_is_told_from_an_indexed_one(case: Case) -> None:
    path = case.index(b"a.png")
    os.utime(path, ns=(1, 1))
    known = case.why(path)
    assert (known.standing, known.searchable) == (Standing.CHANGED, True)


def test_nothing_there_and_gone_are_told_apart(case: Case) -> None:
    assert case.why(case.path(b"never.png")).sentence == "Nothing is there, and nothing is recorded of it."
    path = case.index(b"a.png")
    os.unlink(path)
    known = case.why(path)
    assert (known.standing, known.searchable) == (Standing.NOT_THERE, True)
    assert "still recorded" in known.sentence


def test_a_loss_that_is_not_believed_says_how_to_confirm_it(case: Case) -> None:
    path = case.index(b"deep/a.png")
    os.unlink(path)
    case.held = {case.root: "all its files are missing"}
    known = case.why(path)
    assert (known.standing, known.detail) == (Standing.HELD, "all its files are missing")
    assert "--confirm-gone" in known.sentence


def test_what_is_no_regular_file_is_named(case: Case) -> None:
    os.mkfifo(case.path(b"pipe.png"))
    os.mkdir(case.path(b"folder"))
    os.symlink(case.write(b"a.png"), case.path(b"link.png"))
    kinds = {b"pipe.png": "a pipe", b"folder": "a folder", b"link.png": "a symbolic link", b"": "a folder"}
    for name, kind in kinds.items():
        known = case.why(case.path(name))
        assert known.standing is Standing.NOT_REGULAR
        assert kind in known.sentence


def test_what_lies_behind_a_link_is_not_looked_at(case: Case) -> None:
    os.symlink(case.outside, case.path(b"way-out"))
    there, not_there = case.why(case.path(b"way-out/pictures")), case.why(case.path(b"way-out/nothing"))
    assert there.standing is not_there.standing is Standing.NOT_REGULAR
    assert there.sentence == not_there.sentence
    assert "way-out" in there.sentence


def test_a_refused_file_says_why_since_when_and_when_it_is_tried_again(case: Case) -> None:
    known = case.why(case.refuse(b"bad.png", Reason.CORRUPT))
    assert (known.standing, known.reason, known.detail) == (Standing.REFUSED, Reason.CORRUPT, "in detail")
    assert known.sentence == "It was refused, corrupt (in detail); it is tried again when the file changes."
    assert known.recorded_at is not None
    passing = case.why(case.refuse(b"locked.png", Reason.UNREADABLE))
    assert "at every scan, each 300 s" in passing.sentence


def test_what_is_recorded_but_lacks_row_or_feature_is_told(case: Case) -> None:
    path = case.index(b"a.png")
    case.has_row = False
    known = case.why(path)
    assert (known.standing, known.searchable) == (Standing.NO_ROW, False)
    assert "its feature is stored, but the index has no row" in known.sentence
    case.has_feature = False
    assert "neither feature nor row" in case.why(path).sentence
    case.has_row = True
    assert (case.why(path).standing, case.why(path).searchable) == (Standing.NO_FEATURE, True)


def test_without_a_server_what_is_recorded_and_has_a_feature_counts_as_searchable(case: Case) -> None:
    path = case.index(b"a.png")
    case.has_row = None
    assert case.why(path).searchable
    case.has_feature = False
    assert (case.why(path).standing, case.why(path).searchable) == (Standing.NO_FEATURE, False)


def test_a_file_system_that_does_not_tell_is_told(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Look, path: FilePath) -> Stamp | None:
        raise PermissionError(13, "Permission denied")

    path = case.write(b"a.png")
    monkeypatch.setattr(Look, "stamp", refuse)
    known = case.why(path)
    assert (known.standing, known.detail) == (Standing.UNREADABLE, "Permission denied")


def test_names_need_not_be_text(case: Case) -> None:
    path = case.index(b"caf\xe9.png")
    assert case.why(path).standing is Standing.INDEXED


@pytest.mark.parametrize("path", [b"", b"a.png", b"./a.png", b"/a\0b"])
def test_what_cannot_be_an_absolute_path_is_refused(case: Case, path: bytes) -> None:
    with pytest.raises(InputError, match="absolute"):
        case.why(path)


def test_the_real_queue_tells_the_states_that_are_known_here(case: Case) -> None:
    """The words are the port's; a state without its sentence would be an error in the middle of an answer."""
    queue = SettleQueue(0.01)
    path = case.write(b"a.png")
    queue.add(path)
    for _ in range(3):
        case.waiting = (queue.state(path), queue.age_s(path))
        assert case.why(path).waits_s is not None
    assert queue.take(1, timeout_s=10)
    case.waiting = (queue.state(path), queue.age_s(path))
    assert case.why(path).standing is Standing.ON_ITS_WAY
    assert queue.age_s(path) is None
    queue.done(path)
    assert queue.age_s(path) is None
