"""What was done over the last seconds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

WINDOW_S: Final = 10.0


class _Batch(NamedTuple):
    ended_at: float
    n: int
    seconds: float


class Meter:
    """Pictures a second and share of time at work over the last ten seconds. Safe in any thread."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_at = clock()
        self._batches: deque[_Batch] = deque()
        self._lock = threading.Lock()

    def add(self, n: int, seconds: float) -> None:
        """A batch of n pictures has just ended after so many seconds."""
        with self._lock:
            self._batches.append(_Batch(self._clock(), n, seconds))
            self._forget()

    @property
    def rate_per_s(self) -> float:
        with self._lock:
            return sum(batch.n for batch in self._forget()) / self._span_s

    @property
    def busy_share(self) -> float:
        """0 to 1."""
        with self._lock:
            return min(1.0, sum(batch.seconds for batch in self._forget()) / self._span_s)

    @property
    def _span_s(self) -> float:
        """The window, or the time since the start while that is shorter."""
        return min(WINDOW_S, max(self._clock() - self._started_at, 1e-3))

    def _forget(self) -> deque[_Batch]:
        oldest = self._clock() - WINDOW_S
        while self._batches and self._batches[0].ended_at < oldest:
            self._batches.popleft()
        return self._batches
