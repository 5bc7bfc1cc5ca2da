"""What verification finds, and where one path stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from indexer.types.files import ContentHash, FilePath
from indexer.types.images import Reason


class Flaw(StrEnum):
    """What verification finds wrong. The value is what people and clients see.

    missing: a live content has no feature or no row. orphaned: a row of no live content. stale: a file differs from
    what is recorded of it. drifted: a row or a feature is not what it should be, or bytes changed under the same stamp.
    damaged: a checksum fails.
    """

    MISSING = "missing"
    ORPHANED = "orphaned"
    STALE = "stale"
    DRIFTED = "drifted"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, named by as much as is known of it."""

    flaw: Flaw
    what: str
    hash: ContentHash | None = None
    vector_id: int | None = None
    path: FilePath | None = None
    mended: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification looked at, found and mended.

    Attributes:
        started_at: Seconds since the epoch.
        seconds: How long it took.
        sample: Images that were to be read and encoded again.
        repair: Whether findings were to be mended.
        files: Recorded files held against the file system.
        contents: Live contents held against features and rows.
        features: Features whose checksum was looked at.
        rows: Rows held against their features, bit for bit.
        kept: Features of contents that went away; no flaw.
        reencoded: Images of the sample that were read and encoded again; the others could not be had.
        found: Findings by flaw.
        mended: How many of them are mended.
        examples: A few findings of each flaw.
        notes: What a person should know besides, one line each.
    """

    started_at: float
    seconds: float
    sample: int
    repair: bool
    files: int
    contents: int
    features: int
    rows: int
    kept: int
    reencoded: int
    found: Mapping[Flaw, int]
    mended: Mapping[Flaw, int]
    examples: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found, or all of it was mended."""
        return self.n_left == 0

    @property
    def n_left(self) -> int:
        """Findings that are not mended."""
        return sum(self.found.values()) - sum(self.mended.values())


class Standing(StrEnum):
    """Where a path stands on its way to being found. The value is what people and clients see."""

    OUTSIDE = "outside"
    EXCLUDED = "excluded"
    UNREACHABLE = "unreachable"
    SETTLING = "settling"
    WRITING = "being_written"
    QUEUED = "queued"
    ON_ITS_WAY = "on_its_way"
    UNREADABLE = "unreadable"
    HELD = "held"
    NOT_THERE = "not_there"
    NOT_REGULAR = "not_regular"
    NOT_SEEN = "not_seen"
    CHANGED = "changed"
    REFUSED = "refused"
    NO_FEATURE = "feature_missing"
    NO_ROW = "row_missing"
    INDEXED = "indexed"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one path, and why it can be found or not.

    Attributes:
        path: The path.
        standing: Where it stands.
        searchable: Whether a search can return it now; while a change is under way, by what it held before.
        sentence: The same for people.
        rule: The pattern or the watched folder that decides.
        waits_s: For how long it has been known to have changed, seconds.
        reason: Why it was refused.
        detail: The same in more words.
        recorded_at: When what is known of it was recorded, seconds since the epoch.
        hash: Its content, as recorded.
        vector_id: Of that content.
        same_content: Other paths that hold the same content.
    """

    path: FilePath
    standing: Standing
    searchable: bool
    sentence: str
    rule: str = ""
    waits_s: float | None = None
    reason: Reason | None = None
    detail: str = ""
    recorded_at: float | None = None
    hash: ContentHash | None = None
    vector_id: int | None = None
    same_content: tuple[FilePath, ...] = ()
