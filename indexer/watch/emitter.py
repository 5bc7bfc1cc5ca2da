"""The thread that looks after one watched folder."""

from __future__ import annotations

import logging
import os
import stat
import sys
import threading
import time
from typing import Literal, NamedTuple, TypeAlias

from watchdog.events import FileSystemEvent
from watchdog.observers.api import EventEmitter, EventQueue, ObservedWatch

from indexer.types import FilePath, display_path
from indexer.watch.accept import Exclude
from indexer.watch.hints import Hints
from indexer.watch.mounts import Mount, mount_of, mounts, mounts_below

if sys.platform == "linux":
    from indexer.watch.inotify import InotifyTree, WatchLimitError

logger = logging.getLogger(__name__)

Polling: TypeAlias = Literal["auto", "always", "never"]

# After the watch limit was met, events are tried again this much later: other programs may have given watches back.
_RETRY_S = 600.0


class HintsEvent(FileSystemEvent):
    """A batch of hints on its way through watchdog's queue."""

    def __init__(self, folder: FilePath, hints: Hints) -> None:
        super().__init__(folder)
        self.hints = hints

    # The queue drops an event that equals the one before it, and events of one folder are equal by default.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class _Place(NamedTuple):
    """What must stay as it is for the watches to hold: the folder and the file systems at and below it."""

    device: int
    inode: int
    mount: Mount | None
    below: tuple[Mount, ...]


class FolderEmitter(EventEmitter):
    """Brings hints about one folder, by events or by polling, through its removal, return, unmount and remount.

    Whenever events begin, or may have been missed, it asks for a rescan of the folder. While the folder is not there,
    it says nothing.

    Args:
        event_queue, watch, event_filter: As watchdog's observer gives them.
        timeout: Time between two checks that the folder is still the same, seconds.
        exclude: What to leave out.
        polling: Whether to ask for rescans instead of reading events; `auto` does so on network file systems. Too few
            watches lead to it in any case.
        poll_s: Time between two such rescans, seconds.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        timeout: float = 1.0,
        event_filter: list[type[FileSystemEvent]] | None = None,
        exclude: Exclude,
        polling: Polling = "auto",
        poll_s: float = 10.0,
    ) -> None:
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self.folder = FilePath(os.fsencode(watch.raw_path))
        self.state = "starting"
        self.name = f"watch {display_path(self.folder)}"
        self._exclude = exclude
        self._polling = polling
        self._poll_s = poll_s
        self._reason = "start"
        self._place: _Place | None = None
        self._tree: InotifyTree | None = None
        self._checked_s = 0.0
        self._retry_s = float("inf")
        self._wake: int | None = None
        self._wake_lock = threading.Lock()

    # ------------------------------------------------------------ life

    def on_thread_start(self) -> None:
        if sys.platform == "linux":
            self._wake = os.eventfd(0)

    def on_thread_stop(self) -> None:
        with self._wake_lock:
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._let_go("stopped", "")
            with self._wake_lock:
                if self._wake is not None:
                    os.close(self._wake)
                    self._wake = None

    def queue_events(self, timeout: float) -> None:
        try:
            if self._place is None:
                self._begin(timeout)
            elif self._tree is not None:
                self._listen(self._tree, timeout)
            else:
                self._poll()
        except Exception as e:  # a worker's loop: begin again
            logger.exception("watching %s failed", display_path(self.folder))
            self._let_go(f"failed: {e}", "watching failed")
            self.stopped_event.wait(timeout)

    # ------------------------------------------------------------ steps

    def _begin(self, timeout: float) -> None:
        place = _place(self.folder)
        if place is None:
            self._fail("missing: the folder is not there", "the folder is back", timeout)
            return
        why_not = self._why_not_events(place)
        if why_not is not None:
            self.state = why_not
        elif not self._open_tree(timeout):
            return
        logger.info("%s: %s", display_path(self.folder), self.state)
        self._place, self._checked_s = place, time.monotonic()
        self._emit(Hints(rescans={self.folder: self._reason}))

    def _why_not_events(self, place: _Place) -> str | None:
        if self._polling == "always" or sys.platform != "linux":
            return "polling"
        if self._polling == "auto" and place.mount is not None and place.mount.remote:
            return f"polling: a network file system ({place.mount.kind}) sends no events"
        return None

    def _open_tree(self, timeout: float) -> bool:
        """Read events, or poll if there are too few watches; False if neither is possible now."""
        try:
            self._tree = InotifyTree(self.folder, self._exclude)
        except WatchLimitError as e:
            self._limit(e)
        except OSError as e:
            self._fail(f"failed: {e.strerror}", "the folder can be read again", timeout)
            return False
        else:
            self.state = "events"
            if self._wake is not None:
                self._tree.wake_by(self._wake)
        return True

    def _fail(self, state: str, reason: str, timeout: float) -> None:
        """Nothing can be watched now; try again later, then for this reason."""
        if state != self.state:
            logger.warning("%s: %s", display_path(self.folder), state)
        self._let_go(state, reason)
        self.stopped_event.wait(timeout)

    def _limit(self, error: WatchLimitError) -> None:
        """Give the watches back and poll."""
        self._close_tree()
        self.state = f"polling: {error}"
        self._retry_s = time.monotonic() + _RETRY_S

    def _listen(self, tree: InotifyTree, timeout: float) -> None:
        try:
            hints = tree.read(timeout)
        except WatchLimitError as e:
            logger.warning("%s: %s", display_path(self.folder), e)
            self._limit(e)
            hints = Hints(rescans={self.folder: "watch limit reached"})
        if hints:
            self._emit(hints)
        if tree.lost:
            logger.warning("%s: events may be missing: %s", display_path(self.folder), tree.lost)
            self._let_go("events", tree.lost)
        elif time.monotonic() >= self._checked_s + timeout:
            self._check()

    def _poll(self) -> None:
        self.stopped_event.wait(self._poll_s)
        self._check()
        if self._place is not None and time.monotonic() >= self._retry_s:
            self._retry_s = float("inf")
            self._let_go(self.state, "events are tried again")
        elif self._place is not None and self.should_keep_running():
            self._emit(Hints(rescans={self.folder: "polling"}))

    def _check(self) -> None:
        """Begin anew if the folder, or a file system in it, is another one than before."""
        self._checked_s = time.monotonic()
        if _place(self.folder) != self._place:
            self._let_go(self.state, "the folder or a file system in it was exchanged")

    def _let_go(self, state: str, reason: str) -> None:
        """Watch no more; the next step begins anew, for this reason."""
        self.state, self._reason, self._place = state, reason, None
        self._close_tree()

    def _close_tree(self) -> None:
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def _emit(self, hints: Hints) -> None:
        self.queue_event(HintsEvent(self.folder, hints))


def _place(folder: FilePath) -> _Place | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    table = mounts()
    return _Place(status.st_dev, status.st_ino, mount_of(folder, table), mounts_below(folder, table))
