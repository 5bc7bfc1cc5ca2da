"""Who asks, as the threads see that answer: what nobody waits for any more need not be done."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_present: ContextVar[Asker | None] = ContextVar("asker", default=None)


class Asker:
    """One who waits for an answer, until he gives up. Safe in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited: Sequence[Future[Any]] = ()
        self._has_left = False

    @contextmanager
    def asking(self) -> Iterator[None]:
        """What this thread does inside is for him."""
        token = _present.set(self)
        try:
            yield
        finally:
            _present.reset(token)

    def give_up(self) -> None:
        """What is queued for him, now and later, is cancelled; what has been begun is finished."""
        with self._lock:
            self._has_left = True
            awaited = self._awaited
        _cancel(awaited)

    def awaits(self, futures: Sequence[Future[Any]]) -> None:
        """He waits for these now, in place of others."""
        with self._lock:
            self._awaited = futures
            has_left = self._has_left
        if has_left:
            _cancel(futures)


def results(futures: Sequence[Future[T]]) -> list[T]:
    """What they come to; raises what the first of them raises, or `CancelledError` when whoever asks has given up."""
    asker = _present.get()
    if asker is not None:
        asker.awaits(futures)
    return [future.result() for future in futures]


def _cancel(futures: Sequence[Future[Any]]) -> None:
    for future in futures:
        future.cancel()
