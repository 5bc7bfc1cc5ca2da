"""Threads that wait for the engine, so that the event loop need not.

`loop.run_in_executor` wakes a thread for every call, and takes two futures and two locks to bring the result back; a
request of this service costs little more than that. Here a call wakes one thread at most, which wakes the next one only
if there is more to do when it takes its own: short calls are done one after the other by the same thread, while long
ones are all at work together. The threads are daemons: an engine that never answers does not keep the process from
ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

from indexer.errors import Overloaded, Stopped

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    begun: threading.Lock
    """Taken, for good, by the thread that begins it, or by whoever waits and gives up before."""


class Workers:
    """Up to `n_threads` threads, started as they are needed; up to `n_waiting` calls wait for one.

    `call` and `close` belong to one event loop.
    """

    def __init__(self, n_threads: int, n_waiting: int) -> None:
        self._jobs: deque[_Job] = deque()
        self._bells: SimpleQueue[bool] = SimpleQueue()  # True: look for jobs; False: end
        self._rung = False  # whether a thread is on its way that has not looked yet
        self._n_threads = n_threads
        self._n_most = n_threads + n_waiting
        self._n_started = 0
        self._closed = False
        self.n_calls = 0
        """Calls whose work has not ended."""
        self.n_rejected = 0
        """Calls refused because too many waited."""

    def call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run `work` in a thread.

        Raises:
            Overloaded: Too many calls wait already.
            Stopped: After `close`.
        """
        if self._closed:
            raise Stopped("The service is going down.")
        if self.n_calls >= self._n_most:
            self.n_rejected += 1
            raise Overloaded("Too many requests are waiting; try again shortly.")
        self.n_calls += 1
        if self.n_calls > self._n_started < self._n_threads:
            self._n_started += 1
            threading.Thread(target=self._run, name=f"api-{self._n_started}", daemon=True).start()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.append(_Job(work, future, threading.Lock()))
        self._ring()
        return future

    def give_up(self, future: asyncio.Future[Any]) -> None:
        """Nobody waits for a call any more: if its work has not begun it never is, and its place is free."""
        job = next((job for job in list(self._jobs) if job.future is future), None)
        if job is not None and job.begun.acquire(blocking=False):
            self.n_calls -= 1

    def close(self) -> None:
        """Take no more calls; each thread ends after the call that it is at."""
        self._closed = True
        for _ in range(self._n_started):
            self._bells.put(False)

    def _ring(self) -> None:
        """Wake a thread, unless one is on its way: whoever is on its way looks after this, and sees every job."""
        if not self._rung:
            self._rung = True
            self._bells.put(True)

    def _run(self) -> None:
        while self._bells.get():
            self._rung = False
            while self._jobs:
                try:
                    job = self._jobs.popleft()
                except IndexError:  # another thread was faster
                    break
                if self._jobs:
                    self._ring()
                if not self._do(job):
                    return
                del job  # not to be kept alive until the next one comes

    def _do(self, job: _Job) -> bool:
        """Do a job and hand its result over; False when nobody waits any more."""
        if not job.begun.acquire(blocking=False):
            return True
        result, error = None, None
        try:
            result = job.work()
        except BaseException as e:  # noqa: BLE001 - the caller's to handle, whatever it is
            error = e
        try:
            job.future.get_loop().call_soon_threadsafe(self._ended, job.future, result, error)
        except RuntimeError:  # the loop has closed
            return False
        return True

    def _ended(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self.n_calls -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
