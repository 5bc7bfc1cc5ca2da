"""The catalogue's tables, their version, and the way from one version to the next."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from indexer.errors import StoreCorrupt, StoreTooNew
from indexer.sqlite import sync_folder


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables of one version.

    Attributes:
        version: Kept in the database's `user_version`.
        tables: Statements that make an empty database.
        steps: By version, the statements that lead from it to the next one.
    """

    version: int
    tables: tuple[str, ...]
    steps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


# Columns that a file system fills are ANY: an inode above 2^63 or a date beyond 2262 does not fit SQLite's integers
# and is kept as text. `seal` is a checksum of the row, see `seals.py`. Vector ids are handed out by the writer.
# A file's row spells its folder out: a number in its place would save a hundred bytes, but a damaged list of folders
# would put whole folders under wrong names.
SCHEMA = Schema(
    version=1,
    tables=(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL, seal INTEGER NOT NULL) STRICT, WITHOUT ROWID",
        (
            "CREATE TABLE content (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, format TEXT NOT NULL,"
            " width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, size_bytes INTEGER NOT NULL,"
            " seal INTEGER NOT NULL) STRICT"
        ),
        (
            "CREATE TABLE file (folder BLOB NOT NULL, name BLOB NOT NULL, device ANY NOT NULL, inode ANY NOT NULL,"
            " size_bytes ANY NOT NULL, mtime_ns ANY NOT NULL, ctime_ns ANY NOT NULL, content_id INTEGER, reason TEXT,"
            " detail TEXT NOT NULL, recorded_at REAL NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY (folder, name))"
            " STRICT, WITHOUT ROWID"
        ),
        "CREATE INDEX file_by_content ON file (content_id) WHERE content_id IS NOT NULL",
        "CREATE INDEX file_by_inode ON file (inode) WHERE content_id IS NOT NULL",
        "CREATE INDEX file_refused ON file (recorded_at, reason) WHERE reason IS NOT NULL",
    ),
)


def establish(con: sqlite3.Connection, schema: Schema, path: Path) -> bool:
    """Make the tables of an empty database, or bring older ones up to date; whether the database was empty.

    Before a migration a copy goes to `<name>.v<version>.bak`; the migration is one transaction.

    Raises:
        StoreTooNew: A later version of the program made it.
        StoreCorrupt: No way leads here from its version.
        sqlite3.Error: As SQLite says.
    """
    found = version_of(con, schema, path)
    if con.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
        _apply(con, schema.tables, schema.version)
        return True
    if found < schema.version:
        steps = [schema.steps.get(version) for version in range(found, schema.version)]
        if None in steps:
            raise StoreCorrupt(f"{path} claims schema {found}, from which no migration is known")
        _back_up(con, path, found)
        _apply(con, [statement for step in steps if step for statement in step], schema.version)
    return False


def version_of(con: sqlite3.Connection, schema: Schema, path: Path) -> int:
    """The version that the database has; raises `StoreTooNew` if later than `schema`."""
    (found,) = con.execute("PRAGMA user_version").fetchone()
    if found > schema.version:
        raise StoreTooNew(
            f"{path} has schema {found}, this program knows up to {schema.version}; use the later version that made it"
        )
    return int(found)


def _apply(con: sqlite3.Connection, statements: tuple[str, ...] | list[str], version: int) -> None:
    con.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            con.execute(statement)
        con.execute(f"PRAGMA user_version = {version}")
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise


def _back_up(con: sqlite3.Connection, path: Path, version: int) -> None:
    target = path.with_name(f"{path.name}.v{version}.bak")
    partial = target.with_name(target.name + ".tmp")
    partial.unlink(missing_ok=True)  # left by a migration that was killed
    con.execute("VACUUM INTO ?", (os.fspath(partial),))
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(target)
    sync_folder(target.parent)
