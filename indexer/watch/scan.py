"""The file system's truth against what is recorded."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping

from indexer.errors import SHORTAGE
from indexer.types import FilePath, Stamp, display_path
from indexer.watch.accept import Exclude

logger = logging.getLogger(__name__)

Known = Callable[[FilePath], Mapping[bytes, Stamp]]


class FolderScanner:
    """Implements `indexer.ports.Scanner` with `os.scandir` and one lstat per file.

    Links are not followed, so there are no loops; other file systems below are entered. Where a folder cannot be read,
    nothing is known of what it holds, and none of it is reported. What is left out, or is no regular file, is reported
    only if it is recorded. A folder below a watched one that is not there has gone, with all that is recorded in it; a
    missing watched folder raises.

    Args:
        exclude: What to leave out, and which folders are watched.
    """

    def __init__(self, exclude: Exclude) -> None:
        self._exclude = exclude

    def scan(
        self, folder: FilePath, known: Known, known_folders: Callable[[FilePath], Iterator[FilePath]]
    ) -> Iterator[FilePath]:
        seen: set[FilePath] = set()
        unreadable: list[bytes] = []
        below = self._exclude.relative(folder) is not None
        waiting = [] if below and self._has_gone(folder) else [folder]
        while waiting:
            here = waiting.pop()
            try:
                yield from self._compare(here, known(here), waiting)
            except (FileNotFoundError, NotADirectoryError):
                if here == folder and not below:
                    raise
            except OSError as e:
                if here == folder or e.errno in SHORTAGE:
                    raise
                logger.warning("%s: %s; what is recorded in it is kept", display_path(here), e.strerror)
                unreadable.append(here + b"/")
            else:
                seen.add(here)
        for recorded in known_folders(folder):
            if recorded not in seen and not (recorded + b"/").startswith(tuple(unreadable)):
                yield from (_join(recorded, name) for name in known(recorded))

    def _has_gone(self, folder: FilePath) -> bool:
        """Whether a folder below a watched one is no more, or is left out. Raises OSError if that cannot be known."""
        root = next(root for root in self._exclude.folders if folder.startswith(root.rstrip(b"/") + b"/"))
        if not stat.S_ISDIR(os.stat(root).st_mode):
            raise NotADirectoryError(root)
        try:
            is_folder = stat.S_ISDIR(os.lstat(folder).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = False
        return not is_folder or self._exclude.excludes(folder)

    def _compare(self, folder: FilePath, recorded: Mapping[bytes, Stamp], below: list[FilePath]) -> Iterator[FilePath]:
        """Files directly in one folder that differ from `recorded`; its sub-folders are appended to `below`."""
        missing = dict(recorded)
        take, excludes_name, has_places = missing.pop, self._exclude.excludes_name, self._exclude.has_places
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if excludes_name(name) or (has_places and self._exclude.excludes_place(FilePath(entry.path))):
                    continue
                try:
                    if entry.is_file(follow_symlinks=False):
                        s = entry.stat(follow_symlinks=False)
                        # A plain tuple equals a Stamp, and costs a third of one.
                        if take(name, None) != (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns):
                            yield FilePath(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        below.append(FilePath(entry.path))
                except FileNotFoundError:
                    continue  # between listing and look: reported if recorded
                except OSError as e:
                    logger.warning(
                        "%s: %s; what is recorded of it is kept", display_path(FilePath(entry.path)), e.strerror
                    )
                    take(name, None)
        yield from (_join(folder, name) for name in missing)


def _join(folder: FilePath, name: bytes) -> FilePath:
    return FilePath(folder.rstrip(b"/") + b"/" + name)
