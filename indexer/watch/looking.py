"""What the file system says of a path now."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from indexer.types import FilePath, Stamp
from indexer.watch.accept import Exclude

Lstat = Callable[[FilePath], os.stat_result]


class Look:
    """One look at a batch of paths; made anew for each, because it remembers the folders that it passed.

    Args:
        exclude: What is left out counts as not there; its folders are where links may be passed, none below.
        lstat: As `os.lstat`.
    """

    def __init__(self, exclude: Exclude, lstat: Lstat = os.lstat) -> None:
        self._exclude = exclude
        self._lstat = lstat
        self._real = dict.fromkeys(exclude.folders, True)

    def stamp(self, path: FilePath) -> Stamp | None:
        """The stamp of the regular file at `path`; None if there is none, or it is left out, or reached through a link.

        Raises:
            OSError: The file system does not tell (no permission, an I/O error): nothing is known.
        """
        if self._exclude.excludes(path) or not self._is_real(_folder(path)):
            return None
        status = self._status(path)
        return Stamp.of(status) if status is not None and stat.S_ISREG(status.st_mode) else None

    def _is_real(self, folder: FilePath) -> bool:
        """Whether no folder between the watched one and this is a link: what lies behind a link is not ours."""
        known = self._real.get(folder)
        if known is None:
            if self._exclude.relative(folder) is None:  # outside every watched folder: nothing to hold it against
                return True
            status = self._status(folder) if self._is_real(_folder(folder)) else None
            known = self._real[folder] = status is not None and stat.S_ISDIR(status.st_mode)
        return known

    def _status(self, path: FilePath) -> os.stat_result | None:
        try:
            return self._lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _folder(path: FilePath) -> FilePath:
    return FilePath(path.rpartition(b"/")[0])
