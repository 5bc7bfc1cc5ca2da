"""What every route works with: the engine, the threads that wait for it, and the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from indexer.asker import Asker
from indexer.ports import Engine
from indexer.types import PLAIN, Options, Query, SearchResult
from search_api.metrics import Counts
from search_api.responses import Json
from search_api.settings import ApiSettings
from search_api.workers import Workers

T = TypeVar("T")

N_WATCHING: Final = 4
"""Threads for those who watch over the service. They must not wait behind the questions that they watch over."""


class Service:
    """The engine behind a bounded number of threads: its methods block, the event loop must not."""

    def __init__(self, engine: Engine, settings: ApiSettings) -> None:
        self.engine = engine
        self.settings = settings
        self.counts = Counts()
        self.n_listeners = 0
        """Streams of events that are open."""
        self.open()

    def open(self) -> None:
        """Take calls, also again after `close`."""
        self.workers = Workers(self.settings.n_threads, self.settings.n_waiting)
        self.watching = Workers(N_WATCHING, self.settings.n_waiting)

    def close(self) -> None:
        """Take no more calls."""
        self.workers.close()
        self.watching.close()

    async def watch(self, work: Callable[[], T]) -> T:
        """As `call`, for what tells of the service: in time, however many questions wait."""
        return await self.call(work, self.watching)

    async def call(self, work: Callable[[], T], workers: Workers | None = None) -> T:
        """Run `work` in a thread; raises what it raises, or `Overloaded`.

        Who is cancelled meanwhile, for his client has gone, leaves his place, here and before the encoders.
        """
        asker, workers = Asker(), workers or self.workers

        def asked() -> T:
            with asker.asking():
                return work()

        future = workers.call(asked)
        try:
            return await future
        except asyncio.CancelledError:
            workers.give_up(future)
            asker.give_up()
            raise

    async def answer(self, work: Callable[[], T]) -> Json[T]:
        """Run `work` in a thread and encode there what it returns: long answers take long to encode."""
        return await self.call(lambda: Json(work()))

    def search(self, query: Query, limit: int, offset: int = 0, options: Options = PLAIN) -> SearchResult:
        """As the engine's, and timed. Blocks: to be called in a thread."""
        found = self.engine.search(query, limit, offset, options)
        self.counts.searched(found)
        return found
