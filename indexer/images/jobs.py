"""Pictures waiting for a child: urgent ones first, both kinds bounded."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from indexer.errors import ImageRefused, Overloaded, Stopped
from indexer.types import Reason


@dataclass(slots=True, eq=False)
class Job:
    """One file's bytes and who waits for the result: pixels, or a thumbnail where `side_px` is given."""

    data: bytes
    side_px: int | None
    urgent: bool
    future: Future[Any] = field(default_factory=Future)
    retried: bool = False

    def refuse(self, reason: Reason, detail: str) -> None:
        self.future.set_exception(ImageRefused(reason, detail))


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait. One job alone is always let in, whatever its size."""

    n_jobs: int
    n_bytes: int


class _Line:
    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.jobs: deque[Job] = deque()
        self.n_bytes = 0

    def has_room(self, job: Job) -> bool:
        fits = len(self.jobs) < self.bounds.n_jobs and self.n_bytes + len(job.data) <= self.bounds.n_bytes
        return fits or not self.jobs

    def push(self, job: Job) -> None:
        self.jobs.append(job)
        self.n_bytes += len(job.data)

    def pop(self) -> Job:
        job = self.jobs.popleft()
        self.n_bytes -= len(job.data)
        return job


class JobQueue:
    """Thread-safe. Bulk work waits for room, urgent work is turned away."""

    def __init__(self, bulk: Bounds, urgent: Bounds) -> None:
        self._bulk = _Line(bulk)
        self._urgent = _Line(urgent)
        self._closed = False
        self._n_idle = 0
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)

    def __len__(self) -> int:
        return len(self._bulk.jobs) + len(self._urgent.jobs)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def n_idle(self) -> int:
        """Takers that wait for work."""
        return self._n_idle

    def put(self, job: Job) -> None:
        """Queue a job; blocks while the bulk line is full.

        Raises:
            Overloaded: The urgent line is full.
            Stopped: The queue was closed.
        """
        line = self._urgent if job.urgent else self._bulk
        with self._room:
            if job.urgent and not line.has_room(job) and not self._closed:
                raise Overloaded("too many pictures wait to be decoded")
            self._room.wait_for(lambda: self._closed or line.has_room(job))
            if self._closed:
                raise Stopped("the decoder is closed")
            line.push(job)
            self._work.notify()

    def take(self) -> Job | None:
        """The next job, waited for; None once the queue is closed."""
        with self._work:
            self._n_idle += 1
            try:
                while True:
                    self._work.wait_for(lambda: self._closed or len(self) > 0)
                    if self._closed:
                        return None
                    if job := self._pop():
                        return job
            finally:
                self._n_idle -= 1

    def take_more(self, max_bytes: int) -> Job | None:
        """A job to hold beside the one in work: none that is larger, none that an idle taker could start at once."""
        with self._work:
            line = self._urgent if self._urgent.jobs else self._bulk
            if self._closed or len(self) <= self._n_idle or len(line.jobs[0].data) > max_bytes:
                return None
            return self._pop()

    def close(self) -> None:
        """Fail what is queued with `Stopped`, wake everybody, take nothing more."""
        with self._work:
            self._closed = True
            left = [*self._urgent.jobs, *self._bulk.jobs]
            self._urgent.jobs.clear()
            self._bulk.jobs.clear()
            self._work.notify_all()
            self._room.notify_all()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(Stopped("the decoder was closed"))

    def _pop(self) -> Job | None:
        """The next job that nobody has cancelled."""
        line = self._urgent if self._urgent.jobs else self._bulk
        job = line.pop()
        self._room.notify_all()
        return job if job.future.set_running_or_notify_cancel() else None
