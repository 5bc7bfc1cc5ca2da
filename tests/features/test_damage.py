"""Bits flip, pages vanish, files are cut: no wrong feature, and what is whole is not encoded again."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import StoreCorrupt, StoreFull
from indexer.features import rawdisk
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.sqlite import open_writer
from indexer.types import ContentHash, StoredFeature
from tests.features.samples import SPACE, hash_of, same, some

N = 60
FEATURES = some(*range(N))
PAGE = 16_384
N_MUTANTS = 126


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_carelessly(path: Path, *, page_bytes: int) -> sqlite3.Connection:
        con = open_writer(path, page_bytes=page_bytes)
        con.execute("PRAGMA synchronous = OFF")
        return con

    monkeypatch.setattr(rawdisk, "open_writer", open_carelessly)
    monkeypatch.setitem(rawdisk._SETTINGS, "sqlite_synchronous", 0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    cache = DiskFeatureCache(folder, SPACE, clock=lambda: 1_800_000_000.0)
    for n in range(0, N, 10):
        cache.put_many(some(*range(n, n + 10)))
    cache.close()
    return folder / "cache.db"


def flip_one(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_some(data: bytearray, rng: random.Random) -> None:
    for _ in range(20):
        flip_one(data, rng)


def zero_sector(data: bytearray, rng: random.Random) -> None:
    sector = rng.randrange(len(data) // 512)
    data[sector * 512 : (sector + 1) * 512] = bytes(512)


def zero_page(data: bytearray, rng: random.Random) -> None:
    page = rng.randrange(len(data) // PAGE)
    data[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)


def swap_pages(data: bytearray, rng: random.Random) -> None:
    a, b = rng.sample(range(1, len(data) // PAGE), 2)
    one, other = data[a * PAGE : (a + 1) * PAGE], data[b * PAGE : (b + 1) * PAGE]
    data[a * PAGE : (a + 1) * PAGE], data[b * PAGE : (b + 1) * PAGE] = other, one


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def exchange_keys(data: bytearray, rng: random.Random) -> None:
    """Another content's key where one stands, in the table or in its index."""
    old, new = (hash_of(n).hex().encode() for n in rng.sample(range(N), 2))
    places = [i for i in range(len(data)) if data.startswith(old, i)]
    place = rng.choice(places)
    data[place : place + 64] = new


Mutation = Callable[[bytearray, random.Random], None]
MUTATIONS: list[Mutation] = [flip_one, flip_some, zero_sector, zero_page, swap_pages, cut, exchange_keys]


def whole_in(data: bytes) -> set[int]:
    """Which features are unhurt in these bytes."""
    return {n for n in range(N) if FEATURES[hash_of(n)].feature.tobytes() in data}


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_no_wrong_feature_is_served_and_unhurt_ones_survive(
    mutation: Mutation, large: bool, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small database is looked through at every start; in a large one the values' own checks stand alone."""
    if large:
        monkeypatch.setattr(rawdisk, "_SMALL_BYTES", 0)
    rng = random.Random(mutation.__name__)
    content = sound.read_bytes()
    n_unhurt = n_saved = 0
    for n in range(N_MUTANTS // len(MUTATIONS) // 2):
        data = bytearray(content)
        mutation(data, rng)
        folder = tmp_path / str(n)
        folder.mkdir()
        (folder / "cache.db").write_bytes(data)
        cache = DiskFeatureCache(folder, SPACE)
        n_unhurt += len(whole_in(bytes(data)))
        n_saved += len(found_rightly(cache))
        assert any(heals(cache) for _ in range(3)), f"mutant {n} did not heal"
        cache.check()
        assert same(cache.get_many(list(FEATURES)), FEATURES)
        cache.close()
        shutil.rmtree(folder)
    assert n_saved >= (0.5 if large else 0.98) * n_unhurt


def found_rightly(cache: DiskFeatureCache) -> dict[ContentHash, StoredFeature]:
    found = cache.get_many(list(FEATURES))
    assert same(found, {key: FEATURES[key] for key in found}), "a wrong feature was served"
    return found


def heals(cache: DiskFeatureCache) -> bool:
    """What the river does: encode what is absent. Whether all was well in the end."""
    found = found_rightly(cache)
    assert all(len(key) == 32 for key in cache.hashes())
    cache.put_many({key: stored for key, stored in FEATURES.items() if key not in found})
    return len(found_rightly(cache)) == N


def test_a_damaged_database_is_set_aside_never_deleted(sound: Path, tmp_path: Path) -> None:
    data = bytearray(sound.read_bytes())
    data[:100] = bytes(100)
    (tmp_path / "cache.db").write_bytes(data)
    cache = DiskFeatureCache(tmp_path, SPACE, clock=lambda: 1_800_000_000.0)
    aside = tmp_path / "cache.db.corrupt-20270115T080000Z"
    assert aside.read_bytes() == data
    assert cache.notices == (f"the feature cache was damaged and lies now at {aside}; {N} features were saved from it",)
    assert same(cache.get_many(list(FEATURES)), FEATURES)
    cache.close()


def test_a_file_that_never_was_a_database_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"LKF1 but nothing else " * 1000)
    cache = DiskFeatureCache(tmp_path, SPACE)
    assert "0 features were saved" in cache.notices[0]
    cache.put_many(some(1))
    assert same(cache.get_many([hash_of(1)]), some(1))
    cache.close()


def test_damage_met_by_many_threads_is_mended_once(sound: Path, tmp_path: Path) -> None:
    data = bytearray(sound.read_bytes())
    for page in range(3, len(data) // PAGE):
        data[page * PAGE] = 99
    (tmp_path / "cache.db").write_bytes(data)
    cache = DiskFeatureCache(tmp_path, SPACE)
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(same(cache.get_many(list(FEATURES)), FEATURES)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 8
    assert len(cache.notices) == 1
    cache.put_many(some(99))
    assert same(cache.get_many([hash_of(99)]), some(99))
    cache.close()


def test_damage_met_by_a_put_is_mended(sound: Path, tmp_path: Path) -> None:
    data = bytearray(sound.read_bytes())
    for page in range(3, len(data) // PAGE):
        data[page * PAGE] = 99
    (tmp_path / "cache.db").write_bytes(data)
    cache = DiskFeatureCache(tmp_path, SPACE)
    cache.put_many(some(99))
    assert len(cache.notices) == 1
    assert same(cache.get_many([*FEATURES, hash_of(99)]), {**FEATURES, **some(99)})
    cache.close()


def test_saving_that_was_cut_off_is_done_by_the_next_start(sound: Path, tmp_path: Path) -> None:
    shutil.copy(sound, tmp_path / "cache.db.salvaging-20270115T080000Z")
    shutil.copy(sound, tmp_path / "cache.db.corrupt-20270115T080000Z")
    cache = DiskFeatureCache(tmp_path, SPACE)
    assert same(cache.get_many(list(FEATURES)), FEATURES)
    assert len(cache.notices) == 1
    cache.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "cache.db", "cache.db.corrupt-20270115T080000Z", "cache.db.corrupt-20270115T080000Z.2"]  # fmt: skip


def test_what_was_put_since_is_not_overwritten_by_what_is_saved(sound: Path, tmp_path: Path) -> None:
    shutil.copy(sound, tmp_path / "cache.db.salvaging-20270115T080000Z")
    newer = DiskFeatureCache(tmp_path, SPACE)
    newer.put_many({hash_of(1): FEATURES[hash_of(2)]})
    newer.close()
    shutil.copy(sound, tmp_path / "cache.db.salvaging-20270115T080001Z")
    cache = DiskFeatureCache(tmp_path, SPACE)
    assert same(cache.get_many([hash_of(1)]), {hash_of(1): FEATURES[hash_of(2)]})
    cache.close()


def test_features_in_the_log_are_saved_too(sound: Path, tmp_path: Path) -> None:
    cache = DiskFeatureCache(tmp_path / "live", SPACE)
    cache.put_many(FEATURES)
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    cache.close()
    database, log = tmp_path / "copy" / "cache.db", tmp_path / "copy" / "cache.db-wal"
    assert len(whole_in(log.read_bytes())) == N
    database.write_bytes(b"\x13" * 50_000)
    cache = DiskFeatureCache(tmp_path / "copy", SPACE)
    assert same(cache.get_many(list(FEATURES)), FEATURES)
    cache.close()


def test_a_row_whose_value_rots_is_dropped_alone(sound: Path, tmp_path: Path) -> None:
    shutil.copy(sound, tmp_path / "cache.db")
    cache = DiskFeatureCache(tmp_path, SPACE)
    con = sqlite3.connect(tmp_path / "cache.db")
    with con:
        con.execute("UPDATE Cache SET value = CAST(substr(value, 1, 150) || x'ff' || substr(value, 152) AS BLOB)"
                    " WHERE key LIKE ?", (f"%{hash_of(7).hex()}",))  # fmt: skip
    con.close()
    unhurt = {key: stored for key, stored in FEATURES.items() if key != hash_of(7)}
    assert same(cache.get_many(list(FEATURES)), unhurt)
    assert hash_of(7) not in set(cache.hashes())
    assert cache.notices == ()
    cache.close()


def test_a_reader_tells_damage_and_touches_nothing(sound: Path, tmp_path: Path) -> None:
    data = bytearray(sound.read_bytes())
    for page in range(3, len(data) // PAGE):
        data[page * PAGE] = 99
    (tmp_path / "cache.db").write_bytes(data)
    reader = FeatureReader(tmp_path, SPACE)
    with pytest.raises(StoreCorrupt):
        reader.get_many(list(FEATURES))
    reader.close()
    assert (tmp_path / "cache.db").read_bytes() == data


def test_no_room_to_save_keeps_the_damaged_file_for_the_next_start(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(sound.read_bytes())
    data[:100] = bytes(100)
    (tmp_path / "cache.db").write_bytes(data)

    def no_room(*_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr("indexer.features.writer.CacheWriter._put", no_room)
        cache = DiskFeatureCache(tmp_path, SPACE)
        assert cache.get_many(list(FEATURES)) == {}
        cache.close()
    cache = DiskFeatureCache(tmp_path, SPACE)
    assert same(cache.get_many(list(FEATURES)), FEATURES)
    cache.close()
