"""Threads that share the parts of one task: who is done takes the next part, so a busy core holds nobody up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from indexer.errors import Stopped

P = TypeVar("P")
T = TypeVar("T")


class Crew:
    """A few threads for work that releases the interpreter's lock.

    Kernels that divide their own work among cores wait for the slowest core at each step; beside decoders and an
    encoder that is a multiple of the time. So kernels run on one thread each, and the parts are divided here.

    Args:
        n_threads: How many.
        prepare: Called in each thread before its first part.
    """

    def __init__(self, n_threads: int, prepare: Callable[[], None]) -> None:
        self.n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, "index", initializer=prepare)

    def share(self, parts: Iterable[P], work: Callable[[Iterator[P]], T], *, apart: bool = False) -> list[T]:
        """Call `work` in up to every thread with an iterator that yields each part to one of them; all results.

        Args:
            parts: What there is to do.
            work: Does all the parts that it can get.
            apart: Never in the caller's thread, which has not been prepared; else a single part is done there.

        Raises:
            Stopped: The crew has been closed.
        """
        waiting = list(parts)
        left = iter(waiting)
        if len(waiting) == 1 and not apart:
            return [work(left)]
        futures: list[Future[T]] = []
        try:
            futures.extend(self._pool.submit(work, left) for _ in range(min(self.n_threads, len(waiting))))
        except RuntimeError as e:
            raise Stopped("the index is closed") from e
        finally:
            wait(futures)  # all of them, also after a failure: they use what the caller's lock protects
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
