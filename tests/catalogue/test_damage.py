"""Bits flip, pages vanish, files are cut: no wrong answer, and after a scan and a restart all is as before."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.errors import StoreCorrupt
from indexer.sqlite import Readers, open_writer
from indexer.types import ContentHash, FilePath, Found, Gone, Outcome, Reason, Stamp
from tests.catalogue.samples import answers, found, recorded, refused
from tests.fakes.catalogue import MemoryCatalogue

PAGE = 4096
NOW = 1_800_000_000.0
OUTCOMES: list[Outcome] = [
    *(found(b"/pictures/%d/IMG_%04d.jpg" % (n % 4, n), n % 70) for n in range(90)),
    *(refused(b"/pictures/1/bad-%d.jpg" % n, reason, n) for n, reason in enumerate(Reason)),
]
TRUTH = recorded(OUTCOMES)
FIRST = found(b"/pictures/0/IMG_0000.jpg", 0)
N_MUTANTS = 96


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database closed in order that holds `OUTCOMES`."""
    path = tmp_path_factory.mktemp("sound") / "catalogue.db"
    catalogue = SqliteCatalogue.open(path, clock=lambda: NOW)
    catalogue.commit(OUTCOMES)
    catalogue.close()
    return path


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_carelessly(path: Path) -> sqlite3.Connection:
        con = open_writer(path)
        con.execute("PRAGMA synchronous = OFF")
        return con

    monkeypatch.setattr("indexer.catalogue.opening.open_writer", open_carelessly)


@pytest.fixture(scope="module")
def expected() -> object:
    model = MemoryCatalogue()
    model.commit(OUTCOMES)
    return answers(model)


def flip(data: bytearray, rng: random.Random, n: int) -> None:
    for _ in range(n):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_one(data: bytearray, rng: random.Random) -> None:
    flip(data, rng, 1)


def flip_some(data: bytearray, rng: random.Random) -> None:
    flip(data, rng, 30)


def zero_page(data: bytearray, rng: random.Random) -> None:
    page = rng.randrange(len(data) // PAGE)
    data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def swap_pages(data: bytearray, rng: random.Random) -> None:
    a, b = rng.sample(range(1, len(data) // PAGE), 2)
    one, other = data[a * PAGE : (a + 1) * PAGE], data[b * PAGE : (b + 1) * PAGE]
    data[a * PAGE : (a + 1) * PAGE], data[b * PAGE : (b + 1) * PAGE] = other, one


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def replace_text(data: bytearray, rng: random.Random) -> None:
    """Another hash, name or path of the same length, where one stands: every page stays well-formed."""
    hashes = [bytes(outcome.hash) for outcome in TRUTH.values() if isinstance(outcome, Found)]
    names = [path.rpartition(b"/")[2] for path in TRUTH if b"IMG" in path]
    for words in (hashes, names, [b"/pictures/%d" % n for n in range(4)]):
        old, new = rng.sample(words, 2)
        places = [i for i in range(len(data)) if data.startswith(old, i)] if old in data else []
        if places and rng.random() < 0.7:
            place = rng.choice(places)
            data[place : place + len(old)] = new


Mutation = Callable[[bytearray, random.Random], None]
MUTATIONS: list[Mutation] = [
    flip_one, flip_some, zero_page, swap_pages, cut, replace_text,
]  # fmt: skip


def nothing_wrong_is_served(catalogue: SqliteCatalogue) -> None:
    """Every pairing of path, hash, measures and reason that any question gets is a true one."""
    ids, hashes = catalogue.live()
    true_infos = {outcome.hash: outcome.info for outcome in TRUTH.values() if isinstance(outcome, Found)}
    assert set(hashes) <= true_infos.keys()
    for record in catalogue.images(ids.tolist()).values():
        assert record.info == true_infos[record.hash]
        assert all(is_found(path, record.hash) for path in record.paths)
    for path, outcome in TRUTH.items():
        told = catalogue.file(path)
        assert told is None or told.stamp == outcome.stamp
        if isinstance(outcome, Found):
            assert told is None or (told.hash, told.reason) == (outcome.hash, None)
            stamped = catalogue.hashes_by_stamp([outcome.stamp]).get(outcome.stamp)
            assert stamped is None or any(
                isinstance(o, Found) and (o.stamp, o.hash) == (outcome.stamp, stamped) for o in TRUTH.values()
            )
            assert all(is_found(p, outcome.hash) for p in catalogue.paths_of([outcome.hash]))
        else:
            assert told is None or (told.hash, told.reason) == (None, outcome.reason)
    for record in catalogue.refused(1000):
        assert record.path in TRUTH
        assert record.reason == TRUTH[record.path].reason


def is_found(path: FilePath, content: bytes) -> bool:
    outcome = TRUTH.get(path)
    return isinstance(outcome, Found) and outcome.hash == content


def is_whole(catalogue: SqliteCatalogue, expected: object) -> bool:
    try:
        return bool(answers(catalogue) == expected)
    except AssertionError:  # its answers do not fit each other yet
        return False


def scan(catalogue: SqliteCatalogue) -> None:
    """What the river does: compare what is recorded with what is there, and commit what differs."""
    known: dict[FilePath, Stamp] = {}
    for folder in [FilePath(b"/pictures/%d" % n) for n in range(4)] + list(catalogue.folders_under(FilePath(b"/"))):
        known |= {FilePath(folder + b"/" + name): stamp for name, stamp in catalogue.folder(folder).items()}
    differing: list[Outcome] = [Gone(path) for path in known.keys() - TRUTH.keys()]
    differing += [outcome for path, outcome in TRUTH.items() if known.get(path) != outcome.stamp]
    catalogue.commit(differing)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_damage_is_never_served_and_heals(
    mutation: Mutation, large: bool, sound: Path, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small database is looked through at every start; in a large one the seals alone stand before wrong answers."""
    if large:
        monkeypatch.setattr("indexer.catalogue.opening._SMALL_BYTES", 0)
    rng = random.Random(mutation.__name__)
    whole = sound.read_bytes()
    for n in range(N_MUTANTS // len(MUTATIONS) // 2):
        damaged = bytearray(whole)
        mutation(damaged, rng)
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "catalogue.db").write_bytes(damaged)
        assert any(heals(folder / "catalogue.db", expected) for _ in range(3)), f"mutant {n} did not heal"
        shutil.rmtree(folder)


def heals(path: Path, expected: object) -> bool:
    """One run of the service: nothing wrong is served; whether all was well in the end."""
    catalogue = SqliteCatalogue.open(path, clock=lambda: NOW)
    try:
        for _ in range(2):
            nothing_wrong_is_served(catalogue)
            scan(catalogue)
        return catalogue.check() is None and is_whole(catalogue, expected)
    except StoreCorrupt:  # told, not served
        return False
    finally:
        catalogue.close()


def test_a_damaged_database_is_set_aside_and_told(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    path.write_bytes(b"this is no database, but it may hold something dear" * 100)
    catalogue = SqliteCatalogue.open(path, clock=lambda: 1_800_000_000.0)
    (notice,) = catalogue.notices
    aside = tmp_path / "catalogue.db.corrupt-20270115T080000Z"
    assert str(aside) in notice
    assert aside.read_bytes() == b"this is no database, but it may hold something dear" * 100
    assert catalogue.counts().files == 0
    catalogue.close()
    path.write_bytes(b"again, in the same second" * 100)
    SqliteCatalogue.open(path, clock=lambda: 1_800_000_000.0).close()
    assert aside.with_name(aside.name + ".2").exists()


@pytest.mark.parametrize("column", [b"format TEXT", b"recorded_at REAL", b"mtime_ns ANY"])
def test_a_column_that_lost_its_name_is_damage(sound: Path, tmp_path: Path, column: bytes) -> None:
    """SQLite finds nothing wrong with it."""
    data = sound.read_bytes()
    assert data.count(column) == 1
    (tmp_path / "catalogue.db").write_bytes(data.replace(column, b"x" + column[1:]))
    catalogue = SqliteCatalogue.open(tmp_path / "catalogue.db")
    assert "damaged" in catalogue.notices[0]
    assert catalogue.live()[1] == []
    catalogue.close()


def test_a_damaged_log_takes_the_latest_batches_back_whole_and_brings_no_id_back(tmp_path: Path) -> None:
    rng = random.Random(5)
    live = tmp_path / "live"
    live.mkdir()
    catalogue, model = SqliteCatalogue.open(live / "catalogue.db", clock=lambda: NOW), MemoryCatalogue()
    states, ids = [answers(model)], set()
    for n in range(0, len(OUTCOMES), 20):
        ids |= set(catalogue.commit(OUTCOMES[n : n + 20]).ids.values())
        model.commit(OUTCOMES[n : n + 20])
        states.append(answers(model))
    seen = set()
    for n in range(20):
        copy = tmp_path / str(n)
        shutil.copytree(live, copy)
        log = bytearray((copy / "catalogue.db-wal").read_bytes())
        flip_one(log, rng) if n % 2 else cut(log, rng)
        (copy / "catalogue.db-wal").write_bytes(log)
        (copy / "catalogue.db-shm").unlink()
        damaged = SqliteCatalogue.open(copy / "catalogue.db", clock=lambda: NOW + 60)
        seen.add(states.index(answers(damaged)))
        assert ids.isdisjoint(damaged.commit([found(b"/new.jpg", 999)]).ids.values())
        damaged.close()
    catalogue.close()
    assert len(seen) > 2, "the damage reached different batches"


def test_a_row_whose_picture_was_exchanged_is_left_out_and_recorded_anew(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    shutil.copy(sound, path)
    catalogue = SqliteCatalogue.open(path)
    one, other = (outcome for outcome in OUTCOMES[:2] if isinstance(outcome, Found))
    other_id = catalogue.ids_of([other.hash])[other.hash]
    catalogue._con.execute("UPDATE file SET content_id = ? WHERE name = ?", (other_id, one.path.rpartition(b"/")[2]))
    assert one.path not in catalogue.images([other_id])[other_id].paths
    assert catalogue.file(one.path) is None
    assert one.path.rpartition(b"/")[2] not in catalogue.folder(FilePath(b"/pictures/0")), "the next scan finds it new"
    assert catalogue.counts().files == 89
    scan(catalogue)
    nothing_wrong_is_served(catalogue)
    assert catalogue.counts().files == 90
    catalogue.close()


ASK: dict[str, Callable[[SqliteCatalogue, int], object]] = {
    "images": lambda catalogue, vector_id: catalogue.images([vector_id]),
    "file": lambda catalogue, vector_id: catalogue.file(FIRST.path),
    "paths_of": lambda catalogue, vector_id: catalogue.paths_of([FIRST.hash, ContentHash(bytes(32))]),
    "ids_of": lambda catalogue, vector_id: catalogue.ids_of([FIRST.hash, ContentHash(bytes(32))]),
    "hashes_by_stamp": lambda catalogue, vector_id: catalogue.hashes_by_stamp([FIRST.stamp]),
    "live": lambda catalogue, vector_id: vector_id in catalogue.live()[0],
}


@pytest.mark.parametrize("first", ASK)
@pytest.mark.parametrize("change", ["hash = zeroblob(32)", "width_px = 1", "format = 'GIF'"])
def test_a_content_that_rots_is_left_out_of_every_answer_and_recorded_anew(
    sound: Path, tmp_path: Path, change: str, first: str
) -> None:
    shutil.copy(sound, tmp_path / "catalogue.db")
    catalogue = SqliteCatalogue.open(tmp_path / "catalogue.db")
    vector_id = catalogue.ids_of([FIRST.hash])[FIRST.hash]
    assert all(ask(catalogue, vector_id) for ask in ASK.values())
    catalogue._con.execute(f"UPDATE content SET {change} WHERE id = {vector_id}")
    assert not ASK[first](catalogue, vector_id), "whoever meets it first"
    assert not any(ask(catalogue, vector_id) for ask in ASK.values())
    scan(catalogue)
    assert catalogue.paths_of([FIRST.hash])
    nothing_wrong_is_served(catalogue)
    catalogue.close()


@pytest.fixture
def astray(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large database in which an index leads astray: SQLite's quick check passes it."""
    monkeypatch.setattr("indexer.catalogue.opening._SMALL_BYTES", 0)
    con = sqlite3.connect(sound)
    (page,) = con.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_content_1'").fetchone()
    con.close()
    data = bytearray(sound.read_bytes())
    data[data.index(FIRST.hash, (page - 1) * PAGE, page * PAGE)] ^= 1
    path = tmp_path / "catalogue.db"
    path.write_bytes(data)
    return path


def test_damage_met_while_running_is_mended_by_the_next_start(astray: Path) -> None:
    catalogue = SqliteCatalogue.open(astray)
    assert catalogue.notices == ()
    assert catalogue.ids_of([FIRST.hash]) == {}
    catalogue.commit([FIRST])
    assert len(catalogue.live()[1]) == 71, "the content is in it twice"
    catalogue.close()
    mended = SqliteCatalogue.open(astray)
    assert "damaged" in mended.notices[0]
    mended.close()


def test_damage_that_a_check_finds_is_mended_by_the_next_start(astray: Path) -> None:
    SqliteCatalogue.open(astray).close()
    catalogue = SqliteCatalogue.open(astray)
    assert catalogue.notices == ()
    assert "index" in (catalogue.check() or "")
    catalogue.close()
    mended = SqliteCatalogue.open(astray)
    assert "damaged" in mended.notices[0]
    assert mended.check() is None
    mended.close()


def test_reading_a_damaged_page_says_so(sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    data = bytearray(sound.read_bytes())
    for page in range(2, len(data) // PAGE):
        data[page * PAGE : page * PAGE + 8] = b"\xff" * 8
    path.write_bytes(data)
    readers = Readers(path)
    with pytest.raises(StoreCorrupt, match=r"catalogue\.db is damaged"), readers.snapshot() as con:
        con.execute("SELECT count(name) FROM file").fetchall()
    readers.close()
