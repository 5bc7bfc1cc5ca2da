"""What every check has in common: it finds, looks again, and mends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from indexer.types import ContentHash, FileContent, FilePath, Finding, Stamp

LOOK_AGAIN_S: Final = 0.25
"""Suspects are looked at again so much later: a batch takes some milliseconds from its features to its rows."""


class Check(Protocol):
    """One kind of comparison."""

    def look(self) -> Iterator[Finding]:
        """What is wrong, certainly: suspects were looked at twice."""
        ...

    def remaining(self, findings: Sequence[Finding]) -> list[Finding]:
        """Those of its own findings that are still so."""
        ...

    def mend(self, findings: Sequence[Finding]) -> Sequence[ContentHash]:
        """Mend its own findings, or begin to; returns contents that must be read and encoded again for it."""
        ...


@dataclass(slots=True)
class Tally:
    """What was looked at. Every step of a check counts here, which is how progress is told."""

    files: int = 0
    contents: int = 0
    features: int = 0
    rows: int = 0
    kept: int = 0
    reencoded: int = 0
    skipped: int = 0

    @property
    def n_done(self) -> int:
        """Steps done, of all kinds."""
        return self.files + self.contents + self.features + self.reencoded + self.skipped


@dataclass(frozen=True, slots=True)
class Ground:
    """The files, as a verification sees them.

    Attributes:
        folders: The watched folders.
        look: The stamp of the regular file at a path that is not left out, or None; raises OSError.
        exists: Whether anything is there.
        read: The whole file; raises `FileNotFoundError`, `FileChanged`, `ImageRefused`.
        doubt: Why missing files in a folder are not believed to be gone; None when they are. Called with how many are
            missing, and how many of these are lost.
        on_its_way: Whether a path is known to have changed.
        patience_s: How long a change may be on its way before anybody knows of it, seconds.
    """

    folders: Sequence[FilePath]
    look: Callable[[FilePath], Stamp | None]
    exists: Callable[[FilePath], bool]
    read: Callable[[FilePath], FileContent]
    doubt: Callable[[FilePath, int, int], str | None]
    on_its_way: Callable[[FilePath], bool] = lambda _path: False
    patience_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Remedy:
    """The way through the river, for what only reading or encoding mends.

    Attributes:
        make_dirty: Has a path looked at.
        encode_anew: Has contents read and encoded again, from every path that is recorded to hold them; those of
            an earlier call are forgotten.
        at_rest: Whether all that was asked for is dealt with.
    """

    make_dirty: Callable[[FilePath], None]
    encode_anew: Callable[[Sequence[ContentHash]], None]
    at_rest: Callable[[], bool]
