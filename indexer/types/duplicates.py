"""Pictures that are the same, or nearly."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from indexer.types.progress import Progress
from indexer.types.records import ImageRecord


class Tier(StrEnum):
    """What makes pictures duplicates: the same bytes, the same picture in other bytes, or a scene that is alike."""

    SAME = "same"
    VARIANT = "variant"
    SIMILAR = "similar"


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Pictures that belong together, the largest first; of the same bytes, one with several paths.

    `score` is the least cosine that joined them.
    """

    score: float
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True, slots=True)
class DuplicatePage:
    """Some groups of one tier.

    Attributes:
        groups: The best first; of the same bytes, those first that waste the most.
        total: Groups there are.
        progress: How far the search for what has changed since is; None when these groups are the newest.
        known: Whether a search has ended yet.
        total_ms: What this answer took.
    """

    groups: tuple[DuplicateGroup, ...]
    total: int
    progress: Progress | None
    known: bool
    total_ms: float
