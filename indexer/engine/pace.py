"""How a flood of changes goes: what is done of it, how fast, until when, and what limits it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from indexer.types import Progress

logger = logging.getLogger(__name__)

TELL_AFTER_S: Final = 2.0
"""What is done sooner is not worth a word."""

LOG_S: Final = 10.0
WINDOW_S: Final = 30.0
"""The rate is that of so many seconds."""


class Pace:
    """Looks when it is told to, about each second; its progress is for any thread.

    Args:
        n_pending: Paths known to be dirty and not yet committed.
        n_done: Paths committed since the start.
        limited_by: The stage that sets the pace now.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        n_pending: Callable[[], int],
        n_done: Callable[[], int],
        limited_by: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._n_pending = n_pending
        self._n_done = n_done
        self._limited_by = limited_by
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._logged_at = 0.0
        self.progress: Progress | None = None
        """Of the flood that there is; None while there is none, or it has only begun."""

    def look(self) -> None:
        """See how far it is, and put it into the log now and then."""
        now, n_done, n_pending = self._clock(), self._n_done(), self._n_pending()
        if n_pending == 0:
            self._end(now, n_done)
            return
        if self._began is None:
            self._began = (now, n_done)
            self._logged_at = now
        self._seen.append((now, n_done))
        while now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        began_at, n_before = self._began
        if now - began_at >= TELL_AFTER_S:
            self.progress = self._progress(now, n_done - n_before, n_pending)
        if self.progress is not None and now - self._logged_at >= LOG_S:
            self._logged_at = now
            self._log(self.progress)

    def _progress(self, now: float, n_done: int, n_pending: int) -> Progress:
        since, n_then = self._seen[0]
        rate = (self._seen[-1][1] - n_then) / (now - since) if now > since else 0.0
        return Progress("index", True, n_done, n_done + n_pending, rate, n_pending / rate if rate else None)

    def _log(self, progress: Progress) -> None:
        left = f"{progress.eta_s:,.0f} s left" if progress.eta_s is not None else "no end in sight"
        logger.info(
            "indexing: %d of %d files, %.1f a second, %s, limited by %s",
            progress.n_done, progress.n_total, progress.rate_per_s, left, self._limited_by(),
        )  # fmt: skip

    def _end(self, now: float, n_done: int) -> None:
        if self._began is not None and self.progress is not None:
            began_at, n_before = self._began
            n, seconds = n_done - n_before, now - began_at
            logger.info("indexed %d files in %.1f s, %.1f a second", n, seconds, n / seconds)
        self._began = self.progress = None
        self._seen.clear()
