"""Why a path can be found, or cannot: what the system knows of it, asked in the order in which a path travels."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from indexer.errors import InputError
from indexer.ports import CatalogueReading
from indexer.types import (
    ContentHash,
    Explanation,
    FilePath,
    FileRecord,
    Reason,
    Stamp,
    Standing,
    display_path,
    is_at_or_below,
)

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link, and links are not followed"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)

_WAITING = {
    "settling": (
        Standing.SETTLING,
        "It changed a moment ago and waits to settle: it is read when it was left alone for a while",
    ),
    "open for writing": (Standing.WRITING, "A process still has it open for writing; it is read when that ends"),
    "queued": (Standing.QUEUED, "It is at rest and waits for its turn"),
    "in flight": (Standing.ON_ITS_WAY, "It is being read, decoded, encoded or stored right now"),
}


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who knows something of a path.

    Attributes:
        folders: The watched folders.
        catalogue: What is recorded.
        rule: The pattern that leaves a path out, or None.
        reachable: Whether the path's watched folder is there, and is the one that its files are recorded from.
        look: The stamp of the regular file there, or None; raises OSError.
        has_feature: Whether a content's feature is stored; None: that cannot be known.
        has_row: Whether the index has a row of this id; None: that cannot be known without a server.
        waiting: What the path waits for, as `Settle.state` tells, and for how long, seconds.
        held: Folders whose missing files are not believed to be gone, and why.
        rescan_s: Time between two scans, seconds; None where no service runs.
    """

    folders: Sequence[FilePath]
    catalogue: CatalogueReading
    rule: Callable[[FilePath], str | None]
    reachable: Callable[[FilePath], bool]
    look: Callable[[FilePath], Stamp | None]
    has_feature: Callable[[ContentHash], bool | None]
    has_row: Callable[[int], bool | None] = lambda _id: None
    waiting: Callable[[FilePath], tuple[str | None, float | None]] = lambda _path: (None, None)
    held: Callable[[], Mapping[FilePath, str]] = dict
    rescan_s: float | None = None


def explain(path: FilePath, witnesses: Witnesses) -> Explanation:
    """What is known of a path. The file system is not asked about paths outside the watched folders.

    Raises:
        InputError: The path is not absolute, or cannot be one.
    """
    if not path.startswith(b"/") or 0 in path:
        raise InputError("the path must be absolute, and without NUL")
    return _Case(FilePath(os.path.normpath(path)), witnesses).explain()


class _Case:
    """One path, and what is recorded of it."""

    def __init__(self, path: FilePath, witnesses: Witnesses) -> None:
        self._path = FilePath(b"/" + path.lstrip(b"/"))
        self._ask = witnesses
        self._record = witnesses.catalogue.file(self._path)
        self._known = self._what_is_recorded(self._record)

    def explain(self) -> Explanation:
        ask, path = self._ask, self._path
        folder = next((f for f in ask.folders if is_at_or_below(path, f)), None)
        if folder is None:
            watched = ", ".join(map(display_path, ask.folders))
            return self._say(Standing.OUTSIDE, f"It lies outside the watched folders ({watched})", rule=watched)
        rule = ask.rule(path)
        if rule is not None:
            return self._say(Standing.EXCLUDED, f"It is left out by the pattern {rule!r} in watch.exclude", rule=rule)
        if not ask.reachable(path):
            sentence = f"Its folder {display_path(folder)} cannot be reached, or another disk is mounted there"
            return self._say(Standing.UNREACHABLE, sentence, rule=display_path(folder))
        state, waits_s = ask.waiting(path)
        if state is not None:
            standing, sentence = _WAITING[state]
            return self._say(standing, sentence, waits_s=waits_s)
        return self._explain_at_rest()

    def _explain_at_rest(self) -> Explanation:
        record = self._record
        try:
            stamp = self._ask.look(self._path)
        except OSError as e:
            return self._say(
                Standing.UNREADABLE, "The file system does not let it be looked at", detail=str(e.strerror)
            )
        if stamp is None:
            return self._explain_absence()
        if record is None:
            return self._say(Standing.NOT_SEEN, f"It is there, but nothing is known of it yet{self._next_look()}")
        if record.stamp != stamp:
            return self._say(Standing.CHANGED, f"It has changed since it was recorded{self._next_look()}")
        if record.reason is not None:
            return self._say(Standing.REFUSED, _refusal(record.reason, record.detail, self._ask.rescan_s))
        return self._explain_recorded(record)

    def _explain_absence(self) -> Explanation:
        """No regular file is there. What lies behind a link is not looked at."""
        folders = (
            each for each in _folders_of(self._path) if any(is_at_or_below(each, root) for root in self._ask.folders)
        )
        link = next((each for each in folders if os.path.islink(each) and each not in self._ask.folders), None)
        if link is not None:
            sentence = f"It is reached through the symbolic link {display_path(link)}, and links are not followed"
            return self._say(Standing.NOT_REGULAR, sentence)
        try:
            mode = os.lstat(self._path).st_mode
        except OSError:
            return self._explain_gone()
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "a device")
        return self._say(Standing.NOT_REGULAR, f"It is no regular file, but {kind}")

    def _explain_gone(self) -> Explanation:
        if self._record is None:
            return self._say(Standing.NOT_THERE, "Nothing is there, and nothing is recorded of it")
        held = next((why for folder, why in self._ask.held().items() if is_at_or_below(self._path, folder)), None)
        if held is not None:
            sentence = f"It is missing, but so much is that it is not believed to be gone: {held}"
            return self._say(Standing.HELD, f"{sentence}; if it is: indexer rescan --confirm-gone", detail=held)
        return self._say(Standing.NOT_THERE, f"Nothing is there any more, but it is still recorded{self._next_look()}")

    def _explain_recorded(self, record: FileRecord) -> Explanation:
        assert record.hash is not None
        assert record.vector_id is not None
        name = record.hash.hex()
        if self._ask.has_row(record.vector_id) is False:
            there = self._ask.has_feature(record.hash)
            missing = "its feature is stored, but the index has no row" if there else "neither feature nor row is there"
            return self._say(Standing.NO_ROW, f"It is recorded as {name}, but {missing}; indexer verify --repair mends")
        if self._ask.has_feature(record.hash) is False:
            mend = "the next start, or indexer verify --repair, mends that"
            return self._say(Standing.NO_FEATURE, f"It is recorded as {name}, but its feature is missing; {mend}")
        n_others = len(self._known.same_content)
        others = f", with the same content as {n_others} other path{'s' * (n_others > 1)}" if n_others else ""
        return self._say(Standing.INDEXED, f"It is indexed as {name}{others}")

    # ------------------------------------------------------------ in common

    def _what_is_recorded(self, record: FileRecord | None) -> Explanation:
        known = Explanation(self._path, Standing.INDEXED, searchable=False, sentence="")
        if record is None:
            return known
        known = replace(known, reason=record.reason, detail=record.detail, recorded_at=record.recorded_at)
        if record.vector_id is None or record.hash is None:
            return known
        image = self._ask.catalogue.images([record.vector_id]).get(record.vector_id)
        there = self._ask.has_row(record.vector_id)
        if there is None:
            there = self._ask.has_feature(record.hash) is not False
        return replace(
            known,
            searchable=there and image is not None,
            hash=record.hash,
            vector_id=record.vector_id,
            same_content=tuple(path for path in image.paths if path != self._path) if image else (),
        )

    def _say(
        self,
        standing: Standing,
        sentence: str,
        *,
        rule: str = "",
        waits_s: float | None = None,
        detail: str = "",
    ) -> Explanation:
        expected = (Standing.INDEXED, Standing.NO_FEATURE)
        if self._known.searchable and standing not in expected:
            sentence += "; what is recorded of it can still be found"
        return replace(
            self._known,
            standing=standing,
            sentence=sentence + ".",
            rule=rule,
            waits_s=waits_s,
            detail=detail or self._known.detail,
        )

    def _next_look(self) -> str:
        if self._ask.rescan_s is None:
            return "; no server runs, the next one looks at its start"
        return f"; the next scan, within {self._ask.rescan_s:,.0f} s, looks at it"


def _refusal(reason: Reason, detail: str, rescan_s: float | None) -> str:
    again = "it is tried again when the file changes"
    if reason.transient:
        again = f"it is tried again at every scan{f', each {rescan_s:,.0f} s' if rescan_s else ''}"
    return f"It was refused, {reason.value}{f' ({detail})' if detail else ''}; {again}"


def _folders_of(path: FilePath) -> Iterator[FilePath]:
    """Every folder above a path, the highest first."""
    parts = path.split(b"/")
    return (FilePath(b"/".join(parts[:n])) for n in range(2, len(parts)))
