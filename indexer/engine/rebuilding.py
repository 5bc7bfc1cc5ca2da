"""`rebuild` as a task: rows anew from the cache, and encoding of what is missing or wanted anew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from indexer.engine.task import Summary, Task
from indexer.errors import InputError
from indexer.ports import CatalogueReading
from indexer.restore import Restored
from indexer.types import ContentHash, Progress

# Contents sent through the river together: with their paths far fewer than it holds.
AT_ONCE = 50_000


class Rebuilding:
    """Runs one rebuild at a time in a thread of its own, and tells how far it is.

    Args:
        catalogue: Names the contents.
        restore: Writes every row anew; called with a progress callback.
        bring: Sends contents through the river again, to be encoded anew or because they lack a feature.
        n_on_their_way: How many of their paths have had no outcome yet.
        n_failed: How many of them are as they were before: called once, at the end.
        finished: Called at the end, whatever came out.
        alone: Held while it runs: not beside a verification, which would take what is being written for drifted.
    """

    def __init__(
        self,
        catalogue: CatalogueReading,
        restore: Callable[[Callable[[int, int], None]], Restored],
        bring: Callable[[Sequence[ContentHash], bool], None],
        n_on_their_way: Callable[[], int],
        n_failed: Callable[[Sequence[ContentHash], bool], int],
        finished: Callable[[], None],
        alone: threading.Lock,
    ) -> None:
        self._catalogue = catalogue
        self._restore = restore
        self._bring = bring
        self._n_on_their_way = n_on_their_way
        self._n_failed = n_failed
        self._finished = finished
        self._alone = alone
        self._task = Task("rebuild", "rebuild failed")

    @property
    def progress(self) -> Progress | None:
        """The running or the last rebuild."""
        return self._task.progress

    def start(self, *, reencode: bool) -> Progress:
        """Begin, or join the one that runs.

        Raises:
            InputError: The other kind runs.
            Stopped: The service is going down.
        """
        kind = "reencode" if reencode else "rebuild"
        progress = self._task.start(kind, lambda: self._run(reencode))
        if progress.task != kind:
            raise InputError(f"a {progress.task} is running; ask again when it is done")
        return progress

    def close(self) -> None:
        self._task.close()

    def _run(self, reencode: bool) -> Summary:
        while not self._alone.acquire(timeout=0.2):
            self._task.go_on()
        try:
            return self._rebuild(reencode)
        finally:
            self._alone.release()

    def _rebuild(self, reencode: bool) -> Summary:
        restored = self._restore(self._task.report)
        hashes = self._catalogue.live()[1] if reencode else list(restored.missing)
        n_failed = self._encode(hashes, reencode) if hashes else 0
        self._finished()
        return {
            "live": restored.n_live,
            "restored": restored.n_restored,
            "removed": restored.n_removed,
            "encoded": len(hashes) - n_failed,
            "missing": n_failed,
        }

    def _encode(self, hashes: Sequence[ContentHash], anew: bool) -> int:
        """Send contents through the river and wait; returns how many could not be encoded."""
        n_failed = 0
        for start in range(0, len(hashes), AT_ONCE):
            some = hashes[start : start + AT_ONCE]
            self._bring(some, anew)
            n_paths = n_left = self._n_on_their_way()
            while n_left:
                self._task.report(start + len(some) * (n_paths - n_left) // n_paths, len(hashes))
                self._task.stopping.wait(0.1)
                n_left = self._n_on_their_way()
            n_failed += self._n_failed(some, anew)
        self._task.report(len(hashes) - n_failed, len(hashes))
        return n_failed
