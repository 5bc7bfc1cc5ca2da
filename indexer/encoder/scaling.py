"""How many encoders there should be: one more when the queue grows old, one less when fewer would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

GROW_AGE_S: Final = 0.5
"""A queue whose first waits so long is more than the encoders keep up with: two batches' time."""

GROW_FOR_S: Final = 5.0
"""For so long, without a break, before there is one more: opening one costs about as much."""

SLACK: Final = 0.6
"""One less must leave the others busy for no more than this share of the time."""

SHRINK_FOR_S: Final = 60.0
"""For so long, without a break, before there is one less. Nor is there one more sooner than this after one less."""


class Scaling:
    """Decides, from looks at the queue, and holds still in between: it never goes up and down in turns.

    Growing asks for work beyond what n can do, shrinking for so little that n - 1 are busy 60 % of the time, so no
    steady load asks for both; and whatever the load does, opposite steps are `SHRINK_FOR_S` apart.
    """

    def __init__(self, least: int, most: int, clock: Callable[[], float]) -> None:
        """There are to be `least` to `most`; `clock` tells seconds, monotonic."""
        self._least = least
        self._most = most
        self._clock = clock
        self._pressed_since: float | None = None
        self._slack_since: float | None = None
        self._grow_from = clock()

    def step(self, n: int, oldest_s: float, busy_share: float) -> int:
        """1 for one more, -1 for one less, 0 to leave it.

        Args:
            n: How many there are.
            oldest_s: For how long the first in the queue has waited.
            busy_share: Mean share of the time that the n were at work, 0 to 1.
        """
        now = self._clock()
        is_pressed = oldest_s >= GROW_AGE_S
        is_slack = not is_pressed and busy_share * n <= SLACK * (n - 1)
        self._pressed_since = _since(self._pressed_since, is_pressed and n < self._most, now)
        self._slack_since = _since(self._slack_since, is_slack and n > self._least, now)
        if self._pressed_since is not None and now >= max(self._pressed_since + GROW_FOR_S, self._grow_from):
            return self._stepped(1)
        if self._slack_since is not None and now >= self._slack_since + SHRINK_FOR_S:
            self._grow_from = now + SHRINK_FOR_S
            return self._stepped(-1)
        return 0

    def _stepped(self, step: int) -> int:
        self._pressed_since = self._slack_since = None
        return step


def _since(before: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if before is None else before
