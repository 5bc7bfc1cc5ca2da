"""Snapshots: what is read back is what was written, or nothing."""

import errno
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.errors import StoreError, StoreFull
from indexer.index import snapshot
from indexer.index.cpu import CpuIndex
from indexer.index.manifest import manifest_digest
from indexer.index.snapshot import SnapshotFolder
from indexer.ports import VectorIndex
from indexer.types import Ids
from tests.fakes.index import MemoryIndex
from tests.index.samples import ALL, DIM, Make, draw_queries, draw_rows, fill, norms_of, opened

SPACE = "0123456789abcdef"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_CHUNK_BYTES", 2 * DIM * 64)


@pytest.fixture
def folder(tmp_path: Path) -> SnapshotFolder:
    return SnapshotFolder(tmp_path / "index", SPACE, DIM)


def filled(n: int = 300, seed: int = 0) -> MemoryIndex:
    index = MemoryIndex(DIM)
    fill(index, draw_rows(n, seed=seed))
    return index


def content(index: VectorIndex) -> dict[int, tuple[bytes, float]]:
    ids = index.ids()
    pairs = zip(index.rows(ids), index.norms(ids).tolist(), strict=True)
    return {id: (row.tobytes(), norm) for id, (row, norm) in zip(ids.tolist(), pairs, strict=True)}


def loaded(folder: SnapshotFolder) -> tuple[int, dict[int, tuple[bytes, float]]]:
    index = MemoryIndex(DIM)
    return folder.load_into(index), content(index)


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("n", [0, 1, 64, 300])
def test_a_snapshot_brings_every_row_back(make: Make, n: int, folder: SnapshotFolder) -> None:
    with opened(make) as index, opened(make) as other:
        ids = fill(index, draw_rows(n)) if n else np.empty(0, np.int64)
        index.remove(ids[1::5])
        assert folder.save(index) == 1
        assert folder.load_into(other) == 1
        assert content(other) == content(index)
        queries = draw_queries(6)
        np.testing.assert_array_equal(other.search(queries, 5).ids, index.search(queries, 5).ids)


def test_without_a_snapshot_nothing_is_loaded(folder: SnapshotFolder) -> None:
    assert loaded(folder) == (0, {})


def test_a_snapshot_is_loaded_into_an_empty_index_only(folder: SnapshotFolder) -> None:
    folder.save(filled())
    with pytest.raises(ValueError, match="empty"):
        folder.load_into(filled(3))


def test_the_newest_two_generations_are_kept(folder: SnapshotFolder, tmp_path: Path) -> None:
    for n in range(1, 5):
        assert folder.save(filled(n)) == n
    assert names(tmp_path / "index") == [
        "gen-000003.json", "gen-000003.rows", "gen-000004.json", "gen-000004.rows",
    ]  # fmt: skip
    assert loaded(folder) == (4, content(filled(4)))


def test_a_snapshot_of_another_space_is_never_loaded(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled())
    for other in (
        SnapshotFolder(tmp_path / "index", "f" * 16, DIM),
        SnapshotFolder(tmp_path / "index", SPACE, DIM + 1),
    ):
        index = MemoryIndex(other._dim)
        assert other.load_into(index) == 0
        assert len(index) == 0


def test_a_snapshot_of_a_later_format_is_left_alone(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(10))
    folder.save(filled(20))
    path = tmp_path / "index" / "gen-000002.json"
    rewrite(path, lambda facts: facts.update(format=2))
    before = path.read_bytes()
    assert loaded(folder) == (1, content(filled(10)))
    assert path.read_bytes() == before


# ---------------------------------------------------------------- damage


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest and make its own checksum right again."""
    facts = json.loads(path.read_bytes())
    del facts["digest"]
    change(facts)
    path.write_text(json.dumps({**facts, "digest": manifest_digest(facts)}))


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["rows", "json"])
def test_no_flipped_bit_is_ever_believed(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    source = SnapshotFolder(whole, SPACE, DIM)
    source.save(filled(150, seed=1))
    source.save(filled(150, seed=2))
    older, newer = content(filled(150, seed=1)), content(filled(150, seed=2))
    n_bits = 8 * (whole / f"gen-000002.{kind}").stat().st_size
    chosen = [*random.Random(7).sample(range(n_bits), 150), 0, n_bits - 1]
    n_refused = 0
    for bit in chosen:
        damaged = tmp_path / "damaged"
        shutil.copytree(whole, damaged)
        flip(damaged / f"gen-000002.{kind}", bit)
        generation, found = loaded(SnapshotFolder(damaged, SPACE, DIM))
        assert (generation, found) in ((1, older), (2, newer))  # a flip may leave a manifest's meaning as it was
        n_refused += generation == 1
        shutil.rmtree(damaged)
    assert n_refused == len(chosen) if kind == "rows" else n_refused > 0.9 * len(chosen)


@pytest.mark.parametrize("kind", ["rows", "json"])
@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_file_cut_short_is_not_believed(kind: str, kept: int, folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(100))
    folder.save(filled(200))
    path = tmp_path / "index" / f"gen-000002.{kind}"
    path.write_bytes(path.read_bytes()[:kept])
    assert loaded(folder) == (1, content(filled(100)))


def test_a_file_with_more_behind_it_is_not_believed(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(100))
    with open(tmp_path / "index" / "gen-000001.rows", "ab") as file:
        file.write(b"x")
    assert loaded(folder) == (0, {})


def test_nothing_of_a_damaged_generation_stays_in_the_index(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(100))
    other = MemoryIndex(DIM)
    fill(other, draw_rows(300, seed=9), first_id=5000)
    folder.save(other)
    path = tmp_path / "index" / "gen-000002.rows"
    flip(path, 8 * path.stat().st_size - 1)
    assert loaded(folder) == (1, content(filled(100)))


def test_a_zeroed_page_is_not_believed(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(100))
    folder.save(filled(300))
    path = tmp_path / "index" / "gen-000002.rows"
    data = bytearray(path.read_bytes())
    data[4096:8192] = bytes(4096)
    path.write_bytes(data)
    assert loaded(folder) == (1, content(filled(100)))


@pytest.mark.parametrize("swapped", [("rows",), ("json",), ("rows", "json")])
def test_swapped_generations_are_not_believed(swapped: tuple[str, ...], folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(200, seed=1))
    folder.save(filled(200, seed=2))
    for kind in swapped:
        one, two = (tmp_path / "index" / f"gen-00000{n}.{kind}" for n in (1, 2))
        kept = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(kept)
    assert loaded(folder) == (0, {})


def test_chunks_that_changed_places_are_not_believed(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(128))
    path = tmp_path / "index" / "gen-000001.rows"
    data = path.read_bytes()
    path.write_bytes(data[len(data) // 2 :] + data[: len(data) // 2])
    assert loaded(folder) == (0, {})


def test_a_manifest_without_its_rows_is_not_believed(folder: SnapshotFolder, tmp_path: Path) -> None:
    folder.save(filled(100))
    folder.save(filled(200))
    (tmp_path / "index" / "gen-000002.rows").unlink()
    assert loaded(folder) == (1, content(filled(100)))


@pytest.mark.parametrize("ids", [[1, 2, 2, 3], [*range(1, 65), *range(64, 101)], [*range(2, 66), 1]])
def test_rows_with_an_id_twice_or_out_of_order_are_not_believed(
    ids: list[int], folder: SnapshotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = filled(100)
    monkeypatch.setattr(index, "ids", lambda: np.array(ids))
    folder.save(index)
    assert loaded(folder) == (0, {})


def test_a_damaged_snapshot_is_kept_aside_and_two_of_them_at_most(folder: SnapshotFolder, tmp_path: Path) -> None:
    for n in range(1, 5):
        assert folder.save(filled(n)) == n
        flip(tmp_path / "index" / f"gen-00000{n}.rows", 9)
        assert loaded(folder) == (0, {})
    assert names(tmp_path / "index") == [
        "gen-000003.json.bad", "gen-000003.rows.bad", "gen-000004.json.bad", "gen-000004.rows.bad",
    ]  # fmt: skip


# ---------------------------------------------------------------- interruptions


class Crash(BaseException):
    """The process ends here."""


def steps(monkeypatch: pytest.MonkeyPatch, stop_at: int, error: Callable[[], BaseException]) -> list[str]:
    """Let the n-th call that changes the disk fail instead; what has been called is listed."""
    called: list[str] = []

    def guarded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            called.append(name)
            if len(called) == stop_at:
                raise error()
            return call(*args, **kwargs)

        return wrapped

    def guarded_open(path: str, mode: str) -> Any:
        file = open(path, mode)  # noqa: SIM115
        return Guarded(file) if "w" in mode else file

    class Guarded:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.write = guarded("write", file.write)
            self.flush = guarded("flush", file.flush)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

    for name in ("fsync", "replace", "unlink"):
        monkeypatch.setattr(snapshot.os, name, guarded(name, getattr(os, name)))
    monkeypatch.setattr(snapshot, "open", guarded_open, raising=False)
    return called


def crash_points() -> Iterator[int]:
    return iter(range(1, 40))


def test_a_crash_at_any_step_leaves_a_whole_generation(tmp_path: Path) -> None:
    old, new = content(filled(60, seed=1)), content(filled(70, seed=2))
    for stop_at in crash_points():
        path = tmp_path / str(stop_at)
        folder = SnapshotFolder(path, SPACE, DIM)
        folder.save(filled(50))
        folder.save(filled(60, seed=1))
        with pytest.MonkeyPatch.context() as patch:
            called = steps(patch, stop_at, Crash)
            patch.setattr(folder, "_drop", _crashed_drop(folder, called, stop_at))
            try:
                folder.save(filled(70, seed=2))
            except Crash:
                pass
            else:
                break
        again = SnapshotFolder(path, SPACE, DIM)
        generation, found = loaded(again)
        assert (generation, found) in ((2, old), (3, new))
        assert not [name for name in names(path) if name.endswith(".bad")]
        last = again.save(filled(80))
        assert last > generation
        assert loaded(again) == (last, content(filled(80)))
        assert len(names(path)) == 4
    else:
        pytest.fail("the save has more steps than this test stops at")
    assert called.count("fsync") == 4  # two files, and the folder after each
    assert called.count("replace") == 2


def _crashed_drop(folder: SnapshotFolder, called: list[str], stop_at: int) -> Callable[[int], None]:
    """Who has crashed cleans nothing up."""
    drop = folder._drop

    def wrapped(generation: int) -> None:
        if len(called) < stop_at:
            drop(generation)

    return wrapped


def test_the_file_is_durable_before_it_has_its_name(folder: SnapshotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    called = steps(monkeypatch, -1, Crash)
    folder.save(filled())
    without_writes = [name for name in called if name != "write"]
    assert without_writes == ["fsync", *["flush", "fsync", "replace", "fsync"] * 2], "the folder itself, then each file"


def test_a_generation_that_cannot_be_opened_for_want_of_descriptors_is_not_damaged(
    folder: SnapshotFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.save(filled())

    def fail(path: str, mode: str) -> object:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fail)
        with pytest.raises(StoreError, match="Too many open files"):
            folder.load_into(MemoryIndex(DIM))
    assert loaded(folder) == (1, content(filled()))


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EROFS, StoreFull), (errno.EIO, StoreError)],
)
def test_a_save_that_fails_leaves_the_generations_before_it(code: int, kind: type[StoreError], tmp_path: Path) -> None:
    for stop_at in crash_points():
        path = tmp_path / str(stop_at)
        folder = SnapshotFolder(path, SPACE, DIM)
        folder.save(filled(50))
        folder.save(filled(60))
        before = names(path)
        with pytest.MonkeyPatch.context() as patch:
            steps(patch, stop_at, lambda: OSError(code, os.strerror(code)))
            try:
                folder.save(filled(70))
            except kind:
                pass
            else:
                break
        assert names(path) == before
        assert loaded(folder) == (2, content(filled(60)))
    else:
        pytest.fail("the save has more steps than this test stops at")


def test_a_folder_that_may_not_be_written_is_a_full_store(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file stands where the folder should be")
    with pytest.raises(StoreError):
        SnapshotFolder(tmp_path / "index", SPACE, DIM).save(filled())


# ---------------------------------------------------------------- beside changes


class Shifting(MemoryIndex):
    """Changes between any two questions, as an index does while it is saved."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.random = random.Random(5)
        self.next_id = 1001

    def rows(self, ids: Ids) -> np.ndarray:
        self.shift()
        found = super().rows(ids)
        self.shift()
        return found

    def shift(self) -> None:
        gone = np.array(self.random.sample(sorted(self._rows), 3))
        self.remove(gone)
        new = np.array([self.next_id])
        self.upsert(new, draw_rows(1, seed=self.next_id), norms_of(new))
        self.next_id += 1


def test_a_snapshot_taken_beside_changes_holds_true_rows_only_and_can_be_healed(folder: SnapshotFolder) -> None:
    index = Shifting()
    fill(index, draw_rows(500))
    before = content(index)
    folder.save(index)
    truth = content_of(index)
    generation, found = loaded(folder)
    assert generation == 1
    ever = before | truth
    assert all(ever[id] == row for id, row in found.items())
    assert before.keys() & truth.keys() <= found.keys()
    healed = {id: row for id, row in found.items() if id in truth} | truth
    assert healed == truth


def content_of(index: Shifting) -> dict[int, tuple[bytes, float]]:
    return {id: (row.tobytes(), float(np.float32(norm))) for id, (row, norm) in index._rows.items()}


def test_a_real_index_can_be_saved_while_it_changes(folder: SnapshotFolder) -> None:
    index = CpuIndex(DIM, threads=1)
    rows = draw_rows(2000)
    fill(index, rows)
    truth = content(index)
    saved = index.rows

    def rows_and_change(ids: Ids) -> np.ndarray:
        index.remove(ids[::7])
        return saved(ids)

    index.rows = rows_and_change  # type: ignore[method-assign]
    folder.save(index)
    _, found = loaded(folder)
    assert found.keys() == set(index.ids().tolist())
    assert all(truth[id] == row for id, row in found.items())
    index.close()
