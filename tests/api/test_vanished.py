"""Clients that go away: what was queued for them is not done, and its place is free."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from indexer.asker import Asker, results
from search_api.client import Client
from search_api.server import Server
from search_api.workers import Workers
from tests.api.conftest import eventually
from tests.fakes.engine import FakeEngine

Serve = Callable[..., Server]
HEAD = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def ask(server: Server, n: int) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    body = b'{"text": "a %d"}' % n
    connection.sendall(HEAD % len(body) + body)
    return connection


def workers_of(server: Server) -> Workers:
    workers: Workers = server._uvicorn._app.state.service.workers
    return workers


def test_a_client_that_vanishes_while_it_waits_costs_nothing(
    serve: Serve, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(n_threads=1, n_waiting=3)
    engine.hold.clear()
    first = ask(server, 0)
    assert engine.entered.acquire(timeout=10)
    waiting = [ask(server, n) for n in (1, 2, 3)]
    assert eventually(lambda: workers_of(server).n_calls == 4)
    for connection in waiting[:2]:
        connection.close()
    assert eventually(lambda: workers_of(server).n_calls == 2)
    engine.hold.set()
    assert waiting[2].recv(12) == b"HTTP/1.1 200"
    assert first.recv(12) == b"HTTP/1.1 200"
    asked: list[Any] = [query for name, query in engine.calls if name == "search"]
    assert sorted(query.text for query in asked) == sorted({"a 0", "a 3"} | {asked[0].text})
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    with Client(server.url) as client:
        stats = client.stats()
    assert (stats.requests_waiting, stats.requests_rejected_total) == (0, 0)
    for connection in (first, waiting[2]):
        connection.close()


def test_what_is_awaited_for_one_who_has_gone_is_cancelled(serve: Serve, engine: FakeEngine) -> None:
    queued: Future[int] = Future()
    awaited = threading.Event()

    def search(*_: object) -> object:
        awaited.set()
        return results([queued])

    engine.search = search  # type: ignore[method-assign, assignment]
    try:
        server = serve()
        connection = ask(server, 0)
        assert awaited.wait(10)
        connection.close()
        assert eventually(queued.cancelled)
        assert eventually(lambda: workers_of(server).n_calls == 0)
    finally:
        del engine.search


def test_who_has_given_up_is_not_waited_for_later_either() -> None:
    asker = Asker()
    begun: Future[int] = Future()
    queued: Future[int] = Future()
    begun.set_result(7)
    with asker.asking():
        assert results([begun]) == [7]
        asker.give_up()
        assert results([begun]) == [7]
        with pytest.raises(CancelledError):
            results([queued])
    assert results([begun]) == [7]
