"""Ctrl-C and SIGTERM: the first drains, the second stops at once."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

logger = logging.getLogger(__name__)

DRAIN_S: Final = 10.0
"""How long a stop may take. After that the process ends as it stands, which the store survives."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Turns both signals into one request to stop, while the block lasts. Main thread only.

    Until `call` says what a request does, it ends the process on the spot with 0: nothing is under way yet, and an
    exception would meet libraries half imported, some of which abort. A second request, or one that is not met within
    `DRAIN_S`, ends it too: with 128 + the signal's number, or with 1.
    """

    def __init__(self, end: Callable[[int], None] = os._exit, drain_s: float = DRAIN_S) -> None:
        self._end = end
        self._on_stop: Callable[[], None] | None = None
        self._deadline = threading.Timer(drain_s, self._overdue)
        self._deadline.daemon = True
        self._before: dict[signal.Signals, Any] = {}
        self.asked = False

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._deadline.cancel()

    def call(self, on_stop: Callable[[], None]) -> None:
        """From now on a request calls this, in the main thread between two instructions: it must be quick."""
        self._on_stop = on_stop

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            self._end(128 + number)
        self.asked = True
        if self._on_stop is None:
            logger.info("asked to stop before it was ready")
            self._end(0)
            return
        self._deadline.start()
        logger.info("stopping: finishing what is under way (once more to stop at once)")
        self._on_stop()

    def _overdue(self) -> None:
        logger.error("still not finished: stopping now; nothing that was acknowledged is lost")
        self._end(1)
