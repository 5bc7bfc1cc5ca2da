"""Long work in the background: one piece at a time, with its progress, and an end when the service goes down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from indexer.errors import Stopped
from indexer.types import Progress

logger = logging.getLogger(__name__)

Summary = dict[str, int | float]


class Task:
    """Runs work in a thread of its own. What goes wrong with it is told in its progress; the service goes on.

    Args:
        name: Of the thread.
        failed: The log's words where the work raised something unforeseen.
    """

    def __init__(self, name: str, failed: str) -> None:
        self._name = name
        self._failed = failed
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = 0.0
        self.stopping = threading.Event()
        self.progress: Progress | None = None
        """The running work's, or the last one's."""

    def start(self, kind: str, work: Callable[[], Summary]) -> Progress:
        """Begin `work`, which returns its summary, or join what runs, of whatever kind that is.

        Raises:
            Stopped: The service is going down.
        """
        with self._lock:
            self.go_on()
            if self.progress is None or not self.progress.running:
                self._ended.clear()
                self._started = time.monotonic()
                self.progress = Progress(kind, True, 0, 0, 0.0, None)
                self._thread = threading.Thread(target=self._run, args=(work,), name=self._name, daemon=True)
                self._thread.start()
            return self.progress

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of what runs; whether it came."""
        return self._ended.wait(timeout_s)

    def close(self) -> None:
        """Have the work end at its next report, and wait for that."""
        with self._lock:
            self.stopping.set()
        if self._thread is not None:
            self._thread.join()

    # ------------------------------------------------------------ for the work

    def go_on(self) -> None:
        """Raise `Stopped` when the service is going down."""
        if self.stopping.is_set():
            raise Stopped("the service is going down")

    def report(self, n_done: int, n_total: int, *, with_eta: bool = True) -> None:
        """Tell how far it is; raises `Stopped` when the service is going down."""
        self.go_on()
        assert self.progress is not None
        rate = n_done / max(time.monotonic() - self._started, 1e-3)
        eta_s = (n_total - n_done) / rate if with_eta and rate > 0 else None
        self.progress = replace(self.progress, n_done=n_done, n_total=n_total, rate_per_s=rate, eta_s=eta_s)

    def _run(self, work: Callable[[], Summary]) -> None:
        summary: Summary = {}
        error = ""
        try:
            summary = work()
        except Stopped as e:
            error = str(e)
        except Exception as e:  # a worker's loop: the reason goes to whoever asks, the service goes on
            logger.exception("%s", self._failed)
            error = str(e) or type(e).__name__
        summary["seconds"] = round(time.monotonic() - self._started, 3)
        assert self.progress is not None
        self.progress = replace(self.progress, running=False, eta_s=0.0, summary=summary, error=error)
        self._ended.set()
