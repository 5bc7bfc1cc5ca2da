"""diskcache, set up so that it loses nothing and runs nothing.

By default diskcache evicts silently above 1 GiB, forgets acknowledged writes in a power cut, and unpickles what it
reads (CVE-2025-69872). It also remembers settings in the database, so that all of them are given at every opening.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import diskcache

from indexer.errors import StoreCorrupt, StoreError
from indexer.sqlite import complaint, open_writer, translated

DATABASE = "cache.db"

# Of rows of 2.8 kB one would fit a page of 4 KiB, and five fit one of 16. None must be cut: see `record.salvage`.
_PAGE_BYTES = 16_384

# A larger database is not looked through at the start: values have checks of their own, and `FeatureReader.check` comes
# later.
_SMALL_BYTES = 64 << 20
_CHECK_S = 2.0

_SETTINGS = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "none",
    "size_limit": 2**62,
    "cull_limit": 0,
    "sqlite_auto_vacuum": 0,
    "sqlite_cache_size": -8_192,  # KiB
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 2,  # FULL
    "disk_min_file_size": 2**62,
}
_RAW = 1  # diskcache's mode for bytes kept in the row


class RawDisk(diskcache.Disk):  # type: ignore[misc] # diskcache has no types
    """Keeps text keys and bytes in the database itself, and refuses all else that diskcache can: pickles and files."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError("a key is text")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if type(key) is not str or not raw:
            raise StoreCorrupt("a key of the feature cache is no text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:  # noqa: ARG002
        if type(value) is not bytes or read:
            raise TypeError("a value is bytes")
        return 0, _RAW, None, value

    def fetch(self, mode: object, filename: object, value: object, read: object) -> bytes:
        if mode != _RAW or filename is not None or type(value) is not bytes or read:
            raise StoreCorrupt("a value of the feature cache is no bytes")
        return value

    def remove(self, file_path: object) -> None:
        """A row that names a file was planted; what it names is not ours to remove."""


def open_cache(folder: Path) -> Any:
    """The `diskcache.Cache` in a folder, made if need be; it belongs to the calling thread.

    Raises:
        StoreFull: No room or no permission to write.
        StoreCorrupt: The database cannot be used.
    """
    if os.path.expandvars(folder) != os.fspath(folder):
        raise StoreError(f"{folder} cannot hold the feature cache: diskcache would replace the variable in its name")
    path = folder / DATABASE
    with translated(path):
        with closing(open_writer(path, page_bytes=_PAGE_BYTES)) as con:
            _check_if_small(con, path)
            con.execute("CREATE TABLE IF NOT EXISTS Settings (key TEXT NOT NULL UNIQUE, value)")
            con.execute("DELETE FROM Settings WHERE key NOT IN ('count', 'size')")
        return _open_quietly(folder)


def _open_quietly(folder: Path) -> Any:
    cache = diskcache.Cache.__new__(diskcache.Cache)  # in two steps: what fails to open must be closed all the same
    try:
        cache.__init__(os.fspath(folder), timeout=5, disk=RawDisk, **_SETTINGS)
    except BaseException as error:
        with suppress(AttributeError, sqlite3.Error):
            cache.close()
        if isinstance(error, ValueError | TypeError | AttributeError | AssertionError):
            raise StoreCorrupt(f"{folder / DATABASE} is damaged: {error}") from error
        raise
    return cache


def _check_if_small(con: sqlite3.Connection, path: Path) -> None:
    if path.stat().st_size <= _SMALL_BYTES:
        found = complaint(con, thorough=True, budget_s=_CHECK_S)
        if found is not None:
            raise StoreCorrupt(f"{path} is damaged: {found}")
