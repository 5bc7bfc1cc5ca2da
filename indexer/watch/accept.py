"""Which paths are left out, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from indexer.errors import ConfigError
from indexer.pattern import PatternError, translate
from indexer.types import FilePath


class Exclude:
    """Names and paths to be left out, compiled once.

    A pattern without "/" is held against the name of every file and folder below a watched folder, one with "/" against
    the path relative to the watched folder. `*`, `?` and `[...]` match within a name, `**` crosses folders. What is
    below an excluded folder is excluded. Upper and lower case differ.

    Args:
        patterns: Shell patterns; a leading "/" binds to the watched folder, a trailing one is ignored.
        folders: The watched folders, none inside another.

    Raises:
        ConfigError: A pattern cannot be used.
    """

    def __init__(self, patterns: Sequence[str], folders: Sequence[FilePath]) -> None:
        self.folders = tuple(folders)
        self._patterns = tuple(patterns)
        names = [pattern.rstrip("/") for pattern in patterns if "/" not in pattern.rstrip("/")]
        places = [pattern.strip("/") for pattern in patterns if "/" in pattern.rstrip("/")]
        for pattern in patterns:
            _check(pattern)
        # Most patterns are a name, a beginning or an ending, which need no regular expression: ten times as fast.
        plain = [name for name in names if not re.search(r"[*?\[]", name)]
        endings = [name for name in names if re.fullmatch(r"\*[^*?\[]*", name)]
        beginnings = [name for name in names if re.fullmatch(r"[^*?\[]+\*", name)]
        other = [name for name in names if name not in {*plain, *endings, *beginnings}]
        self._plain = frozenset(map(os.fsencode, plain))
        self._endings = tuple(os.fsencode(name[1:]) for name in endings)
        self._beginnings = tuple(os.fsencode(name[:-1]) for name in beginnings)
        self._name = _compile(other, rb"\Z")
        self._place = _compile(places, rb"(?:/|\Z)")
        self.has_places = bool(places)
        self._prefixes = tuple(folder.rstrip(b"/") + b"/" for folder in folders)

    def excludes(self, path: FilePath) -> bool:
        """Whether this path, or a folder above it, is left out; False outside the watched folders."""
        relative = self.relative(path)
        if relative is None:
            return False
        return any(map(self.excludes_name, relative.split(b"/"))) or self.excludes_place(path)

    def rule(self, path: FilePath) -> str | None:
        """The first pattern that leaves this path, or a folder above it, out: for people who ask why."""
        return next((each for each in self._patterns if Exclude([each], self.folders).excludes(path)), None)

    def excludes_entry(self, path: FilePath, name: bytes) -> bool:
        """As `excludes`, when the folder that holds `path` is known not to be left out; `name` is its last part."""
        return self.excludes_name(name) or (self.has_places and self.excludes_place(path))

    def excludes_name(self, name: bytes) -> bool:
        """Whether a pattern without "/" matches this one name."""
        return (
            name.endswith(self._endings)
            or name.startswith(self._beginnings)
            or name in self._plain
            or (self._name is not None and self._name.match(name) is not None)
        )

    def excludes_place(self, path: FilePath) -> bool:
        """Whether a pattern with "/" matches this path or a folder above it; `has_places` says if there are any."""
        relative = self.relative(path)
        return self._place is not None and relative is not None and self._place.match(relative) is not None

    def relative(self, path: FilePath) -> bytes | None:
        """The path below its watched folder, or None outside them all."""
        for prefix in self._prefixes:
            if path.startswith(prefix):
                return path[len(prefix) :]
        return None


def _check(pattern: str) -> None:
    if not pattern.strip("/"):
        raise ConfigError(f"watch.exclude: {pattern!r} names nothing; remove it")
    if "\0" in pattern:
        raise ConfigError(f"watch.exclude: {pattern!r} holds a NUL, which no name does; remove it")
    if {"", ".", ".."} & set(pattern.strip("/").split("/")):
        raise ConfigError(f'watch.exclude: {pattern!r} has an empty, "." or ".." part; write it without')


def _compile(patterns: Sequence[str], end: bytes) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    try:
        return re.compile(b"(?:" + b"|".join(map(translate, patterns)) + b")" + end, re.DOTALL)
    except PatternError as e:
        raise ConfigError(f"watch.exclude: {e}") from e
