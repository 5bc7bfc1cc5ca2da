"""Files: paths, contents and what the file system says of them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import NamedTuple, NewType

FilePath = NewType("FilePath", bytes)
"""An absolute path as the file system spells it (`os.fsencode`): names need not be UTF-8."""


def is_at_or_below(path: bytes, folder: bytes) -> bool:
    """Whether a path is a folder or lies in it, however deep; by its name alone."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


ContentHash = NewType("ContentHash", bytes)
"""SHA-256 of a file's whole content, 32 bytes; `.hex()` is the public id of an image and what `sha256sum` prints."""

MOVED_AWAY = "a folder was moved away"
"""Reason of a scan that the kernel vouches for: what is missing below the folder is gone, however much it is."""


def display_path(path: FilePath) -> str:
    """The path for people and JSON: bytes that are not UTF-8 are shown as escapes."""
    return path.decode("utf-8", "backslashreplace")


def content_hash(data: bytes) -> ContentHash:
    """The content hash of a whole file held in memory."""
    return ContentHash(hashlib.sha256(data).digest())


class Stamp(NamedTuple):
    """What the file system says of a file. Equal stamps mean the same bytes; a rename changes only `ctime_ns`."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class FileContent:
    """A whole file as it stood at one moment."""

    stamp: Stamp
    hash: ContentHash
    data: bytes = field(repr=False)


class Settled(NamedTuple):
    """A dirty path that has come to rest. `stamp` is None when no regular file is there any more."""

    path: FilePath
    stamp: Stamp | None
