"""Events over real connections: who may listen, what is told, and how it ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import msgspec
import pytest

from indexer.errors import InputError, Overloaded
from indexer.types import IndexNews
from search_api import events
from search_api.client import Client
from search_api.server import Server
from search_api.settings import ApiSettings
from tests.api.conftest import eventually, running
from tests.fakes.engine import FakeEngine, id_of

Serve = Callable[..., Server]
KEY = "a-key-of-enough-characters"


@contextmanager
def listening(server: Server, topics: str = "index", **headers: str) -> Iterator[Iterator[str]]:
    """The lines of a stream of events."""
    with httpx.stream("GET", f"{server.url}/api/events", params={"topics": topics}, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        yield response.iter_lines()


def test_each_topic_tells_its_state_first_and_then_what_happens(serve: Serve, engine: FakeEngine) -> None:
    with Client(serve().url) as client:
        told = client.events(["index", "queue", "gpu"])
        first = dict(next(told) for _ in range(3))
        assert first["index"] == {
            "indexed": 5, "files": 6, "pending": 2, "errors": 3, "generation": 7, "added": [], "removed": 0,
        }  # fmt: skip
        assert first["queue"] == {
            "depth": 4, "oldest_s": 0.5, "images_per_s": 12.5, "batch_size": 8, "limited_by": "encode",
            "rejected_total": 1, "busy_share": 0.75,
            "devices": [{
                "device": "cpu", "state": "open", "images_per_s": 12.5, "busy_share": 0.75, "batch_size": 8,
                "encoded_total": 11, "weights_bytes": 1000, "trouble": None,
            }],
        }  # fmt: skip
        assert first["gpu"] == msgspec.to_builtins(client.gpu_memory())
        assert eventually(lambda: bool(engine.listeners))
        engine.publish("index", IndexNews(6, 7, 0, 3, 7, (id_of(1),), 2))
        topic, data = next(told)
        assert (topic, data["added"], data["removed"]) == ("index", [id_of(1)], 2)


def test_only_what_was_asked_for_is_told(serve: Serve, engine: FakeEngine) -> None:
    with Client(serve().url) as client:
        told = client.events(["queue"])
        assert next(told)[0] == "queue"
        assert engine.calls[-1] == ("listen", frozenset({"queue"}))


def test_an_unknown_topic_is_refused_by_name(serve: Serve) -> None:
    with Client(serve().url) as client, pytest.raises(InputError, match="topics"):
        next(client.events(["index", "weather"]))


def test_too_many_listeners_are_told_to_come_back(serve: Serve, engine: FakeEngine) -> None:
    server = serve(max_listeners=1)
    with Client(server.url) as client:
        with listening(server) as lines:
            next(lines)
            with pytest.raises(Overloaded):
                next(client.events())
        assert eventually(lambda: not engine.listeners)  # the one that went is forgotten
        assert next(client.events())


def test_the_key_is_asked_for(serve: Serve) -> None:
    server = serve(api_key=KEY)
    assert httpx.get(f"{server.url}/api/events").status_code == 401
    with listening(server, authorization=f"Bearer {KEY}") as lines:
        assert next(lines) == "event: index"


def test_head_ends_at_once(serve: Serve, engine: FakeEngine) -> None:
    assert httpx.head(f"{serve().url}/api/events").status_code == 200
    assert not engine.listeners


def test_a_quiet_stream_has_a_pulse(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    with listening(serve()) as lines:
        assert ":" in lines


def test_whoever_goes_is_forgotten(serve: Serve, engine: FakeEngine) -> None:
    with listening(serve()) as lines:
        next(lines)
        assert len(engine.listeners) == 1
    assert eventually(lambda: not engine.listeners)


def test_whoever_reads_nothing_is_let_go_and_holds_nobody_up(serve: Serve, engine: FakeEngine) -> None:
    server = serve(write_timeout_s=0.2)
    host, _, port = server.url.removeprefix("http://").partition(":")
    big = IndexNews(1, 1, 0, 0, 1, tuple(id_of(i % 5) for i in range(500)))
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /api/events?topics=index HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert eventually(lambda: bool(engine.listeners))

        def is_let_go() -> bool:
            with suppress(RuntimeError):
                for _ in range(50):
                    engine.publish("index", big)
            return not engine.listeners

        assert eventually(is_let_go)


def test_streams_end_when_the_service_stops(engine: FakeEngine) -> None:
    ended = threading.Event()
    with running(engine, ApiSettings()) as server:

        def listen() -> None:
            with Client(server.url) as client:
                for _ in client.events():
                    pass
            ended.set()

        threading.Thread(target=listen).start()
        assert eventually(lambda: bool(engine.listeners))
        server.stop()
        assert ended.wait(2)
