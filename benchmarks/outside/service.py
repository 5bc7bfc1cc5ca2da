"""The service in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import httpx

READY_S = 60.0


@dataclass(frozen=True, slots=True)
class Service:
    """One that runs."""

    port: int
    process: BaseProcess

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def n_descriptors(self) -> int:
        """Open files and sockets of the process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, limit_s: float) -> tuple[float, int | None]:
        """Ask it to end; how long that took, and its exit code, None if it had to be killed."""
        began = time.monotonic()
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.join(limit_s)
        return time.monotonic() - began, self.process.exitcode


def serve(listener: socket.socket, n_images: int, settings: dict[str, Any], chatty: bool) -> None:
    """What runs there. A chatty one tells all listeners of big news, without a pause."""
    from indexer.proc import keep_for_good
    from indexer.types import IndexNews
    from search_api.app import create_app
    from search_api.server import Server
    from search_api.settings import ApiSettings
    from tests.fakes.engine import FakeEngine, id_of

    class Quiet(FakeEngine):
        """Keeps no list of calls, which would grow with each."""

        def _called(self, name: str, argument: object) -> None: ...

    engine = Quiet(n_images)

    def talk() -> None:
        big = IndexNews(1, 1, 0, 0, 1, tuple(id_of(i) for i in range(50)))
        while True:
            for topics, tell in list(engine.listeners):
                try:
                    tell_one(topics, tell, big)
                except RuntimeError:
                    engine.listeners.remove((topics, tell))
            time.sleep(0.005)

    if chatty:
        threading.Thread(target=talk, daemon=True).start()
    keep_for_good()  # as `indexer serve` does
    Server(create_app(engine, ApiSettings(**settings)), listener).run()


def tell_one(topics: Any, tell: Any, news: Any) -> None:
    from indexer.types import Event

    if "index" in topics:
        tell(Event("index", news))


@contextmanager
def running(n_images: int = 100, chatty: bool = False, **settings: Any) -> Iterator[Service]:
    """A service that answers, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(listener, n_images, settings, chatty), daemon=True
    )
    process.start()
    service = Service(listener.getsockname()[1], process)
    listener.close()
    try:
        httpx.get(f"{service.url}/health/live", timeout=READY_S).raise_for_status()
        yield service
    finally:
        if process.is_alive():
            process.kill()
        process.join()
