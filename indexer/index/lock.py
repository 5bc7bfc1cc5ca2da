"""A lock that many readers share and one writer has alone; neither can starve the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class ReadersWriter:
    """`with lock.reading:` beside other readers, `with lock.writing:` alone. Not reentrant.

    A waiting writer holds new readers back; when it leaves, all readers that wait by then go in before the next writer.
    """

    def __init__(self) -> None:
        self.reading = _Side(self._enter_reading, self._leave_reading)
        self.writing = _Side(self._enter_writing, self._leave_writing)
        self._changed = threading.Condition(threading.Lock())
        self._n_readers = 0
        self._writing = False
        self._n_writers_waiting = 0
        self._n_readers_waiting = 0
        self._gate = threading.Event()  # opened once, for the readers that wait at that moment

    def _enter_reading(self) -> None:
        with self._changed:
            if not self._writing and not self._n_writers_waiting:
                self._n_readers += 1
                return
            self._n_readers_waiting += 1
            gate = self._gate
        gate.wait()  # whoever opens it has counted us among the readers already

    def _leave_reading(self) -> None:
        with self._changed:
            self._n_readers -= 1
            if not self._n_readers:
                self._changed.notify()

    def _enter_writing(self) -> None:
        with self._changed:
            self._n_writers_waiting += 1
            try:
                while self._writing or self._n_readers:
                    self._changed.wait()
                self._writing = True
            finally:
                self._n_writers_waiting -= 1
                if not self._writing and not self._n_writers_waiting:
                    self._admit()  # the wait was interrupted: nobody else would let them in

    def _leave_writing(self) -> None:
        with self._changed:
            self._writing = False
            self._admit()
            if not self._n_readers:
                self._changed.notify()

    def _admit(self) -> None:
        if self._n_readers_waiting:
            self._n_readers += self._n_readers_waiting
            self._n_readers_waiting = 0
            self._gate.set()
            self._gate = threading.Event()


class _Side:
    """One way through the lock; a class of two methods enters faster than a generator does."""

    def __init__(self, enter: Callable[[], None], leave: Callable[[], None]) -> None:
        self._enter = enter
        self._leave = leave

    def __enter__(self) -> None:
        self._enter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave()
