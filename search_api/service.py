"""What every route works with: the engine, the threads that may wait for it, and the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from indexer.errors import Overloaded
from indexer.ports import Engine
from search_api.settings import ApiSettings

T = TypeVar("T")


class Service:
    """The engine behind a bounded number of threads: its methods block, the event loop must not."""

    def __init__(self, engine: Engine, settings: ApiSettings) -> None:
        self.engine = engine
        self.settings = settings
        self._threads = ThreadPoolExecutor(settings.n_threads, thread_name_prefix="api")
        self._most = settings.n_threads + settings.n_waiting
        self._n_calls = 0

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread.

        Raises:
            Overloaded: Too many calls wait already.
        """
        if self._n_calls >= self._most:
            raise Overloaded("Too many requests are waiting; try again shortly.")
        self._n_calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._n_calls -= 1

    def close(self) -> None:
        """Take no more calls; those under way end when the engine answers them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
