"""Rows of the catalogue read back: those whose seal holds, and a note of the others."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeVar

from indexer.catalogue.seals import Number, content_seal, file_seal, from_columns
from indexer.types import ContentHash, FilePath, FileRecord, ImageInfo, Reason, Stamp

T = TypeVar("T")

# Values bound to one statement: above some hundreds a longer list no longer pays.
_CHUNK = 500

SELECT_CONTENT = "SELECT id, hash, format, width_px, height_px, size_bytes, seal FROM content"

FILE_COLUMNS = (
    "folder, name, device, inode, size_bytes, mtime_ns, ctime_ns, content_id, reason, detail, recorded_at, seal"
)
SELECT_FILE = f"SELECT {FILE_COLUMNS} FROM file"  # noqa: S608 # constants


@dataclass(slots=True)
class Damage:
    """What a reading left out.

    Attributes:
        files: (folder, name, seal) of rows whose seal is broken or whose content is.
        contents: (vector id, seal) of rows whose seal is broken.
        lonely: Vector ids of contents that no sound path holds.
    """

    files: list[tuple[bytes, bytes, int]] = field(default_factory=list)
    contents: list[tuple[int, int]] = field(default_factory=list)
    lonely: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files) + len(self.contents) + len(self.lonely)


class FileRow(NamedTuple):
    """A row as `SELECT_FILE` gives it."""

    folder: bytes
    name: bytes
    device: Number
    inode: Number
    size_bytes: Number
    mtime_ns: Number
    ctime_ns: Number
    content_id: int | None
    reason: str | None
    detail: str
    recorded_at: float
    seal: int

    @property
    def path(self) -> FilePath:
        return FilePath(self.folder.rstrip(b"/") + b"/" + self.name)

    def stamp(self) -> Stamp | None:
        """The stamp, or None when the row is damaged."""
        try:
            stamp = from_columns(*self[2:7])
            reason = None if self.reason is None else Reason(self.reason)
        except (ValueError, TypeError):
            return None
        seal = file_seal(self.folder, self.name, stamp, self.content_id, reason)
        return stamp if seal == self.seal else None


def sound_contents(
    con: sqlite3.Connection, column: str, values: Iterable[object], damage: Damage
) -> dict[int, tuple[ContentHash, ImageInfo]]:
    """Hash and measures of the contents whose column has one of the values, by vector id."""
    wanted = set(values)
    found: dict[int, tuple[ContentHash, ImageInfo]] = {}
    for chunk in _chunks(wanted):
        marks = ",".join("?" * len(chunk))
        for vector_id, hash_, *measures, seal in con.execute(f"{SELECT_CONTENT} WHERE {column} IN ({marks})", chunk):
            info = ImageInfo(*measures)
            if content_seal(vector_id, hash_, info) != seal:
                damage.contents.append((vector_id, seal))
            elif hash_ in wanted or vector_id in wanted:  # a damaged tree leads astray
                found[vector_id] = ContentHash(hash_), info
    return found


def sound_paths(
    con: sqlite3.Connection, ids: Collection[int], damage: Damage
) -> dict[int, list[tuple[FilePath, Stamp]]]:
    """Paths, with their stamps, that hold each of the contents; a content that no sound path holds is left out."""
    paths: defaultdict[int, list[tuple[FilePath, Stamp]]] = defaultdict(list)
    for chunk in _chunks(ids):
        marks = ",".join("?" * len(chunk))
        for row in map(FileRow._make, con.execute(f"{SELECT_FILE} WHERE content_id IN ({marks})", chunk)):
            stamp = row.stamp()
            if stamp is None or row.content_id is None:
                damage.files.append((row.folder, row.name, row.seal))
            elif row.content_id in ids:
                paths[row.content_id].append((row.path, stamp))
    return paths


def sound_records(con: sqlite3.Connection, rows: Iterable[tuple[object, ...]], damage: Damage) -> list[FileRecord]:
    """Rows of `SELECT_FILE` as records."""
    files = [(row, row.stamp()) for row in map(FileRow._make, rows)]
    contents = sound_contents(con, "id", {row.content_id for row, _ in files if row.content_id is not None}, damage)
    records = []
    for row, stamp in files:
        hash_, _ = contents.get(row.content_id or 0, (None, None))
        if stamp is None or (hash_ is None and row.content_id is not None):
            damage.files.append((row.folder, row.name, row.seal))
            continue
        reason = None if row.reason is None else Reason(row.reason)
        records.append(FileRecord(row.path, stamp, hash_, row.content_id, reason, row.detail, row.recorded_at))
    return records


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
