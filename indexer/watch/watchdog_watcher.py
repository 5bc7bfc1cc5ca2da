"""Hints from the file system, through watchdog, with our own reader of the kernel's events below it.

Of 40,000 files written in a burst, watchdog's own reader missed a quarter to four fifths: it makes several objects of
each event and passes them through two queues, while the kernel's runs over. Nor does it tell when sub-folders go
unwatched for want of watches. Its emitter is made to be exchanged: ours reads in bulk and speaks in batches.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver

from indexer.types import FilePath, display_path
from indexer.watch.accept import Exclude
from indexer.watch.emitter import FolderEmitter, HintsEvent, Polling

logger = logging.getLogger(__name__)

OnDirty = Callable[[FilePath], None]
OnRescan = Callable[[FilePath, str], None]

# A thread may hang in a system call on a dead network file system: it is left behind then.
_CLOSE_S = 3.0


class FolderWatcher:
    """Implements `indexer.ports.Watcher`.

    Asks for a rescan of each folder once its watches are in place, so that no change falls between scan and events.

    Args:
        folders: What to watch, sub-folders included; none inside another. They may be missing now and come later.
        exclude: What to leave out.
        on_dirty: Told each path that may have changed, and each folder to be compared, with a "/" at its end, before
            `on_rescan` is; must neither block nor raise.
        on_rescan: Told a folder to compare with what is known, and why. The folder may be gone.
        polling: `always`, `never`, or `auto`: on network file systems.
        poll_s: Time between two rescans of a folder that is polled, seconds.
        check_s: Time between two checks that a folder is still the same, seconds.
    """

    def __init__(
        self,
        folders: Sequence[FilePath],
        exclude: Exclude,
        on_dirty: OnDirty,
        on_rescan: OnRescan,
        polling: Polling = "auto",
        *,
        poll_s: float = 10.0,
        check_s: float = 1.0,
    ) -> None:
        self._observer = BaseObserver(FolderEmitter, timeout=check_s, exclude=exclude, polling=polling, poll_s=poll_s)
        handler = _Handler(on_dirty, on_rescan)
        for folder in folders:
            self._observer.schedule(handler, os.fsdecode(folder), recursive=True)
        self._emitters = [emitter for emitter in self._observer.emitters if isinstance(emitter, FolderEmitter)]

    def start(self) -> None:
        self._observer.start()

    def state(self) -> Mapping[str, str]:
        return {display_path(emitter.folder): emitter.state for emitter in self._emitters}

    def close(self) -> None:
        if self._observer.ident is None:
            return
        for emitter in self._emitters:
            emitter.stop()
        deadline_s = time.monotonic() + _CLOSE_S
        for emitter in self._emitters:
            emitter.join(max(0.0, deadline_s - time.monotonic()))
        hanging = [display_path(emitter.folder) for emitter in self._emitters if emitter.is_alive()]
        if hanging:  # stopping the observer would wait for them for ever; their threads are daemons
            logger.warning("no answer from %s; its watch is left behind", ", ".join(hanging))
            return
        self._observer.stop()
        self._observer.join()


class _Handler(FileSystemEventHandler):
    """Passes hints on. An exception here would end watchdog's dispatch for good."""

    def __init__(self, on_dirty: OnDirty, on_rescan: OnRescan) -> None:
        self._on_dirty = on_dirty
        self._on_rescan = on_rescan

    def dispatch(self, event: FileSystemEvent) -> None:
        if not isinstance(event, HintsEvent):
            return
        for path in event.hints.dirty:
            self._hint(path)
        for folder, reason in event.hints.rescans.items():
            # A scan compares with what is recorded, and so overlooks what is on its way to be recorded.
            self._hint(FilePath(folder + b"/"))
            try:
                self._on_rescan(folder, reason)
            except Exception:
                logger.exception("a rescan of %s was lost", display_path(folder))

    def _hint(self, path: FilePath) -> None:
        try:
            self._on_dirty(path)
        except Exception:
            logger.exception("a hint about %s was lost", display_path(path))
