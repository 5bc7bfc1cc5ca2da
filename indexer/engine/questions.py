"""Questions that are being answered, and since when: whatever hangs, the oldest of them shows it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

OVERDUE_S: Final = 180.0
"""A client has been told long before that its answer takes too long, and what still waited for it was cancelled."""


class Questions:
    """Knows for how long the oldest question has waited. Safe in any thread.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._asked_at: dict[int, float] = {}

    @contextmanager
    def asked(self) -> Iterator[None]:
        """A question is answered inside."""
        number = next(self._numbers)
        self._asked_at[number] = self._clock()
        try:
            yield
        finally:
            del self._asked_at[number]

    @property
    def trouble(self) -> str | None:
        """What is wrong with answering; None while all is well."""
        waited_s = self._clock() - min(self._asked_at.copy().values(), default=self._clock())
        return f"a question has waited {waited_s:.0f} s for its answer" if waited_s >= OVERDUE_S else None
