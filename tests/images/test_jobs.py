from __future__ import annotations

import threading

import pytest

from indexer.errors import Overloaded, Stopped
from indexer.images.jobs import Bounds, Job, JobQueue


def bulk(data: bytes = b"x") -> Job:
    return Job(data, None, urgent=False)


def urgent(data: bytes = b"x") -> Job:
    return Job(data, None, urgent=True)


def queue(n_jobs: int = 3, n_bytes: int = 100) -> JobQueue:
    return JobQueue(Bounds(n_jobs, n_bytes), Bounds(n_jobs, n_bytes))


class Submitter:
    """A thread that puts one job, and what came of it."""

    def __init__(self, jobs: JobQueue, job: Job) -> None:
        self.error: Exception | None = None
        self._jobs, self._job = jobs, job
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._jobs.put(self._job)
        except Stopped as e:
            self.error = e

    def is_blocked(self) -> bool:
        self.thread.join(0.1)
        return self.thread.is_alive()


def test_urgent_jobs_go_first_and_each_kind_in_its_order() -> None:
    jobs = queue()
    put = [bulk(), urgent(), bulk(), urgent()]
    for job in put:
        jobs.put(job)
    assert [jobs.take() for _ in put] == [put[1], put[3], put[0], put[2]]


def test_bulk_work_waits_for_room() -> None:
    jobs = queue(n_jobs=2)
    jobs.put(bulk())
    jobs.put(bulk())
    submitter = Submitter(jobs, bulk())
    assert submitter.is_blocked()
    jobs.take()
    submitter.thread.join(10)
    assert len(jobs) == 2


def test_bytes_are_bounded_too() -> None:
    jobs = queue(n_bytes=10)
    jobs.put(bulk(b"x" * 8))
    submitter = Submitter(jobs, bulk(b"x" * 3))
    assert submitter.is_blocked()
    jobs.take()
    submitter.thread.join(10)
    assert len(jobs) == 1


def test_a_job_larger_than_the_bound_is_let_in_alone() -> None:
    jobs = queue(n_bytes=10)
    jobs.put(bulk(b"x" * 50))
    jobs.put(urgent(b"x" * 50))
    assert len(jobs) == 2


def test_urgent_work_is_turned_away_instead_of_waiting() -> None:
    jobs = queue(n_jobs=2)
    jobs.put(urgent())
    jobs.put(urgent())
    with pytest.raises(Overloaded):
        jobs.put(urgent())
    jobs.put(bulk())


def test_a_cancelled_job_is_never_handed_out() -> None:
    jobs = queue()
    cancelled, wanted = bulk(), bulk()
    jobs.put(cancelled)
    jobs.put(wanted)
    cancelled.future.cancel()
    assert jobs.take() is wanted


def test_a_job_to_hold_ahead_must_be_small_and_wanted_by_nobody_idle() -> None:
    jobs = queue()
    assert jobs.take_more(10) is None
    small = bulk(b"x" * 10)
    jobs.put(small)
    assert jobs.take_more(9) is None
    assert jobs.take_more(10) is small


def test_close_fails_what_is_queued_and_wakes_everybody() -> None:
    jobs = queue(n_jobs=1)
    left = bulk()
    jobs.put(left)
    submitter = Submitter(jobs, bulk())
    assert submitter.is_blocked()
    jobs.close()
    submitter.thread.join(10)
    assert isinstance(submitter.error, Stopped)
    assert isinstance(left.future.exception(0), Stopped)
    assert jobs.take() is None
    for job in (bulk(), urgent()):
        with pytest.raises(Stopped):
            jobs.put(job)


def test_close_wakes_a_taker() -> None:
    jobs = queue()
    taken: list[Job | None] = []
    taker = threading.Thread(target=lambda: taken.append(jobs.take()))
    taker.start()
    jobs.close()
    taker.join(10)
    assert taken == [None]
