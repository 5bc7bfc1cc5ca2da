"""diskcache as it must be used: durable, never evicting, private, and deaf to what others planted."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import diskcache
import numpy as np
import pytest

from indexer.errors import Stopped, StoreCorrupt, StoreError
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.features.rawdisk import RawDisk, open_cache
from tests.features.samples import SPACE, feature_of, hash_of, same, some, space_of

Open = Callable[..., DiskFeatureCache]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "features"


@pytest.fixture
def open_disk(folder: Path) -> Iterator[Open]:
    opened: list[DiskFeatureCache] = []

    def open_it(space=SPACE) -> DiskFeatureCache:
        opened.append(DiskFeatureCache(folder, space))
        return opened[-1]

    yield open_it
    for cache in opened:
        cache.close()


def sql(folder: Path, statement: str, *values: object) -> list[tuple]:
    con = sqlite3.connect(folder / "cache.db", isolation_level=None)
    try:
        return con.execute(statement, values).fetchall()
    finally:
        con.close()


def key_of(n: int) -> str:
    return f"{SPACE.fingerprint}:{hash_of(n).hex()}"


def test_features_are_there_after_a_restart(open_disk: Open) -> None:
    first = open_disk()
    first.put_many(some(1, 2))
    first.close()
    first.close()
    assert same(open_disk().get_many([hash_of(1), hash_of(2)]), some(1, 2))


def test_a_closed_cache_answers_no_more(open_disk: Open, folder: Path) -> None:
    cache = open_disk()
    cache.put_many(some(1))
    cache.close()
    with pytest.raises(Stopped):
        cache.get_many([hash_of(1)])
    with pytest.raises(Stopped):
        cache.put_many(some(2))
    assert [file.name for file in folder.iterdir()] == ["cache.db"]


def test_a_returned_feature_cannot_be_changed_by_mistake(open_disk: Open) -> None:
    cache = open_disk()
    cache.put_many(some(1))
    feature = cache.get_many([hash_of(1)])[hash_of(1)].feature
    with pytest.raises(ValueError, match="read-only"):
        feature[0] = 0


def test_spaces_share_the_folder_and_never_mix(open_disk: Open) -> None:
    one = open_disk()
    one.put_many(some(1, 2))
    one.close()
    for other_space in (space_of("random-1"), space_of(dim=8)):
        other = open_disk(other_space)
        assert other.get_many([hash_of(1)]) == {}
        assert list(other.hashes()) == []
        other.put_many({hash_of(1): feature_of(5, other_space.dim)})
        assert other.spaces()[other_space.fingerprint] == 1
        other.close()
    one = open_disk()
    assert same(one.get_many([hash_of(1), hash_of(2)]), some(1, 2))
    assert one.spaces() == {SPACE.fingerprint: 2, space_of("random-1").fingerprint: 1, space_of(dim=8).fingerprint: 1}


def test_a_value_moved_under_the_key_of_another_space_is_not_believed(open_disk: Open, folder: Path) -> None:
    cache = open_disk()
    cache.put_many(some(1))
    cache.close()
    other = space_of("random-1")
    sql(folder, "UPDATE Cache SET key = ?", f"{other.fingerprint}:{hash_of(1).hex()}")
    assert open_disk(other).get_many([hash_of(1)]) == {}


def test_the_database_is_durable_and_never_evicts(open_disk: Open, folder: Path) -> None:
    diskcache.Cache(folder, size_limit=1, cull_limit=10, sqlite_synchronous=0, statistics=1, tag_index=1).close()
    open_disk().put_many(some(*range(50)))
    kept = dict(sql(folder, "SELECT key, value FROM Settings"))
    assert (kept["eviction_policy"], kept["cull_limit"]) == ("none", 0)
    assert (kept["sqlite_synchronous"], kept["sqlite_journal_mode"], kept["sqlite_mmap_size"]) == (2, "wal", 0)
    assert min(kept["size_limit"], kept["disk_min_file_size"]) > 2**60
    assert (kept["statistics"], kept["tag_index"]) == (0, 0)
    assert kept["count"] == 50


def test_every_connection_that_writes_is_synchronous(folder: Path) -> None:
    folder.mkdir(parents=True)
    cache = open_cache(folder)
    assert cache._con.execute("PRAGMA synchronous").fetchone() == (2,)
    assert cache._con.execute("PRAGMA mmap_size").fetchone() in ((0,), None)
    cache.close()


def test_the_folder_is_private_even_if_it_was_not(open_disk: Open, folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    open_disk()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_rows_are_readable_by_diskcache_itself(open_disk: Open, folder: Path) -> None:
    cache = open_disk()
    cache.put_many(some(1))
    cache.close()
    plain = diskcache.Cache(folder, disk=RawDisk)
    assert list(plain) == [key_of(1)]
    assert feature_of(1).feature.tobytes() in plain[key_of(1)]
    assert plain.check() == []
    plain.close()


def test_a_reader_works_beside_the_writer_and_without(open_disk: Open, folder: Path) -> None:
    writer = open_disk()
    writer.put_many(some(1))
    reader = FeatureReader(folder, SPACE)
    assert same(reader.get_many([hash_of(1), hash_of(2)]), some(1))
    writer.put_many(some(2))
    assert same(reader.get_many([hash_of(1), hash_of(2)]), some(1, 2))
    writer.close()
    assert list(reader.hashes()) == sorted([hash_of(1), hash_of(2)])
    reader.close()
    with pytest.raises(StoreError):
        FeatureReader(folder / "nowhere", SPACE).get_many([hash_of(1)])


class Explosive:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("mode", [0, 2, 3, 4, 5, "1", None])
def test_planted_rows_are_neither_unpickled_nor_followed(
    open_disk: Open, folder: Path, tmp_path: Path, mode: object
) -> None:
    cache = open_disk()
    cache.put_many(some(1, 2, 3))
    cache.close()
    mark, precious = tmp_path / "exploded", tmp_path / "precious"
    bomb = pickle.dumps(Explosive(mark))
    precious.write_bytes(b"private")
    sql(folder, "UPDATE Cache SET mode = ?, value = ? WHERE key = ?", mode, bomb, key_of(1))
    sql(folder, "UPDATE Cache SET mode = ?, filename = ?, value = NULL WHERE key = ?", mode, str(precious), key_of(2))
    sql(folder, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 4, ?)", bomb, bomb)
    cache = open_disk()
    everything = [hash_of(n) for n in range(5)]
    assert same(cache.get_many(everything), some(3))
    cache.put_many(some(1, 2))
    assert same(cache.get_many(everything), some(1, 2, 3))
    assert not mark.exists()
    assert precious.read_bytes() == b"private"


def test_putting_over_a_planted_row_removes_no_file(open_disk: Open, folder: Path, tmp_path: Path) -> None:
    cache = open_disk()
    cache.put_many(some(1))
    precious = tmp_path / "precious"
    precious.write_bytes(b"private")
    sql(folder, "UPDATE Cache SET mode = 2, filename = ?, value = NULL", "../../precious")
    cache.put_many(some(1))
    assert precious.read_bytes() == b"private"
    assert same(cache.get_many([hash_of(1)]), some(1))
    assert sql(folder, "SELECT filename, mode FROM Cache") == [(None, 1)]


def test_the_disk_refuses_everything_but_text_keys_and_bytes(folder: Path) -> None:
    folder.mkdir(parents=True)
    cache = open_cache(folder)
    for key, value in (
        (1, b""),
        (b"key", b""),
        (("a", 1), b""),
        ("key", "text"),
        ("key", 1),
        ("key", None),
        ("key", {}),
    ):
        with pytest.raises(TypeError):
            cache.set(key, value)
    with pytest.raises(TypeError), (folder / "cache.db").open("rb") as file:
        cache.set("key", file, read=True)
    cache.set("key", b"value")
    assert cache.get("key") == b"value"
    cache.close()


def test_diskcache_itself_follows_no_planted_row_either(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    cache = open_cache(folder)
    precious = tmp_path / "precious"
    precious.write_bytes(b"private")
    cache.set("key", b"value")
    sql(folder, "UPDATE Cache SET mode = 2, filename = ?, value = NULL", "../../precious")
    with pytest.raises(StoreCorrupt):
        cache.get("key")
    cache.set("key", b"another")
    assert cache.get("key") == b"another"
    assert precious.read_bytes() == b"private"
    sql(folder, "INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 'x')", pickle.dumps(Explosive(precious)))
    with pytest.raises(StoreCorrupt):
        list(cache)
    cache.close()


def test_planted_settings_do_not_survive(open_disk: Open, folder: Path) -> None:
    open_disk().close()
    for key, value in (("sqlite_synchronous", 0), ("sqlite_user_version", 7), ("close", 5), ("disk_nonsense", 1)):
        sql(folder, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    cache = open_disk()
    cache.put_many(some(1))
    assert cache.notices == ()
    assert sql(folder, "PRAGMA user_version") == [(0,)]
    assert dict(sql(folder, "SELECT key, value FROM Settings"))["sqlite_synchronous"] == 2


def test_a_folder_that_diskcache_would_rename_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "elsewhere")
    with pytest.raises(StoreError, match="variable"):
        DiskFeatureCache(tmp_path / "$SOMETHING", SPACE)


def test_the_feature_may_lie_anywhere_in_memory(open_disk: Open) -> None:
    rows = np.stack([feature_of(n).feature for n in range(4)])
    cache = open_disk()
    for view in (np.asfortranarray(rows)[1], rows[:, ::-1][1][::-1]):
        cache.put_many({hash_of(1): feature_of(1)._replace(feature=view)})
        assert same(cache.get_many([hash_of(1)]), some(1))


def test_no_thread_or_connection_is_left_behind(open_disk: Open) -> None:
    before = threading.active_count()
    cache = open_disk()
    workers = [threading.Thread(target=cache.get_many, args=([hash_of(1)],)) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(cache._readers._idle) <= 20
    cache.close()
    assert threading.active_count() == before
    assert cache._readers._idle == []
