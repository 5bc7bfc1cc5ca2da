"""The one thread that writes the feature cache."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import diskcache

from indexer.errors import Stopped, StoreCorrupt, StoreFull
from indexer.features.rawdisk import DATABASE, open_cache
from indexer.features.record import LONGEST_BYTES, Salvaged, salvage
from indexer.sqlite import execute_rows, in_our_words, rename_database, set_aside

logger = logging.getLogger(__name__)

T = TypeVar("T")

# As `Cache.set` does it, in half of its time.
_INSERT = "INSERT INTO Cache (key, value, store_time, access_time, raw, mode) VALUES {rows} ON CONFLICT (key, raw) DO"
_UPSERT = (
    _INSERT + " UPDATE SET store_time = excluded.store_time, expire_time = NULL, mode = 1, filename = NULL,"
    " value = excluded.value"
)
_INSERT_NEW = _INSERT + " NOTHING"
_BLOCK_BYTES = 16 << 20


class CacheWriter:
    """Owns diskcache: SQLite bears one writing connection only, and diskcache opens one for each thread.

    A damaged database is set aside, and what is whole in it saved into a new one.

    Args:
        folder: Where the database is.
        clock: Seconds since the epoch.
        on_opened: Called, on the thread, when a database was opened, perhaps in the place of a damaged one.

    Attributes:
        notices: What a person should know, one line each.
    """

    def __init__(self, folder: Path, clock: Callable[[], float], on_opened: Callable[[], None]) -> None:
        self._folder = folder
        self._path = folder / DATABASE
        self._clock = clock
        self._on_opened = on_opened
        self._cache: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="features")
        self.notices: list[str] = []
        try:
            self._do(self._open)
        except BaseException:
            self._thread.shutdown()
            raise

    def put(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Keep values under their keys: durable on return, all or none."""
        self._do(lambda: self._mending(lambda: self._put(rows)))

    def drop(self, rowids: Iterable[int]) -> None:
        """Remove rows by their number."""
        statement = "DELETE FROM Cache WHERE rowid IN (VALUES {rows})"
        self._do(lambda: self._mending(lambda: self._write(statement, [(rowid,) for rowid in rowids])))

    def forget(self, keys: Iterable[str]) -> None:
        """Remove rows by their key."""
        statement = "DELETE FROM Cache WHERE key IN (VALUES {rows}) AND raw = 1"
        self._do(lambda: self._mending(lambda: self._write(statement, [(key,) for key in keys])))

    def mend(self, why: StoreCorrupt, still_needed: Callable[[], bool]) -> None:
        """Begin a new database with what is whole in this one, unless it turns out that this was done meanwhile."""
        self._do(lambda: self._mend(why) if still_needed() else None)

    def close(self) -> None:
        """Close in order. Closing twice is no error."""
        with suppress(Stopped):
            self._do(self._shut)
        self._thread.shutdown()

    def _do(self, task: Callable[[], T]) -> T:
        try:
            future = self._thread.submit(task)
        except RuntimeError as error:
            raise Stopped(f"{self._path} is closed") from error
        return future.result()

    # ------------------------------------------------------------ on the thread

    def _mending(self, task: Callable[[], None]) -> None:
        try:
            task()
        except StoreCorrupt as error:
            self._mend(error)
            task()

    def _put(self, rows: Iterable[tuple[str, bytes]], statement: str = _UPSERT) -> None:
        now = self._clock()
        self._write(statement, [(key, value, now, now, 1, 1) for key, value in rows])

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        if self._cache is None:
            self._open()
        with self._translated(), self._cache.transact():
            execute_rows(self._cache._con, statement, rows)  # noqa: SLF001 # which `transact` locked

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Failures in our words; the connection is left without a transaction.

        It stays open: closing the last connection removes the log, and on a full disk no reader could make another.
        """
        try:
            yield
        except (sqlite3.Error, diskcache.Timeout) as error:
            with suppress(sqlite3.Error):
                if self._cache._con.in_transaction:  # noqa: SLF001
                    self._cache._con.execute("ROLLBACK")  # noqa: SLF001
            if isinstance(error, sqlite3.Error):
                raise in_our_words(error, self._path) from error
            raise StoreFull(f"{self._path} cannot be written: no transaction could begin") from error

    def _open(self) -> None:
        try:
            self._begin()
        except StoreCorrupt as error:
            self._mend(error)
        for unfinished in self._folder.glob(f"{DATABASE}.salvaging-*Z*"):
            if not unfinished.name.endswith(("-wal", "-shm")):
                self._salvage_all(unfinished)

    def _mend(self, why: StoreCorrupt) -> None:
        self._shut()
        aside = set_aside(self._path, self._clock(), "salvaging")
        logger.warning("%s; it is set aside and searched for whole features", why)
        self._begin()
        self._salvage_all(aside)

    def _begin(self) -> None:
        self._cache = open_cache(self._folder)
        self._on_opened()

    def _salvage_all(self, aside: Path) -> None:
        """Save what is whole; the name says `salvaging` until that is done, for a start that was cut off."""
        n_before = len(self._cache)
        values = _whole_values(aside)
        try:
            while batch := list(islice(values, 256)):
                self._put([(f"{v.fingerprint}:{v.hash.hex()}", v.value) for v in batch], _INSERT_NEW)
        except StoreFull as error:
            logger.warning("%s is searched again at the next start: %s", aside, error)
            return
        final = rename_database(aside, aside.name.replace(".salvaging-", ".corrupt-"))
        n_saved = len(self._cache) - n_before
        notice = f"the feature cache was damaged and lies now at {final}; {n_saved} features were saved from it"
        self.notices.append(notice)
        logger.warning("%s", notice)

    def _shut(self) -> None:
        cache, self._cache = self._cache, None
        if cache is not None:
            with suppress(sqlite3.Error):
                cache.close()


def _whole_values(aside: Path) -> Iterator[Salvaged]:
    """Values in a database's log, then in itself, older ones later. A value may come twice.

    Read in blocks: a mapped file on a failing disk would end the process.
    """
    for path in (aside.with_name(aside.name + "-wal"), aside):
        if not path.exists():
            continue
        with path.open("rb") as file:
            tail = b""
            while True:
                try:
                    block = file.read(_BLOCK_BYTES)
                except OSError as error:
                    logger.warning("%s cannot be read at %d: %s", path, file.tell(), error)
                    file.seek(_BLOCK_BYTES, 1)
                    continue
                if not block:
                    break
                yield from salvage(tail + block)
                tail = block[-LONGEST_BYTES:]
