"""The catalogue on SQLite: what was acknowledged, durably."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection, Error

from indexer.catalogue.batch import apply, fold, remove_lonely_contents
from indexer.catalogue.opening import CLEAN, NEXT_ID, SEQ, SUSPECT, Opened, open_database
from indexer.catalogue.reader import CatalogueReader, by_reason, count
from indexer.catalogue.rows import Damage
from indexer.catalogue.schema import SCHEMA, Schema
from indexer.catalogue.seals import write_meta
from indexer.errors import Stopped, StoreCorrupt, StoreError
from indexer.sqlite import Readers, translated
from indexer.types import Committed, Counts, Outcome

logger = logging.getLogger(__name__)


class SqliteCatalogue(CatalogueReader):
    """The port `Catalogue`. One per database: the caller holds the store's lock.

    Attributes:
        notices: What was mended at opening, one line each, for people.
    """

    def __init__(self, path: Path, opened: Opened, clock: Callable[[], float]) -> None:
        super().__init__(path, Readers(path))
        self._con = opened.con
        self._seq = opened.seq
        self._next_id = opened.next_id
        self._clock = clock
        self._lock = threading.Lock()
        self._closed = False
        self._is_suspect = False
        self.notices = opened.notices
        with translated(path):
            self._set_counts(*count(self._con))

    @classmethod
    def open(cls, path: Path, *, schema: Schema = SCHEMA, clock: Callable[[], float] = time.time) -> SqliteCatalogue:
        """Open or make the catalogue; see `notices` for what had to be mended.

        Args:
            path: The database, in a folder on a local disk.
            schema: Tables and migrations.
            clock: Seconds since the epoch.

        Raises:
            StoreTooNew: A later version of the program made it; nothing was changed.
            StoreFull: No room or no permission to write.
        """
        opened = open_database(path, schema, clock())
        try:
            return cls(path, opened, clock)
        except BaseException:
            opened.con.close()
            raise

    def commit(self, outcomes: Sequence[Outcome]) -> Committed:
        """As the port says; an empty batch is no transaction. Outcomes that a later one replaced get no id."""
        folded = fold(outcomes)
        with self._lock:
            if not folded:
                return Committed(self._seq, {}, [])
            with self._transaction() as con:
                effect = apply(con, folded, self._clock(), self._next_id)
                notes = {SEQ: b"%d" % (self._seq + 1)}
                if effect.next_id != self._next_id:
                    notes[NEXT_ID] = b"%d" % effect.next_id
                write_meta(con, notes)
            self._seq += 1
            self._next_id = effect.next_id
            self._n_refused.update(effect.n_refused)
            counts = self._counts
            self._set_counts(counts.files + effect.n_files, counts.contents + effect.n_contents, self._n_refused)
            return Committed(self._seq, effect.ids, effect.removed)

    def counts(self) -> Counts:
        """As the port says, at once: a commit that waits for a slow disk holds nobody up."""
        return self._counts

    def _set_counts(self, n_files: int, n_contents: int, n_refused: Counter[str]) -> None:
        self._n_refused = n_refused
        self._counts = Counts(n_files, n_contents, by_reason(n_refused))

    def meta_set(self, key: str, value: str) -> None:
        """Keep a short note under a key."""
        with self._lock, self._transaction() as con:
            write_meta(con, {"note:" + key: value.encode()})

    def close(self) -> None:
        """Close in order: the log is folded into the database. Closing twice is no error."""
        super().close()
        with self._lock:
            if self._closed:
                return
            try:
                if not self._is_suspect:
                    with self._transaction() as con:
                        write_meta(con, {CLEAN: b"1"})
            except StoreError as error:
                logger.warning("the catalogue could not be marked as closed in order: %s", error)
            self._closed = True
            self._con.close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Durable when the block ends, undone when it raises; the caller holds the lock."""
        if self._closed:
            raise Stopped(f"{self._path} is closed")
        try:
            with translated(self._path):
                self._con.execute("BEGIN IMMEDIATE")
                try:
                    yield self._con
                    self._con.execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
        except StoreCorrupt:
            self._mark_suspect()
            raise

    def _roll_back(self) -> None:
        try:
            if self._con.in_transaction:
                self._con.execute("ROLLBACK")
        except Error:
            logger.exception("a transaction could not be undone")

    # ------------------------------------------------------------ damage

    def _forget(self, damage: Damage) -> None:
        """Drop damaged rows, so that the next scan finds their paths unrecorded and leads them here again."""
        super()._forget(damage)
        try:
            with self._lock:
                self._drop(damage)
        except StoreError as error:
            logger.warning("damaged rows stay for now: %s", error)

    def _drop(self, damage: Damage) -> None:
        with self._transaction() as con:
            for vector_id, seal in damage.contents:
                if con.execute("DELETE FROM content WHERE id = ? AND seal = ?", (vector_id, seal)).rowcount:
                    con.execute("DELETE FROM file WHERE content_id = ?", (vector_id,))
            # A row that was recorded anew meanwhile has another seal, and stays.
            con.executemany("DELETE FROM file WHERE folder = ? AND name = ? AND seal = ?", damage.files)
            remove_lonely_contents(con, damage.lonely)
            write_meta(con, {SUSPECT: b"1"})
            counted = count(con)
        self._set_counts(*counted)

    def _suspect(self) -> None:
        with self._lock:
            self._mark_suspect()

    def _mark_suspect(self) -> None:
        """Have the next opening look at the whole database."""
        if self._is_suspect or self._closed:
            return
        self._is_suspect = True
        try:
            with self._transaction() as con:
                write_meta(con, {SUSPECT: b"1"})
        except StoreError as error:
            logger.warning("the catalogue is damaged, which could not be noted in it: %s", error)
