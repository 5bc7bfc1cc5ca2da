"""SQLite as this house uses it: one connection writes, read-only ones read beside it, and it fails in our words.

SQLite before 3.51.3 can corrupt a write-ahead log that two connections write or checkpoint at the same time
(sqlite.org/wal.html#walresetbug). So each database has one writer, and readers are opened so that they can do neither.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from indexer.errors import Stopped, StoreCorrupt, StoreError, StoreFull, StoreLocked

_NO_WRITING = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
_ROWS_AT_ONCE = 100
_READER_BYTES = 2 << 20  # pages that each lent connection keeps; the system keeps the others
_LOST_SCHEMA = ("no such table", "no such column", "no such index", "has no column named")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `StoreFull`, `StoreLocked`, `StoreCorrupt` or `StoreError`, naming the database."""
    try:
        yield
    except sqlite3.Error as error:
        raise in_our_words(error, path) from error
    except UnicodeDecodeError as error:  # SQLite quotes what it stumbled over
        raise StoreCorrupt(f"{path} is damaged: {error.object!r}") from error


def in_our_words(error: sqlite3.Error, path: Path) -> StoreError:
    """The error of our tree that says what SQLite's says."""
    while isinstance(error.__context__, sqlite3.Error):
        error = error.__context__  # a failed rollback hides what it was to undo
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code == sqlite3.SQLITE_IOERR_READ:
        return StoreError(f"{path} cannot be read: {error}")
    if code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return StoreFull(f"{path} cannot be opened: {error}; its folder must exist and be writable")
    if code & 0xFF in _NO_WRITING:
        return StoreFull(f"{path} cannot be written: {error}; make room or mend permissions")
    if code & 0xFF in _BUSY:
        return StoreLocked(f"{path} is held by another process: {error}")
    if code & 0xFF in _DAMAGED or str(error).startswith(_LOST_SCHEMA):
        return StoreCorrupt(f"{path} is damaged: {error}")
    return StoreError(f"{path}: {error}")


def open_writer(path: Path, *, cache_bytes: int = 8 << 20, page_bytes: int = 4096) -> sqlite3.Connection:
    """The one connection that may change the database; guard it with a lock, it is shared between threads.

    Transactions are begun and ended by hand, and are durable when COMMIT returns. A new database gets pages of
    `page_bytes`.

    Raises:
        StoreError: As `translated`, or the file system cannot hold a write-ahead log.
    """
    with translated(path):
        con = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            con.execute(f"PRAGMA page_size = {page_bytes}")
            _configure(con, cache_bytes)
            _write_ahead(con, path)
        except BaseException:
            con.close()
            raise
        return con


def _write_ahead(con: sqlite3.Connection, path: Path) -> None:
    if con.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreError(f"{path} cannot have a write-ahead log on this file system; move the store to a local disk")
    con.execute("PRAGMA synchronous = FULL")
    con.execute("PRAGMA journal_size_limit = 67108864")


def _configure(con: sqlite3.Connection, cache_bytes: int) -> None:
    con.text_factory = _lenient_text
    con.execute("PRAGMA mmap_size = 0")  # a disk error must be an error, not a signal
    con.execute("PRAGMA cell_size_check = ON")
    con.execute("PRAGMA trusted_schema = OFF")
    con.execute(f"PRAGMA cache_size = -{cache_bytes >> 10}")


def _lenient_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def execute_rows(con: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> list[Any]:
    """Execute a statement over many rows of values, some at a time; all that it answers.

    Beside busy threads this is several times as fast as a statement for each row: every step of a statement lets
    another thread have the interpreter, and then waits until it is given back.

    Args:
        con: Where.
        statement: With `{rows}` where the list of values belongs.
        rows: Values, equally many each.
    """
    answers: list[Any] = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        chunk = rows[start : start + _ROWS_AT_ONCE]
        marks = "(" + ",".join("?" * len(chunk[0])) + ")"
        answers += con.execute(statement.replace("{rows}", ",".join([marks] * len(chunk))), list(chain(*chunk)))
    return answers


class Readers:
    """Read-only connections to one database, lent to whichever thread reads.

    Lending, not one for each thread: threads come and go, and none leaves a connection behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a read transaction: all that is read in the block is of one moment.

        Raises:
            Stopped: The database was closed.
            StoreError: As `translated`.
        """
        with self.connection() as con:
            con.execute("BEGIN")
            yield con

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection outside any transaction, for a single question; raises as `snapshot`."""
        with translated(self._path):
            con = self._borrow()
            try:
                yield con
            finally:
                self._give_back(con)

    def _borrow(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise Stopped(f"{self._path} is closed")
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _connect(self) -> sqlite3.Connection:
        address = f"file:{quote(os.fsencode(self._path))}?mode=ro"
        con = sqlite3.connect(address, uri=True, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            _configure(con, _READER_BYTES)
            con.execute("PRAGMA query_only = ON")
            con.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            con.close()
            raise
        return con

    def _give_back(self, con: sqlite3.Connection) -> None:
        try:
            if con.in_transaction:
                con.execute("ROLLBACK")
        except sqlite3.Error:
            con.close()
            return
        with self._lock:
            if not self._closed:
                self._idle.append(con)
                return
        con.close()

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for con in idle:
            con.close()


def complaint(con: sqlite3.Connection, *, thorough: bool, budget_s: float) -> str | None:
    """The first damage that SQLite's own check finds; None when it finds none within `budget_s`.

    Args:
        con: The database.
        thorough: Compare indexes with their tables too (`integrity_check`), not the pages' structure alone.
        budget_s: When to give up, seconds.
    """
    deadline = time.monotonic() + budget_s
    con.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        (verdict,) = con.execute(f"PRAGMA {'integrity' if thorough else 'quick'}_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        con.set_progress_handler(None, 0)
    return None if verdict == "ok" else " ".join(str(verdict).removeprefix("*** in database main ***").split())


def set_aside(path: Path, now_s: float, label: str = "corrupt") -> Path:
    """Rename a closed database, with its log, to `<name>.<label>-<UTC time>`; where it lies now. Nothing is deleted.

    Raises:
        StoreFull: The folder cannot be written.
    """
    return rename_database(path, f"{path.name}.{label}-{datetime.fromtimestamp(now_s, UTC):%Y%m%dT%H%M%SZ}")


def rename_database(path: Path, name: str) -> Path:
    """Rename a closed database, with its log, inside its folder; `.2` and so on is added to a name that is taken."""
    target, n = path.with_name(name), 1
    while target.exists():
        n += 1
        target = path.with_name(f"{name}.{n}")
    try:
        for suffix in ("", "-wal", "-shm"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                source.rename(target.with_name(target.name + suffix))
        sync_folder(path.parent)
    except OSError as error:
        raise StoreFull(f"{path} cannot be set aside: {error}") from error
    return target


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
