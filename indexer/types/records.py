"""What goes into the catalogue and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from indexer.types.files import ContentHash, FilePath, Stamp
from indexer.types.images import ImageInfo, Reason


@dataclass(frozen=True, slots=True)
class Found:
    """A path holds a picture whose feature is durable. Committing it is the acknowledgement."""

    path: FilePath
    stamp: Stamp
    hash: ContentHash
    info: ImageInfo


@dataclass(frozen=True, slots=True)
class Refused:
    """A path holds what cannot be searched, and why. Tried again when its stamp changes; see `Reason.transient`."""

    path: FilePath
    stamp: Stamp
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is at this path any more."""

    path: FilePath


Outcome: TypeAlias = Found | Refused | Gone


@dataclass(frozen=True, slots=True)
class Committed:
    """What one catalogue transaction did.

    Attributes:
        seq: Number of the transaction, rising by one with each.
        ids: Vector id of every content named by a `Found` of the batch.
        removed: Ids whose last path went away; they are dead from now on.
    """

    seq: int
    ids: Mapping[ContentHash, int]
    removed: Sequence[int]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """All that the catalogue knows of one path; `hash` and `vector_id` are None for a refused file."""

    path: FilePath
    stamp: Stamp
    hash: ContentHash | None
    vector_id: int | None
    reason: Reason | None
    detail: str
    recorded_at: float
    """When it was committed, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One live content and every path that holds it. `modified_s` is the newest mtime, seconds since the epoch."""

    vector_id: int
    hash: ContentHash
    info: ImageInfo
    paths: tuple[FilePath, ...]
    modified_s: float
    mtimes_ns: tuple[int, ...] = ()
    """Of its paths, in their order."""


@dataclass(frozen=True, slots=True)
class Newest:
    """A page of images, the latest indexed first; `matching` counts all, `before` asks for the next page."""

    images: tuple[ImageRecord, ...]
    matching: int
    before: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of the catalogue: paths with a picture, distinct contents, and refused paths by reason."""

    files: int
    contents: int
    refused: Mapping[Reason, int]
