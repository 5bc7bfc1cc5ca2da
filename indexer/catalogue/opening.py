"""Opening the catalogue's database: sound or set aside, of this version, marked as in use."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits

from indexer.catalogue.rows import SELECT_CONTENT, SELECT_FILE
from indexer.catalogue.schema import Schema, establish
from indexer.catalogue.seals import read_meta, write_meta
from indexer.errors import StoreCorrupt
from indexer.sqlite import complaint, open_writer, set_aside, sync_folder, translated

logger = logging.getLogger(__name__)

CLEAN, SUSPECT, SEQ, NEXT_ID = "clean", "suspect", "seq", "next_id"
"""Keys of the `meta` table: closed in order; damage was met; last transaction; next vector id."""

# SQLite's full check costs a third of a second for the 32 MiB that 100,000 files take. A larger database gets the quick
# one, five times faster, and for no longer than this: after an orderly end, and after any other.
_SMALL_BYTES = 32 << 20
_BUDGET_S = {False: 0.5, True: 10.0}

_BITS_PER_SECOND = 30


@dataclass(frozen=True, slots=True)
class Opened:
    """A database ready for use.

    Attributes:
        con: The writer's connection.
        seq: Number of the last transaction.
        next_id: First vector id to hand out.
        notices: What a person should know, one line each.
    """

    con: sqlite3.Connection
    seq: int
    next_id: int
    notices: tuple[str, ...]


def open_database(path: Path, schema: Schema, now_s: float) -> Opened:
    """Open, make or migrate the database. A damaged one is renamed, never deleted, and a new one is begun.

    Raises:
        StoreTooNew, StoreFull, StoreLocked: As they say; nothing was changed.
    """
    notices: tuple[str, ...] = ()
    try:
        con = _open_sound(path, schema)
    except StoreCorrupt as error:
        aside = set_aside(path, now_s)
        notices = (f"{error}; it lies now at {aside}, and a new catalogue is begun: files are read again, not encoded",)
        logger.warning("%s", notices[0])
        con = _open_sound(path, schema)
    try:
        with translated(path):
            return _begin(con, now_s, notices)
    except BaseException:
        con.close()
        raise


def _open_sound(path: Path, schema: Schema) -> sqlite3.Connection:
    con = open_writer(path)
    try:
        with translated(path):
            if establish(con, schema, path):
                sync_folder(path.parent)
            _check(con, path)
    except BaseException:
        con.close()
        raise
    return con


def _check(con: sqlite3.Connection, path: Path) -> None:
    for query in (SELECT_CONTENT, SELECT_FILE):
        con.execute(f"{query} LIMIT 0")  # a column whose name is damaged is no damage to SQLite's own check
    suspect = read_meta(con, SUSPECT) is not None
    small = path.stat().st_size <= _SMALL_BYTES
    budget_s = float("inf") if suspect else _BUDGET_S[small or read_meta(con, CLEAN) != b"1"]
    found = complaint(con, thorough=suspect or small, budget_s=budget_s)
    if found is not None:
        raise StoreCorrupt(f"{path} is damaged: {found}")


def _begin(con: sqlite3.Connection, now_s: float, notices: tuple[str, ...]) -> Opened:
    """Mark as in use, and choose the first vector id.

    Ids start at the time of opening, so that a catalogue that was lost, restored from a copy or cut short by a damaged
    log does not hand out the ids of rows that an index on disk may still hold. Within the second they start anywhere,
    so that an index that belongs to another store is not taken for this one's.
    """
    seq = int(read_meta(con, SEQ) or 0)
    next_id = max(int(read_meta(con, NEXT_ID) or 1), (int(now_s) << _BITS_PER_SECOND) + randbits(_BITS_PER_SECOND - 1))
    con.execute("BEGIN IMMEDIATE")
    try:
        write_meta(con, {CLEAN: b"0", SEQ: b"%d" % seq, NEXT_ID: b"%d" % next_id})
        con.execute("DELETE FROM meta WHERE key = ?", (SUSPECT,))
        con.execute("COMMIT")
    except BaseException:
        if con.in_transaction:
            con.execute("ROLLBACK")
        raise
    return Opened(con, seq, next_id, notices)
