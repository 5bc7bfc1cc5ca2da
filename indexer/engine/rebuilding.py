"""`rebuild` as a task: rows anew from the cache, and encoding of what is missing or wanted anew."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from indexer.errors import InputError, Stopped
from indexer.ports import CatalogueReading
from indexer.restore import Restored
from indexer.types import ContentHash, Progress

logger = logging.getLogger(__name__)

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
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = 0.0
        self._progress: Progress | None = None

    @property
    def progress(self) -> Progress | None:
        """The running or the last rebuild."""
        return self._progress

    def start(self, *, reencode: bool) -> Progress:
        """Begin, or join the one that runs.

        Raises:
            InputError: The other kind runs.
            Stopped: The service is going down.
        """
        if self._stopping.is_set():
            raise Stopped("the service is going down")
        task = "reencode" if reencode else "rebuild"
        with self._lock:
            if self._progress is None or not self._progress.running:
                self._started = time.monotonic()
                self._progress = Progress(task, True, 0, 0, 0.0, None)
                self._thread = threading.Thread(target=self._run, args=(reencode,), name="rebuild", daemon=True)
                self._thread.start()
            elif self._progress.task != task:
                raise InputError(f"a {self._progress.task} is running; ask again when it is done")
            return self._progress

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, reencode: bool) -> None:
        summary: dict[str, int | float] = {}
        error = ""
        try:
            while not self._alone.acquire(timeout=0.2):
                self._go_on()
            try:
                summary = self._rebuild(reencode)
            finally:
                self._alone.release()
        except Stopped as e:
            error = str(e)
        except Exception as e:  # a worker's loop: the reason goes to whoever asks, the service goes on
            logger.exception("rebuild failed")
            error = str(e) or type(e).__name__
        summary["seconds"] = round(time.monotonic() - self._started, 3)
        assert self._progress is not None
        self._progress = replace(self._progress, running=False, eta_s=0.0, summary=summary, error=error)

    def _rebuild(self, reencode: bool) -> dict[str, int | float]:
        restored = self._restore(self._report)
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
                self._report(start + len(some) * (n_paths - n_left) // n_paths, len(hashes))
                self._stopping.wait(0.1)
                n_left = self._n_on_their_way()
            n_failed += self._n_failed(some, anew)
        self._report(len(hashes) - n_failed, len(hashes))
        return n_failed

    def _go_on(self) -> None:
        if self._stopping.is_set():
            raise Stopped("the service is going down")

    def _report(self, n_done: int, n_total: int) -> None:
        self._go_on()
        assert self._progress is not None
        rate = n_done / max(time.monotonic() - self._started, 1e-3)
        eta_s = (n_total - n_done) / rate if rate > 0 else None
        self._progress = replace(self._progress, n_done=n_done, n_total=n_total, rate_per_s=rate, eta_s=eta_s)
