"""How many pictures go into one batch: as many as fit, and no more than a query will wait for."""

from __future__ import annotations

import logging
from typing import Final

_log = logging.getLogger(__name__)

PATIENCE: Final = 20
"""Full batches that must succeed before a limit lowered by an out-of-memory is doubled again."""

MOST_PATIENCE: Final = 1280
"""However often growing back has failed, it is tried again after this many."""

WEIGHT_OF_LAST: Final = 0.3


class BatchSize:
    """Watches batches and sizes the next. Belongs to one thread; its numbers may be read from others."""

    def __init__(self, largest: int, max_batch_s: float) -> None:
        """Start with single pictures, until the time of one is known.

        Args:
            largest: Pictures in a batch, at most.
            max_batch_s: Seconds that a batch should take at most; one picture is always allowed.
        """
        self._largest = largest
        self._max_batch_s = max_batch_s
        self._fitting = largest
        self._patience = PATIENCE
        self._grown = False
        self._n_good = 0
        self._mean_s: float | None = None
        self._last_s = 0.0

    def limit(self, largest: int) -> None:
        """Hold at most so many pictures from the next batch on."""
        self._largest = self._fitting = largest

    @property
    def now(self) -> int:
        """Size of the next batch, at least 1."""
        if self._mean_s is None:
            return 1
        # One slow batch, such as a device's first, must not keep the next ones small.
        return max(1, min(self._fitting, int(self._max_batch_s / max(self.seconds_per_image, 1e-9))))

    @property
    def seconds_per_image(self) -> float:
        """What a picture takes at present; 0 before the first."""
        return 0.0 if self._mean_s is None else min(self._mean_s, self._last_s)

    def succeeded(self, n: int, seconds: float) -> None:
        """A batch of n took so long."""
        self._last_s = seconds / n
        before_s = self._last_s if self._mean_s is None else self._mean_s
        self._mean_s = before_s + WEIGHT_OF_LAST * (self._last_s - before_s)
        if self._fitting == self._largest or n < self._fitting:
            return
        self._n_good += 1
        if self._n_good >= self._patience:
            self._grow()

    def ran_out(self, n: int) -> None:
        """A batch of n did not fit into memory."""
        smaller = max(1, n // 2)
        if smaller < self._fitting:
            _log.warning("A batch of %d did not fit into the device's memory; going on with %d", n, smaller)
            self._fitting = smaller
        if self._grown:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        self._grown = False
        self._n_good = 0

    def _grow(self) -> None:
        if self._grown:
            self._patience = PATIENCE  # the growth before this one has held
        self._fitting = min(self._largest, 2 * self._fitting)
        self._grown = True
        self._n_good = 0
        _log.info("Batches may hold %d pictures again", self._fitting)
