"""Seals: a checksum in every row, because SQLite keeps none and a flipped bit reads as another value.

A seal is a CRC-32 of everything in the row that decides an answer; `detail` and `recorded_at`, which only people read,
are not covered.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from zlib import crc32

from indexer.errors import StoreCorrupt
from indexer.types import ImageInfo, Stamp

Number = int | str
"""A whole number as a column holds it: text where it does not fit 64 bits."""

NO_SEAL = -1
"""What no row carries."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


def to_columns(stamp: Stamp) -> tuple[Number, ...]:
    """The stamp's five numbers as columns."""
    if min(stamp) >= _LOWEST and max(stamp) <= _HIGHEST:
        return stamp
    return tuple(to_column(value) for value in stamp)


def to_column(value: int) -> Number:
    """The number as a column."""
    return value if _LOWEST <= value <= _HIGHEST else str(value)


def from_columns(device: Number, inode: Number, size_bytes: Number, mtime_ns: Number, ctime_ns: Number) -> Stamp:
    """The stamp that five columns hold; raises ValueError for text that is no number."""
    return Stamp(int(device), int(inode), int(size_bytes), int(mtime_ns), int(ctime_ns))


def file_seal(folder: bytes, name: bytes, stamp: Stamp, content_id: int | None, reason: str | None) -> int:
    """Seal of a `file` row; `NO_SEAL` for values of other types than the columns'."""
    try:
        facts = b"%d %d %d %d %d %d %b %b" % (*stamp, content_id or 0, (reason or "").encode(), folder)
        return crc32(name, crc32(facts))
    except (TypeError, AttributeError):
        return NO_SEAL


def content_seal(vector_id: int, hash: bytes, info: ImageInfo) -> int:
    """Seal of a `content` row; `NO_SEAL` for values of other types than the columns'."""
    try:
        return crc32(b"%d %b %d %d %d %b" % (vector_id, hash, *info[1:], info.format.encode()))
    except (TypeError, AttributeError):
        return NO_SEAL


def read_meta(con: sqlite3.Connection, key: str) -> bytes | None:
    """A value of the `meta` table, None when it has none; raises `StoreCorrupt` when its seal is broken."""
    row = con.execute("SELECT value, seal FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None:
        return None
    value, seal = row
    if crc32(value, crc32(key.encode())) != seal:
        raise StoreCorrupt(f"the catalogue's own note {key!r} fails its checksum")
    return bytes(value)


def write_meta(con: sqlite3.Connection, values: Mapping[str, bytes]) -> None:
    """Set values of the `meta` table, inside the caller's transaction."""
    con.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)",
        [(key, value, crc32(value, crc32(key.encode()))) for key, value in values.items()],
    )
