"""Opening: order, versions, readers beside the writer, and ids that no history can bring back."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.catalogue.schema import SCHEMA, Schema
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.errors import Stopped, StoreError, StoreTooNew
from indexer.types import FilePath
from tests.catalogue.samples import answers, found, gone, hash_of, refused

Open = Callable[[], SqliteCatalogue]
A = FilePath(b"/pictures/a.jpg")
NEXT = Schema(SCHEMA.version + 1, SCHEMA.tables, {SCHEMA.version: ("ALTER TABLE content ADD COLUMN rating INTEGER",)})


def columns(path: Path) -> set[str]:
    con = sqlite3.connect(path)
    try:
        return {row[1] for row in con.execute("PRAGMA table_info(content)")}
    finally:
        con.close()


def version(path: Path) -> int:
    con = sqlite3.connect(path)
    try:
        return int(con.execute("PRAGMA user_version").fetchone()[0])
    finally:
        con.close()


def test_what_was_committed_is_there_after_a_restart(open_sqlite: Open) -> None:
    first = open_sqlite()
    first.commit([found(A, 1), refused(b"/pictures/b.jpg")])
    first.meta_set("model", "ViT-H-14")
    before = answers(first)
    seq = first.commit([found(b"/c.jpg", 2)]).seq
    first.commit([gone(b"/c.jpg")])
    first.close()
    second = open_sqlite()
    assert answers(second) == before
    assert (second.meta_get("model"), second.meta_get("other")) == ("ViT-H-14", None)
    assert second.commit([gone(A)]).seq == seq + 2
    assert second.notices == ()


def test_a_closed_catalogue_is_one_file_and_answers_no_more(open_sqlite: Open, tmp_path: Path) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(A, 1)])
    catalogue.close()
    catalogue.close()
    assert [file.name for file in tmp_path.iterdir()] == ["catalogue.db"]
    with pytest.raises(Stopped):
        catalogue.file(A)
    with pytest.raises(Stopped):
        catalogue.commit([gone(A)])


def test_every_commit_waits_for_the_disk(open_sqlite: Open) -> None:
    con = open_sqlite()._con
    assert con.execute("PRAGMA synchronous").fetchone() == (2,)
    assert con.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert con.execute("PRAGMA mmap_size").fetchone() in ((0,), None)


def test_a_lost_catalogue_hands_out_other_ids_than_the_new_one(open_sqlite: Open, tmp_path: Path) -> None:
    lost = open_sqlite()
    ids = set(lost.commit([found(b"/%d" % n, n) for n in range(100)]).ids.values())
    lost.close()
    (tmp_path / "catalogue.db").unlink()
    anew = open_sqlite().commit([found(b"/%d" % n, n) for n in range(100)]).ids
    assert ids.isdisjoint(anew.values())


def test_an_old_copy_put_back_hands_out_other_ids(open_sqlite: Open, tmp_path: Path) -> None:
    catalogue = open_sqlite()
    catalogue.close()
    copy = (tmp_path / "catalogue.db").read_bytes()
    catalogue = open_sqlite()
    ids = set(catalogue.commit([found(A, 1)]).ids.values())
    catalogue.close()
    (tmp_path / "catalogue.db").write_bytes(copy)
    assert ids.isdisjoint(open_sqlite().commit([found(A, 2)]).ids.values())


def test_a_clock_that_goes_back_brings_no_id_back(tmp_path: Path) -> None:
    seen: list[int] = []
    for now in (2_000_000_000.0, 1_000_000_000.0, -5.0):
        catalogue = SqliteCatalogue.open(tmp_path / "catalogue.db", clock=lambda now=now: now)
        seen += catalogue.commit([found(A, 1)]).ids.values()
        catalogue.commit([gone(A)])
        catalogue.close()
    assert len(set(seen)) == 3
    assert min(seen) >= 1


def test_a_reader_sees_what_the_writer_commits_meanwhile(open_sqlite: Open, tmp_path: Path) -> None:
    writer = open_sqlite()
    writer.commit([found(A, 1), refused(b"/b")])
    reader = SqliteCatalogue.open_reader(tmp_path / "catalogue.db")
    assert answers(reader) == answers(writer)
    writer.commit([found(A, 2)])
    assert reader.ids_of([hash_of(2)]) == writer.ids_of([hash_of(2)])
    reader.close()


def test_a_reader_needs_no_writer_and_changes_nothing(open_sqlite: Open, tmp_path: Path) -> None:
    writer = open_sqlite()
    writer.commit([found(A, 1)])
    before = answers(writer)
    writer.close()
    content = (tmp_path / "catalogue.db").read_bytes()
    reader = SqliteCatalogue.open_reader(tmp_path / "catalogue.db")
    assert answers(reader) == before
    reader.close()
    assert (tmp_path / "catalogue.db").read_bytes() == content
    assert open_sqlite().notices == ()


def test_a_reader_opens_what_a_killed_writer_left(open_sqlite: Open, tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from indexer.catalogue.sqlite import SqliteCatalogue;"
        "from tests.catalogue.samples import found;"
        "SqliteCatalogue.open(Path(sys.argv[1])).commit([found(b'/pictures/a.jpg', 1)]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "catalogue.db"], check=False, timeout=60)
    assert (tmp_path / "catalogue.db-wal").exists()
    reader = SqliteCatalogue.open_reader(tmp_path / "catalogue.db")
    assert reader.paths_of([hash_of(1)]) == [A]
    reader.close()


def test_a_reader_without_a_catalogue_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no catalogue"):
        SqliteCatalogue.open_reader(tmp_path / "catalogue.db")
    assert list(tmp_path.iterdir()) == []


def test_a_later_schema_is_refused_and_left_alone(open_sqlite: Open, tmp_path: Path) -> None:
    open_sqlite().close()
    path = tmp_path / "catalogue.db"
    SqliteCatalogue.open(path, schema=NEXT).close()
    content = path.read_bytes()
    for open_it in (SqliteCatalogue.open, SqliteCatalogue.open_reader):
        with pytest.raises(StoreTooNew, match=f"{NEXT.version}.*{SCHEMA.version}"):
            open_it(path)
    assert path.read_bytes() == content


def test_an_earlier_schema_is_migrated_after_a_backup(open_sqlite: Open, tmp_path: Path) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(A, 1)])
    before = answers(catalogue)
    catalogue.close()
    path, backup = tmp_path / "catalogue.db", tmp_path / f"catalogue.db.v{SCHEMA.version}.bak"
    migrated = SqliteCatalogue.open(path, schema=NEXT)
    assert answers(migrated) == before
    migrated.close()
    assert (version(path), version(backup)) == (NEXT.version, SCHEMA.version)
    assert "rating" in columns(path) - columns(backup)


def test_a_migration_that_fails_half_way_leaves_the_earlier_schema(open_sqlite: Open, tmp_path: Path) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(A, 1)])
    catalogue.close()
    path = tmp_path / "catalogue.db"
    broken = Schema(NEXT.version, SCHEMA.tables, {SCHEMA.version: (*NEXT.steps[SCHEMA.version], "NONSENSE")})
    with pytest.raises(StoreError):
        SqliteCatalogue.open(path, schema=broken)
    assert version(path) == SCHEMA.version
    assert "rating" not in columns(path)
    SqliteCatalogue.open(path, schema=NEXT).close()
    assert "rating" in columns(path)


def test_a_migration_that_is_killed_is_done_by_the_next_start(open_sqlite: Open, tmp_path: Path) -> None:
    catalogue = open_sqlite()
    catalogue.commit([found(A, 1)])
    before = answers(catalogue)
    catalogue.close()
    script = (
        "import os, sqlite3, sys; from pathlib import Path; from indexer.catalogue import schema;"
        "from indexer.sqlite import open_writer; from tests.catalogue.test_opening import NEXT;"
        "path = Path(sys.argv[1]); con = open_writer(path);"
        "con.set_trace_callback(lambda sql: os._exit(9) if 'user_version =' in sql else None);"
        "schema.establish(con, NEXT, path)"
    )
    path = tmp_path / "catalogue.db"
    killed = subprocess.run([sys.executable, "-c", script, path], check=False, timeout=60)
    assert killed.returncode == 9
    assert (version(path), "rating" in columns(path)) == (SCHEMA.version, False)
    migrated = SqliteCatalogue.open(path, schema=NEXT)
    assert answers(migrated) == before
    migrated.close()


def test_a_reader_leaves_an_earlier_schema_to_the_service(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    con = sqlite3.connect(path)
    con.execute("CREATE TABLE something (x)")
    con.close()
    with pytest.raises(StoreError, match="start the service once"):
        SqliteCatalogue.open_reader(path)


def test_two_stores_made_in_the_same_second_share_no_id(tmp_path: Path) -> None:
    ids: list[int] = []
    for name in ("one.db", "other.db"):
        catalogue = SqliteCatalogue.open(tmp_path / name, clock=lambda: 1_800_000_000.0)
        ids += catalogue.commit([found(b"/w/%d.jpg" % n, n) for n in range(100)]).ids.values()
        catalogue.close()
    assert len(set(ids)) == 200
    assert all(0 < vector_id < 2**63 for vector_id in ids)
