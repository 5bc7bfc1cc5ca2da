"""Decoding at arm's length: a file that crashes, hangs or starves its decoder costs that file only."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Final

from indexer.errors import ImageRefused
from indexer.images.jobs import Bounds, Job, JobQueue
from indexer.images.keeper import Keeper
from indexer.images.limits import Limits
from indexer.images.nursery import Nursery
from indexer.images.wire import Setup
from indexer.types import Decoded, Preprocess

_RECYCLE_BYTES: Final = 256 << 20


class DecodePool:
    """Port `Decoder` on child processes, each with limits on memory and time, forked warm from a nursery.

    A picture is blamed for the end of a child only if it was the one in work, and for a crash or want of memory only
    if the child was fresh or it happens again on a fresh one: damage may stem from an earlier picture. Those that
    waited behind it are handed to the next child.

    Callbacks of a future run in the thread that keeps its child busy: they must not block.

    Memory: at most `bulk` and `urgent` queued, two files per child in shared memory (freed at once above 8 MB), and in
    each child what `Limits.memory_bytes` allows.

    Args:
        preprocess: How pixels are made.
        limits: What a file may cost.
        n_workers: Child processes.
        timeout_s: Time for one picture; its child is killed then. Waiting does not count.
        bulk: How much may be queued before `decode` blocks; None means 4 per child and 128 MB.
        urgent: How much before it raises `Overloaded`; None means 64 and 256 MB.
        recycle_jobs: A child is replaced after so many pictures.
        handler: Module that the children run; tests plant hostile ones.

    Raises:
        CapacityError: The interpreter could not be started.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        limits: Limits,
        *,
        n_workers: int,
        timeout_s: float = 10.0,
        bulk: Bounds | None = None,
        urgent: Bounds | None = None,
        recycle_jobs: int = 2000,
        handler: str = "indexer.images.decode",
    ) -> None:
        self._limits = limits
        self._jobs = JobQueue(bulk or Bounds(4 * n_workers, 128 << 20), urgent or Bounds(64, 256 << 20))
        self._nursery = Nursery(Setup(handler, preprocess, limits, recycle_jobs, _RECYCLE_BYTES))
        self._keepers = [
            Keeper(f"decode-{i}", self._jobs, self._nursery, preprocess.side_px, timeout_s) for i in range(n_workers)
        ]
        for keeper in self._keepers:
            keeper.start()

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        return self._put(Job(data, None, urgent))

    def thumbnail(self, data: bytes, side_px: int) -> Future[bytes]:
        """As the port says; somebody waits for it, so it is urgent and may raise `Overloaded`."""
        return self._put(Job(data, side_px, urgent=True))

    @property
    def n_waiting(self) -> int:
        """Pictures queued and not yet with a child."""
        return len(self._jobs)

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the children alive now."""
        return tuple(pid for keeper in self._keepers if (pid := keeper.pid) is not None)

    def close(self) -> None:
        self._jobs.close()
        self._nursery.close()
        for keeper in self._keepers:
            keeper.join()

    def _put(self, job: Job) -> Future[Any]:
        try:
            self._limits.weigh(job.data)
        except ImageRefused as e:
            job.future.set_exception(e)
        else:
            self._jobs.put(job)
        return job.future
