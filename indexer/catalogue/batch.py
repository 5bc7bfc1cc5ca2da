"""What one commit does inside its transaction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from indexer.catalogue.seals import content_seal, file_seal, to_columns
from indexer.sqlite import execute_rows
from indexer.types import ContentHash, FilePath, Found, Gone, ImageInfo, Outcome

_UPSERT = (
    "INSERT INTO file VALUES {rows} ON CONFLICT (folder, name) DO UPDATE SET"
    " device = excluded.device, inode = excluded.inode, size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,"
    " ctime_ns = excluded.ctime_ns, content_id = excluded.content_id, reason = excluded.reason,"
    " detail = excluded.detail, recorded_at = excluded.recorded_at, seal = excluded.seal"
)


@dataclass(slots=True)
class Effect:
    """What a batch did.

    Attributes:
        next_id: First vector id that was not handed out.
        ids: Vector id of every content that the batch found.
        removed: Ids whose last path went away.
        n_files: How many more paths hold a picture than before; may be negative.
        n_contents: How many more contents are live.
        n_refused: How many more paths are refused, by reason.
    """

    next_id: int
    ids: dict[ContentHash, int] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    n_files: int = 0
    n_contents: int = 0
    n_refused: Counter[str] = field(default_factory=Counter)


def fold(outcomes: Sequence[Outcome]) -> dict[FilePath, Outcome]:
    """The last outcome of each path."""
    return {outcome.path: outcome for outcome in outcomes}


def split(path: bytes) -> tuple[FilePath, bytes]:
    """Folder and name of a file."""
    folder, _, name = path.rpartition(b"/")
    return FilePath(folder or b"/"), name


def apply(con: sqlite3.Connection, outcomes: Mapping[FilePath, Outcome], recorded_at: float, next_id: int) -> Effect:
    """Record a folded batch; the caller holds the transaction."""
    effect = Effect(next_id)
    _resolve_contents(con, [o for o in outcomes.values() if isinstance(o, Found)], effect)
    left = _note_change(con, outcomes, effect)
    execute_rows(con, _UPSERT, _rows(outcomes, recorded_at, effect.ids))
    gone = [split(outcome.path) for outcome in outcomes.values() if isinstance(outcome, Gone)]
    con.executemany("DELETE FROM file WHERE folder = ? AND name = ?", gone)
    lonely = remove_lonely_contents(con, left)
    effect.removed += lonely
    effect.n_contents -= len(lonely)
    return effect


def remove_lonely_contents(con: sqlite3.Connection, ids: Iterable[int]) -> list[int]:
    """Remove those of the contents that no path holds; their ids."""
    remove = "DELETE FROM content WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM file WHERE content_id = ?1)"
    return [vector_id for vector_id in sorted(ids) if con.execute(remove, (vector_id,)).rowcount]


def _resolve_contents(con: sqlite3.Connection, found: Sequence[Found], effect: Effect) -> None:
    """Give every content its id; make those that are new."""
    wanted: dict[ContentHash, ImageInfo] = {outcome.hash: outcome.info for outcome in found}
    new, changed = [], []
    before = "SELECT hash, id, format, width_px, height_px, size_bytes, seal FROM content WHERE hash IN (VALUES {rows})"
    rows = {row[0]: row[1:] for row in execute_rows(con, before, [(hash_,) for hash_ in wanted])}
    for hash_, info in wanted.items():
        row = rows.get(hash_)
        if row is not None and row[5] != content_seal(row[0], hash_, ImageInfo(*row[1:5])):
            _remove_damaged_content(con, row[0], effect)
            row = None
        if row is None:
            effect.ids[hash_] = effect.next_id
            new.append((effect.next_id, hash_, *info, content_seal(effect.next_id, hash_, info)))
            effect.next_id += 1
            continue
        effect.ids[hash_] = row[0]
        if row[1:5] != info:
            changed.append((*info, content_seal(row[0], hash_, info), row[0]))
    effect.n_contents += len(new)
    execute_rows(con, "INSERT INTO content VALUES {rows}", new)
    con.executemany(
        "UPDATE content SET format = ?, width_px = ?, height_px = ?, size_bytes = ?, seal = ? WHERE id = ?", changed
    )


def _remove_damaged_content(con: sqlite3.Connection, vector_id: int, effect: Effect) -> None:
    """Its paths go too: they seem new to the next scan, and are recorded again."""
    effect.n_files -= con.execute("DELETE FROM file WHERE content_id = ?", (vector_id,)).rowcount
    con.execute("DELETE FROM content WHERE id = ?", (vector_id,))
    effect.n_contents -= 1
    effect.removed.append(vector_id)


def _note_change(con: sqlite3.Connection, outcomes: Mapping[FilePath, Outcome], effect: Effect) -> set[int]:
    """Count what the batch changes; returns the contents that some path leaves."""
    left: set[int] = set()
    before = (
        "WITH batch (in_folder, named) AS (VALUES {rows}) SELECT in_folder, named, content_id, reason"
        " FROM batch CROSS JOIN file ON folder = in_folder AND name = named"
    )
    rows = {row[:2]: row[2:] for row in execute_rows(con, before, [split(path) for path in outcomes])}
    for path, outcome in outcomes.items():
        old_id, old_reason = rows.get(split(path), (None, None))
        new_id = effect.ids[outcome.hash] if isinstance(outcome, Found) else None
        effect.n_files += (new_id is not None) - (old_id is not None)
        if old_reason is not None:
            effect.n_refused[old_reason] -= 1
        if not isinstance(outcome, Found | Gone):
            effect.n_refused[outcome.reason.value] += 1
        if type(old_id) is int and old_id != new_id:
            left.add(old_id)
    return left


def _rows(
    outcomes: Mapping[FilePath, Outcome], recorded_at: float, ids: Mapping[ContentHash, int]
) -> list[tuple[object, ...]]:
    """Rows of the table `file`."""
    rows: list[tuple[object, ...]] = []
    for path, outcome in outcomes.items():
        if isinstance(outcome, Gone):
            continue
        folder, name = split(path)
        content_id, reason, detail = None, None, ""
        if isinstance(outcome, Found):
            content_id = ids[outcome.hash]
        else:
            reason, detail = outcome.reason.value, encodable(outcome.detail)
        seal = file_seal(folder, name, outcome.stamp, content_id, reason)
        row = (folder, name, *to_columns(outcome.stamp), content_id, reason, detail, recorded_at, seal)
        rows.append(row)
    return rows


def encodable(text: str) -> str:
    """The text with lone surrogates, as file names have them, shown as escapes: SQLite's text is UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
