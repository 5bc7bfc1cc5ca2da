"""The catalogue's answers."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from indexer.catalogue.batch import split
from indexer.catalogue.chosen import Chosen
from indexer.catalogue.rows import (
    FILE_COLUMNS,
    SELECT_CONTENT,
    SELECT_FILE,
    Damage,
    sound_contents,
    sound_paths,
    sound_records,
)
from indexer.catalogue.schema import SCHEMA, version_of
from indexer.catalogue.seals import Number, content_seal, from_columns, read_meta, to_column
from indexer.errors import StoreCorrupt, StoreError
from indexer.sqlite import Readers, complaint, execute_rows
from indexer.types import ContentHash, Counts, FilePath, FileRecord, Ids, ImageInfo, ImageRecord, Reason, Stamp
from indexer.where import Filter

logger = logging.getLogger(__name__)

_BY_NAME = f"{SELECT_FILE} WHERE folder = ? AND name = ?"
_BY_NAMES = (
    "WITH wanted (in_folder, named) AS (VALUES {rows})"  # noqa: S608 # constants
    f" SELECT {FILE_COLUMNS} FROM wanted CROSS JOIN file ON folder = in_folder AND name = named"
)

# One seek for each folder, not a look at each file.
_FOLDERS_UNDER = """
    WITH RECURSIVE below (folder) AS (
        SELECT min(folder) FROM file WHERE folder > ?2 AND folder < ?3
        UNION ALL
        SELECT (SELECT min(folder) FROM file WHERE folder > below.folder AND folder < ?3) FROM below
        WHERE below.folder IS NOT NULL
    )
    SELECT min(folder) FROM file WHERE folder = ?1 HAVING min(folder) IS NOT NULL
    UNION ALL
    SELECT folder FROM below WHERE folder IS NOT NULL
"""

_COPIED = """
    SELECT content_id FROM file JOIN content ON content.id = content_id WHERE content_id IS NOT NULL
    GROUP BY content_id HAVING count(*) > 1 ORDER BY (count(*) - 1) * content.size_bytes DESC, content_id
"""

_NEVER = Stamp(0, 0, 0, 0, 0)
_TRANSIENT = {reason.value for reason in Reason if reason.transient}


class CatalogueReader:
    """Reads a catalogue beside its writer, or when there is none. Damaged rows are left out of every answer.

    Args:
        path: The database.
        readers: Connections to it.
    """

    def __init__(self, path: Path, readers: Readers) -> None:
        self._path = path
        self._readers = readers
        self._chosen = Chosen()

    @classmethod
    def open_reader(cls, path: Path) -> CatalogueReader:
        """Open for reading only: no lock is needed, no row is written.

        Raises:
            StoreTooNew: A later version of the program made it.
            StoreError: There is none, it is of an older version, or it cannot be read.
        """
        if not path.exists():
            raise StoreError(f"there is no catalogue at {path}")
        reader = CatalogueReader(path, Readers(path))
        try:
            reader._require_version()
        except BaseException:
            reader.close()
            raise
        return reader

    def _require_version(self) -> None:
        with self._snapshot() as con:
            if version_of(con, SCHEMA, self._path) < SCHEMA.version:
                raise StoreError(
                    f"{self._path} is of an earlier version; start the service once to bring it up to date"
                )

    # ------------------------------------------------------------ by path

    def folder(self, folder: FilePath) -> dict[bytes, Stamp]:
        """As the port says. No seal is looked at: comparing the answer with the file system betrays damage as well."""
        stamps: dict[bytes, Stamp] = {}
        previous, in_order = b"", True
        make = tuple.__new__
        with self._snapshot() as con:
            rows = con.execute(
                "SELECT name, device, inode, size_bytes, mtime_ns, ctime_ns, reason FROM file WHERE folder = ?",
                (_plain(folder),),
            )
            for name, device, inode, size, mtime, ctime, reason in rows:
                if reason is None and type(device) is type(inode) is type(size) is type(mtime) is type(ctime) is int:
                    stamps[name] = make(Stamp, (device, inode, size, mtime, ctime))
                elif type(name) is bytes:
                    stamps[name] = _unusual_stamp(reason, device, inode, size, mtime, ctime)
                in_order &= type(name) is bytes and name > previous
                previous = name
        if not in_order:  # such a row can be met but not found, nor removed
            self._suspect()
        return stamps

    def folders_under(self, root: FilePath) -> Iterator[FilePath]:
        with self._snapshot() as con:
            folders = con.execute(_FOLDERS_UNDER, _range(root)).fetchall()
        for (folder,) in folders:
            yield FilePath(folder)

    def files_under(self, path: FilePath) -> Iterator[FilePath]:
        with self._snapshot() as con:
            itself = con.execute(_BY_NAME, split(_plain(path))).fetchone()
        if itself is not None:
            yield _plain(path)
        for below in self.folders_under(path):
            prefix = below.rstrip(b"/") + b"/"
            for child in self.folder(below):
                yield FilePath(prefix + child)

    def file(self, path: FilePath) -> FileRecord | None:
        return self.files([path]).get(path)

    def files(self, paths: Sequence[FilePath]) -> dict[FilePath, FileRecord]:
        wanted = set(paths)
        with self._sound() as (con, damage):
            rows = execute_rows(con, _BY_NAMES, [split(path) for path in wanted])
            records = sound_records(con, rows, damage)
        return {record.path: record for record in records if record.path in wanted}  # a damaged tree leads astray

    def refused(self, limit: int, offset: int = 0) -> list[FileRecord]:
        query = f"{SELECT_FILE} WHERE reason IS NOT NULL ORDER BY recorded_at DESC LIMIT ? OFFSET ?"
        with self._sound() as (con, damage):
            return sound_records(con, con.execute(query, (limit, offset)).fetchall(), damage)

    # ------------------------------------------------------------ by content

    def hashes_by_stamp(self, stamps: Sequence[Stamp]) -> dict[Stamp, ContentHash]:
        wanted = set(stamps)
        query = f"{SELECT_FILE} WHERE inode IN (VALUES {{rows}}) AND content_id IS NOT NULL"
        with self._sound() as (con, damage):
            rows = execute_rows(con, query, [(to_column(stamp.inode),) for stamp in wanted])
            records = sound_records(con, rows, damage)
        return {record.stamp: record.hash for record in records if record.stamp in wanted and record.hash is not None}

    def ids_of(self, hashes: Sequence[ContentHash]) -> dict[ContentHash, int]:
        with self._sound() as (con, damage):
            found = sound_contents(con, "hash", hashes, damage)
        return {hash_: vector_id for vector_id, (hash_, _) in found.items()}

    def live(self) -> tuple[Ids, list[ContentHash]]:
        ids: list[int] = []
        hashes: list[ContentHash] = []
        with self._sound() as (con, damage):
            rows = con.execute(f"{SELECT_CONTENT} ORDER BY id")
            for vector_id, hash_, kind, width_px, height_px, size_bytes, seal in rows:
                if content_seal(vector_id, hash_, ImageInfo(kind, width_px, height_px, size_bytes)) == seal:
                    ids.append(vector_id)
                    hashes.append(hash_)
                else:
                    damage.contents.append((vector_id, seal))
        if len(set(hashes)) < len(hashes):  # only a damaged index lets a content in twice
            self._suspect()
        return np.array(ids, dtype=np.int64), hashes

    def images(self, ids: Sequence[int]) -> dict[int, ImageRecord]:
        with self._sound() as (con, damage):
            found = sound_contents(con, "id", [int(vector_id) for vector_id in ids], damage)
            paths = sound_paths(con, found, damage)
            damage.lonely += found.keys() - paths.keys()
        records = {}
        for vector_id, held in paths.items():
            hash_, info = found[vector_id]
            held.sort()
            mtimes_ns = tuple(stamp.mtime_ns for _, stamp in held)
            records[vector_id] = ImageRecord(
                vector_id, hash_, info, tuple(path for path, _ in held), max(mtimes_ns) / 1e9, mtimes_ns
            )
        return records

    def matching(self, wanted: Filter) -> Ids:
        """As the port says. No seal is looked at: what is answered of an image is read, and looked at, anyway."""
        with self._snapshot() as con:
            return self._chosen.ids(con, wanted)

    def copied(self) -> Ids:
        """As the port says. No seal is looked at: what is answered of an image is read, and looked at, anyway."""
        with self._snapshot() as con:
            return np.array([id for (id,) in con.execute(_COPIED)], dtype=np.int64)

    def paths_of(self, hashes: Sequence[ContentHash]) -> list[FilePath]:
        with self._sound() as (con, damage):
            held = sound_paths(con, sound_contents(con, "hash", hashes, damage), damage)
        return [path for paths in held.values() for path, _ in paths]

    # ------------------------------------------------------------ the whole

    def counts(self) -> Counts:
        with self._snapshot() as con:
            n_files, n_contents, n_refused = count(con)
        return Counts(n_files, n_contents, by_reason(n_refused))

    def meta_get(self, key: str) -> str | None:
        """A note kept under this key by `meta_set`; None when there is none, or it is damaged."""
        with self._snapshot() as con:
            try:
                value = read_meta(con, f"note:{key}")
            except StoreCorrupt:
                return None
        return None if value is None else value.decode()

    def check(self) -> str | None:
        """Look at the whole database, some seconds for a million files; the first damage found, or None.

        Damage found is mended by the next start.
        """
        with self._snapshot() as con:
            found = complaint(con, thorough=True, budget_s=float("inf"))
        if found is not None:
            self._suspect()
        return found

    def close(self) -> None:
        self._readers.close()

    # ------------------------------------------------------------ damage

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._readers.snapshot() as con:
                yield con
        except StoreCorrupt:
            self._suspect()
            raise

    @contextmanager
    def _sound(self) -> Iterator[tuple[sqlite3.Connection, Damage]]:
        """A moment's view, and a note of the damage met in it, which is seen to afterwards."""
        damage = Damage()
        with self._snapshot() as con:
            yield con, damage
        if damage:
            self._forget(damage)

    def _forget(self, damage: Damage) -> None:
        """Called with what an answer left out."""
        logger.warning("%d rows of the catalogue are damaged and left out", len(damage))

    def _suspect(self) -> None:
        """Called when the database itself proves damaged."""


def count(con: sqlite3.Connection) -> tuple[int, int, Counter[str]]:
    """Paths with a picture, contents, and refused paths by reason."""
    (n_files,) = con.execute("SELECT count(*) FROM file WHERE content_id IS NOT NULL").fetchone()
    (n_contents,) = con.execute("SELECT count(*) FROM content").fetchone()
    refused = con.execute("SELECT reason, count(*) FROM file WHERE reason IS NOT NULL GROUP BY reason").fetchall()
    return n_files, n_contents, Counter(dict(refused))


def by_reason(n_refused: Counter[str]) -> dict[Reason, int]:
    """Counts under their reasons, without zeros and without words that are none."""
    return {reason: n_refused[reason.value] for reason in Reason if n_refused[reason.value] > 0}


def _plain(path: bytes) -> FilePath:
    return FilePath(path.rstrip(b"/") or b"/")


def _range(root: bytes) -> tuple[bytes, bytes, bytes]:
    """The folder itself, and the open range that every path below it lies in: `0` follows `/` in ASCII."""
    prefix = root.rstrip(b"/")
    return prefix or b"/", prefix + b"/", prefix + b"0"


def _unusual_stamp(reason: str | None, *columns: Number) -> Stamp:
    if reason in _TRANSIENT:
        return _NEVER
    try:
        return from_columns(*columns)
    except (ValueError, TypeError):  # damaged: seems changed, and is recorded anew
        return _NEVER
