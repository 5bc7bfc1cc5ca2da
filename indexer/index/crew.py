"""Threads that share the parts of one task: who is done takes the next part, so a busy core holds nobody up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

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
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads, "index", initializer=prepare)

    def share(self, parts: Iterable[P], work: Callable[[Iterator[P]], T]) -> list[T]:
        """Call `work` in up to every thread with an iterator that yields each part to one of them; all results."""
        waiting = list(parts)
        left = iter(waiting)
        futures = [self._pool.submit(work, left) for _ in range(min(self._n_threads, len(waiting)))]
        wait(futures)  # all of them, also after a failure: they use what the caller's lock protects
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()
