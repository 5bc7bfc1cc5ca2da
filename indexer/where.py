"""Which images may be answered: a `Where`, made ready to be held against files and pictures.

Patterns of paths are those of `indexer.pattern`, `**` as a whole part only. One that begins with "/" is held against
the whole path, one with "/" inside it against the path relative to each watched folder, one without against every name
below one (`./name` binds it to the top). What lies in a folder that matches, matches.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from indexer.errors import InputError
from indexer.pattern import PatternError, literal_head, translate_untrusted
from indexer.types import ANY, FilePath, ImageInfo, Range, Where

FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif")
"""What a picture's format may be."""

_SAME = {"jpg": "jpeg", "tif": "tiff"}

_OF_PICTURES = ("width_px", "height_px", "megapixels", "aspect", "size_bytes")


class Filter:
    """A `Where`, ready for use; equal ones are interchangeable.

    Args:
        where: What is wanted.
        folders: The watched folders, which relative patterns are relative to.

    Attributes:
        formats: Wanted formats in small letters; empty: any.
        by_file: Whether anything is asked of paths and their times.
        by_picture: Whether anything is asked of pictures.
        roots: Folders that every wanted file lies in or below; None: anywhere.

    Raises:
        InputError: A pattern, a range or a format cannot be used.
    """

    def __init__(self, where: Where, folders: Sequence[FilePath] = ()) -> None:
        self.where = where
        self.folders = tuple(folder.rstrip(b"/") for folder in folders) or (b"",)
        _check_ranges(where)
        self.formats = tuple(sorted({_format(name) for name in where.format}))
        self._path = _compile("path", where.path, self.folders)
        self._not_path = _compile("not_path", where.not_path, self.folders)
        self.by_file = bool(where.path or where.not_path or where.modified_ns != ANY)
        self.by_picture = bool(self.formats) or any(getattr(where, name) != ANY for name in _OF_PICTURES)
        self.roots = tuple(sorted({root for p in where.path for root in _roots(p, self.folders)})) or None

    @property
    def key(self) -> tuple[Where, tuple[bytes, ...]]:
        """The same for filters that take the same."""
        return self.where, self.folders

    def takes_folder(self, folder: bytes) -> bool | None:
        """Whether paths in a folder fit `path` and `not_path`; None: each is to be asked by itself."""
        if self._not_path is not None and self._not_path.match(folder):
            return False
        if self._path is None or self._path.match(folder):
            return True if self._not_path is None else None
        return None

    def takes_path(self, path: bytes) -> bool:
        """Whether a path fits `path` and `not_path`."""
        if self._not_path is not None and self._not_path.match(path):
            return False
        return self._path is None or self._path.match(path) is not None

    def takes_file(self, path: bytes, mtime_ns: int) -> bool:
        """Whether a file's path and time fit."""
        return holds(self.where.modified_ns, mtime_ns) and self.takes_path(path)

    def takes_picture(self, info: ImageInfo) -> bool:
        """Whether a picture's measures and format fit."""
        where = self.where
        return (
            holds(where.width_px, info.width_px)
            and holds(where.height_px, info.height_px)
            and holds(where.size_bytes, info.size_bytes)
            and holds(where.megapixels, info.width_px * info.height_px / 1e6)
            and (where.aspect == ANY or holds(where.aspect, info.width_px / max(info.height_px, 1)))
            and (not self.formats or info.format.lower() in self.formats)
        )


def holds(range: Range, value: float) -> bool:
    """Whether the value lies in the range."""
    return (range.least is None or value >= range.least) and (range.most is None or value <= range.most)


def _check_ranges(where: Where) -> None:
    for name in ("modified_ns", *_OF_PICTURES):
        least, most = getattr(where, name)
        if least is not None and most is not None and not least <= most:
            shown = name.rpartition("_")[0] if name.endswith(("_ns", "_px")) else name
            raise InputError(f"where: the least {shown} is above the most, so nothing can match; swap them")


def _format(name: str) -> str:
    wanted = name.strip().lower()
    wanted = _SAME.get(wanted, wanted)
    if wanted not in FORMATS:
        raise InputError(f"where.format: {name!r} is none of {', '.join(FORMATS)}")
    return wanted


def _compile(member: str, patterns: Sequence[str], folders: Sequence[bytes]) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    below = b"(?:" + b"|".join(re.escape(folder) for folder in folders) + b")/"
    try:
        parts = [_expression(pattern, below) for pattern in patterns]
    except PatternError as e:
        raise InputError(f"where.{member}: {e}") from e
    return re.compile(b"|".join(parts), re.DOTALL)


def _expression(pattern: str, below: bytes) -> bytes:
    plain = _plain(pattern)
    if plain.startswith("/"):
        return b"/" + translate_untrusted(plain[1:])
    if _is_name(pattern):
        return below + rb"(?>(?:[^/]+/)*?" + translate_untrusted(plain) + b")"
    return below + translate_untrusted(plain)


def _roots(pattern: str, folders: Sequence[bytes]) -> list[bytes]:
    """Folders in or below which every file lies that can match."""
    plain = _plain(pattern)
    if _is_name(pattern):
        return list(folders)
    head = os.fsencode(literal_head(plain))
    heads = [head] if plain.startswith("/") else [folder + b"/" + head for folder in folders]
    return [each.rpartition(b"/")[0] for each in heads]


def _is_name(pattern: str) -> bool:
    return "/" not in pattern.rstrip("/")


def _plain(pattern: str) -> str:
    """Without "./" before it and "/" behind it."""
    plain = pattern.removeprefix("./").rstrip("/")
    if not plain:
        raise PatternError(f"{pattern!r} names nothing; name a folder, or leave it out")
    if "\0" in plain or any("\ud800" <= c < "\udc80" or "\udcff" < c <= "\udfff" for c in plain):
        raise PatternError(f"{pattern!r} holds a character that no name does; remove it")
    if {"", ".", ".."} & set(plain.removeprefix("/").split("/")):
        raise PatternError(f'{pattern!r} has an empty, "." or ".." part; write it without')
    return plain
