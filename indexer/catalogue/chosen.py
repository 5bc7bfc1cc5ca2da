"""The contents that pass a filter, straight from the tables."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict

import numpy as np

from indexer.catalogue.opening import SEQ
from indexer.catalogue.seals import read_meta
from indexer.types import ANY, Ids, Range
from indexer.where import Filter

_N_KEPT = 4
"""Answers kept: eight bytes an image each."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

# A time that does not fit 64 bits is kept as text.
_MTIME = "CASE typeof(mtime_ns) WHEN 'integer' THEN mtime_ns ELSE CAST(mtime_ns AS REAL) END"
_IDS = "SELECT id FROM content WHERE"
_HOLDERS = "SELECT content_id FROM file WHERE"
_FILES = "SELECT folder, name, content_id FROM file WHERE (folder = ? OR (folder > ? AND folder < ?)) AND"
_COLUMNS = {
    "width_px": "width_px",
    "height_px": "height_px",
    "size_bytes": "size_bytes",
    "megapixels": "width_px * height_px / 1e6",
    "aspect": "CAST(width_px AS REAL) / max(height_px, 1)",
}


class Chosen:
    """Answers filters, and keeps the last few answers until the catalogue changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[object, tuple[bytes | None, Ids]] = OrderedDict()
        self._lock = threading.Lock()

    def ids(self, con: sqlite3.Connection, wanted: Filter) -> Ids:
        """Vector ids (n,), ascending; `con` is inside a transaction."""
        seq = read_meta(con, SEQ)
        with self._lock:
            known = self._kept.get(wanted.key)
        if known is not None and known[0] == seq:
            return known[1]
        ids = _choose(con, wanted)
        ids.flags.writeable = False
        with self._lock:
            self._kept[wanted.key] = seq, ids
            self._kept.move_to_end(wanted.key)
            while len(self._kept) > _N_KEPT:
                self._kept.popitem(last=False)
        return ids


def _choose(con: sqlite3.Connection, wanted: Filter) -> Ids:
    if not wanted.by_file:
        return _by_picture(con, wanted)
    files = _by_file(con, wanted)
    return np.intersect1d(files, _by_picture(con, wanted), assume_unique=True) if wanted.by_picture else files


def _by_picture(con: sqlite3.Connection, wanted: Filter) -> Ids:
    clauses, values = ["TRUE"], list[float | str]()
    for name, column in _COLUMNS.items():
        _bound(column, getattr(wanted.where, name), clauses, values)
    if wanted.formats:
        clauses.append(f"lower(format) IN ({','.join('?' * len(wanted.formats))})")
        values += wanted.formats
    return _ids(con.execute(f"{_IDS} {' AND '.join(clauses)} ORDER BY id", values))


def _by_file(con: sqlite3.Connection, wanted: Filter) -> Ids:
    # The plus keeps SQLite from walking the index of contents, which leads all over the table.
    clauses, values = ["+content_id IS NOT NULL"], list[float | str]()
    _bound(_MTIME, wanted.where.modified_ns, clauses, values)
    if not (wanted.where.path or wanted.where.not_path):
        return np.unique(_ids(con.execute(f"{_HOLDERS} {' AND '.join(clauses)}", values)))
    parts = []
    for root in wanted.roots or (b"",):
        # `0` follows `/` in ASCII: the folder itself, and all below it.
        places = (root or b"/", root + b"/", root + b"0")
        parts.append(_by_path(con.execute(f"{_FILES} {' AND '.join(clauses)}", [*places, *values]), wanted))
    return np.unique(np.concatenate(parts))


def _by_path(rows: sqlite3.Cursor, wanted: Filter) -> Ids:
    """Contents of (folder, name, content) whose path fits; a folder that fits as a whole is asked once."""
    chosen: list[int] = []
    verdict: bool | None = None
    known, prefix = None, b""
    for folder, name, content in rows:
        if folder != known:
            known, prefix = folder, folder.rstrip(b"/") + b"/"
            verdict = wanted.takes_folder(folder)
        if verdict or (verdict is None and wanted.takes_path(prefix + name)):
            chosen.append(content)
    return np.array(chosen, dtype=np.int64)


def _bound(column: str, range: Range, clauses: list[str], values: list[float | str]) -> None:
    if range == ANY:
        return
    for sign, value in ((">=", range.least), ("<=", range.most)):
        if value is not None:
            clauses.append(f"{column} {sign} ?")
            values.append(value if isinstance(value, float) or _LOWEST <= value <= _HIGHEST else float(value))


def _ids(rows: sqlite3.Cursor) -> Ids:
    return np.fromiter((id for (id,) in rows), dtype=np.int64)
