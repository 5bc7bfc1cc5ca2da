from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from search_api.app import create_app
from search_api.server import Server, bind
from search_api.settings import ApiSettings
from tests.fakes.engine import FakeEngine

BASE = "http://127.0.0.1:7860"


@pytest.fixture(scope="session")
def shared() -> Iterator[tuple[FakeEngine, TestClient[Litestar]]]:
    """One application for all tests that need no settings of their own: making one takes longer than most tests."""
    engine = FakeEngine()
    with serving(engine, ApiSettings()) as client:
        yield engine, client


@pytest.fixture
def engine(shared: tuple[FakeEngine, TestClient[Litestar]]) -> FakeEngine:
    """As new."""
    shared[0].reset()
    return shared[0]


@pytest.fixture
def http(shared: tuple[FakeEngine, TestClient[Litestar]], engine: FakeEngine) -> TestClient[Litestar]:
    return shared[1]


@contextmanager
def serving(engine: FakeEngine, settings: ApiSettings, base: str = BASE) -> Iterator[TestClient[Litestar]]:
    """The application without a socket."""
    with TestClient(create_app(engine, settings), base_url=base) as client:
        yield client


@contextmanager
def running(engine: FakeEngine, settings: ApiSettings) -> Iterator[Server]:
    """The application behind a loopback port, in a thread."""
    server = Server(create_app(engine, settings), bind(settings.host, 0))
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        assert server.wait_started(10)
        yield server
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def serve(engine: FakeEngine) -> Iterator[Callable[..., Server]]:
    """Starts servers over `engine`, and stops them."""
    opened = []

    def start(**settings: object) -> Server:
        context = running(engine, ApiSettings(**settings))  # type: ignore[arg-type]
        opened.append(context)
        return context.__enter__()

    yield start
    for context in opened:
        context.__exit__(None, None, None)


def eventually(check: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Whether `check` comes true within the time."""
    pace = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            return False
        pace.wait(0.01)
    return True
