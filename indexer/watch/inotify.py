"""The kernel's events of one folder tree, read in bulk through watchdog's binding of inotify(7)."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import struct
import time

from watchdog.observers.inotify_c import (
    InotifyConstants,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_init,
    inotify_rm_watch,
)

from indexer.types import MOVED_AWAY, FilePath, display_path
from indexer.watch.accept import Exclude
from indexer.watch.hints import Hints

logger = logging.getLogger(__name__)

_C = InotifyConstants
# No IN_MODIFY: a writer's last close tells once what a hundred of those would, and until then nobody may read the file.
# IN_ATTRIB: a file made readable, a time set back. IN_CREATE: sub-folders, hard links.
_MASK = Mask(
    _C.IN_CREATE | _C.IN_CLOSE_WRITE | _C.IN_MOVED_FROM | _C.IN_MOVED_TO | _C.IN_DELETE | _C.IN_ATTRIB
    | _C.IN_DELETE_SELF | _C.IN_ONLYDIR
)  # fmt: skip
_BELOW = Mask(_MASK | _C.IN_DONT_FOLLOW)
_ROOT = Mask(_MASK | _C.IN_MOVE_SELF)
_NOT_A_FILE = _C.IN_ISDIR | _C.IN_IGNORED | _C.IN_UNMOUNT | _C.IN_DELETE_SELF | _C.IN_MOVE_SELF | _C.IN_Q_OVERFLOW
_HEADER = struct.Struct("iIII")  # watch descriptor, mask, cookie, length of the name that follows
# The kernel's queue (16,384 events by default) in one read: a burst leaves it before it runs over.
_BUFFER_BYTES = 1 << 20
# Readings that follow each other faster than this let events gather: a burst then costs a third of the CPU time, and a
# file's creation and its close are told as one.
_GATHER_S = 0.001


class WatchLimitError(Exception):
    """The system grants no more watches. The message names the setting to raise."""


class InotifyTree:
    """Watches on a folder and all folders below it. Used by one thread.

    Events are hints about a path; what is there now decides. So moves need no pairing, and events that come late or out
    of order do no harm.

    Args:
        root: The folder to watch.
        exclude: Folders and files to leave out.

    Attributes:
        lost: Why events may be missing from now on: make a new tree and compare everything. Empty while all is well.

    Raises:
        WatchLimitError: The tree has more folders than the system grants watches.
        OSError: `root` cannot be watched.
    """

    def __init__(self, root: FilePath, exclude: Exclude) -> None:
        self._root = FilePath(root.rstrip(b"/") + b"/")
        self._real_root = os.path.realpath(root).rstrip(b"/")
        self._exclude = exclude
        self.lost = ""
        # Folders are known by their path with a "/" at the end, which their files' names follow.
        self._folders: dict[WatchDescriptor, FilePath] = {}
        self._watches: dict[FilePath, WatchDescriptor] = {}
        self._inside: dict[FilePath, set[FilePath]] = {}
        self._buffer = bytearray(_BUFFER_BYTES)
        self._read_s = 0.0
        self._descriptor = inotify_init()
        if self._descriptor < 0:
            raise WatchLimitError(_limit_text("max_user_instances"))
        os.set_inheritable(self._descriptor, False)
        os.set_blocking(self._descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        try:
            self._add(self._root, Hints())
        except BaseException:
            self.close()
            raise

    @property
    def n_folders(self) -> int:
        return len(self._folders)

    def wake_by(self, descriptor: int) -> None:
        """End `read`'s wait when this descriptor becomes readable."""
        self._poll.register(descriptor, select.POLLIN)

    def read(self, timeout_s: float) -> Hints:
        """Events so far; waits up to `timeout_s` for the first. Raises `WatchLimitError` for new folders."""
        hints = Hints()
        self._poll.poll(timeout_s * 1000)
        if time.monotonic() < self._read_s + _GATHER_S:
            time.sleep(_GATHER_S)
        self._read_s = time.monotonic()
        try:
            n_bytes = os.readv(self._descriptor, [self._buffer])
        except BlockingIOError:
            return hints
        self._sort(bytes(memoryview(self._buffer)[:n_bytes]), hints)
        return hints

    def close(self) -> None:
        """Give the watches back."""
        os.close(self._descriptor)

    # ------------------------------------------------------------ events

    def _sort(self, events: bytes, hints: Hints) -> None:
        """Turn raw events into hints. A burst's speed is decided here: nothing is made per event but its path."""
        unpack, folders, dirty = _HEADER.unpack_from, self._folders, hints.dirty
        excludes = self._exclude.excludes_entry
        seen: dict[FilePath, bytes] = {}
        at, n_bytes = 0, len(events)
        while at < n_bytes:
            watch, mask, _, length = unpack(events, at)
            begin, at = at + _HEADER.size, at + _HEADER.size + length
            name = events[begin:at].rstrip(b"\0")
            folder = folders.get(watch)
            if mask & _NOT_A_FILE:
                self._sort_other(watch, mask, folder, name, hints)
            elif folder is not None:
                seen[FilePath(folder + name)] = name
        dirty.update((path, None) for path, name in seen.items() if not excludes(path, name))

    def _sort_other(
        self, watch: WatchDescriptor, mask: int, folder: FilePath | None, name: bytes, hints: Hints
    ) -> None:
        if mask & _C.IN_Q_OVERFLOW:
            self.lost = "more events than the kernel's queue holds"
        elif mask & _C.IN_UNMOUNT:
            self.lost = "a file system was unmounted"
        elif folder is None:
            return  # of a folder that we let go
        elif not name:
            if folder == self._root and mask & (_C.IN_DELETE_SELF | _C.IN_MOVE_SELF | _C.IN_IGNORED):
                self.lost = "the folder was removed"
            elif mask & _C.IN_IGNORED:
                self._forget(watch)
        else:
            self._follow(FilePath(folder + name + b"/"), mask, hints)

    def _follow(self, folder: FilePath, mask: int, hints: Hints) -> None:
        """A sub-folder came, went, or was made readable: watch what is there now."""
        path = FilePath(folder[:-1])
        # A deleted one was empty: its files' own events came before.
        if mask & _C.IN_DELETE or (mask & _C.IN_ATTRIB and folder in self._watches) or self._exclude.excludes(path):
            return
        if mask & _C.IN_MOVED_FROM:
            self._drop(folder)
            hints.rescans[path] = MOVED_AWAY
        self._add(folder, hints)

    # ------------------------------------------------------------ watches

    def _add(self, top: FilePath, hints: Hints) -> None:
        """Watch a folder and all below. Each is watched, then listed: what is in it comes by event or by list."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if not self._watch(folder):
                continue
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        path = FilePath(entry.path)
                        if self._exclude.excludes_entry(path, entry.name):
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(FilePath(path + b"/"))
                        elif top != self._root:
                            hints.dirty[path] = None
            except OSError as e:
                logger.debug("%s: %s; its sub-folders are not watched", display_path(folder), e.strerror)

    def _watch(self, folder: FilePath) -> bool:
        """Whether this folder is watched now. Raises for the root what keeps it from being so."""
        # Without the "/" at the end, which would have a link followed.
        path = folder.rstrip(b"/") or b"/"
        watch = inotify_add_watch(self._descriptor, path, _ROOT if folder == self._root else _BELOW)
        if watch >= 0:
            return self._remember(watch, folder)
        error = ctypes.get_errno()
        if error in (errno.ENOSPC, errno.ENOMEM):
            raise WatchLimitError(_limit_text("max_user_watches"))
        if folder == self._root:
            raise OSError(error, os.strerror(error), folder)
        if error not in (errno.ENOENT, errno.ENOTDIR):  # a permission given later is told by IN_ATTRIB
            logger.warning("%s: %s; only scans see changes in it", display_path(folder), os.strerror(error))
        return False

    def _remember(self, watch: WatchDescriptor, folder: FilePath) -> bool:
        """Note a watch's folder; False if it is another folder's, to which a link above this path led just now."""
        before = self._folders.get(watch)
        if before == folder:
            return True
        if before is not None:  # the same folder under an older name
            if os.path.realpath(folder) != self._real_root + folder[len(self._root) - 1 : -1]:
                return False
            self._forget(watch)
        stale = self._watches.get(folder)
        if stale is not None:  # another folder that had this name
            self._forget(stale)
            inotify_rm_watch(self._descriptor, stale)
        self._folders[watch] = folder
        self._watches[folder] = watch
        self._inside.setdefault(_above(folder), set()).add(folder)
        return True

    def _forget(self, watch: WatchDescriptor) -> None:
        folder = self._folders.pop(watch)
        del self._watches[folder]
        siblings = self._inside[_above(folder)]
        siblings.discard(folder)
        if not siblings:
            del self._inside[_above(folder)]

    def _drop(self, top: FilePath) -> None:
        """Let go of a folder and all below: it may be anywhere now."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            waiting += self._inside.get(folder, ())
            watch = self._watches.get(folder)
            if watch is not None:
                self._forget(watch)
                inotify_rm_watch(self._descriptor, watch)


def _above(folder: FilePath) -> FilePath:
    return FilePath(folder[: folder.rstrip(b"/").rfind(b"/") + 1])


def _limit_text(name: str) -> str:
    try:
        with open(f"/proc/sys/fs/inotify/{name}") as file:
            now = file.read().strip()
    except OSError:
        now = "unknown"
    return f"watch limit reached: raise fs.inotify.{name}, now {now} (sysctl)"
