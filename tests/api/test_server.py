"""The server over real connections: taking its port, its deadlines, and its end."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from indexer.errors import ConfigError, IndexerError, Unreachable
from indexer.types import IndexNews, TextQuery
from search_api.client import Client
from search_api.protocol import MAX_HEADER_BYTES, NEVER
from search_api.server import Server, bind
from search_api.settings import ApiSettings
from tests.api.conftest import eventually, running
from tests.fakes.engine import JPEG, FakeEngine, id_of

Serve = Callable[..., Server]
HOST = b"Host: localhost\r\n"
STALLED_HEADER = b"GET /health/live HTTP/1.1\r\nHost: loc"
STALLED_BODY = b"POST /api/embed/image HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\nabc"
LISTENING = b"GET /api/events HTTP/1.1\r\n" + HOST + b"\r\n"
LARGE = b"GET /api/openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"
SEARCH = (
    b"POST /api/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 12\r\n\r\n"
    b'{"text":"a"}'
)
LIVE = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def connect() -> Iterator[Callable[[Server], socket.socket]]:
    """Opens connections, and closes them."""
    opened: list[socket.socket] = []

    def open_one(server: Server) -> socket.socket:
        host, _, port = server.url.removeprefix("http://").partition(":")
        opened.append(socket.create_connection((host, int(port)), timeout=10))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


Connect = Callable[[Server], socket.socket]


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    return received


def n_connections(server: Server) -> int:
    return len(server._uvicorn.server_state.connections)


def n_stuck(server: Server) -> int:
    """Connections whose clients do not read."""
    return sum(each.write_due != NEVER for each in server._uvicorn._connections())


# ---------------------------------------------------------------- the port


def test_a_port_in_use_is_named_with_the_remedy_before_anything_else() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(IndexerError, match=rf"port {port} on 127\.0\.0\.1 is in use.*indexer stop.*--port"):
            bind("127.0.0.1", port)


def test_a_port_is_free_again_after_its_server_served(engine: FakeEngine) -> None:
    with running(engine, ApiSettings()) as server, Client(server.url) as client:
        client.live()
        port = int(server.url.rpartition(":")[2])
    bind("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["no.such.name.invalid", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=rf"api\.host: cannot listen on {host}"):
        bind(host, 0)


def test_a_reserved_port_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket.socket, "bind", denied)
    with pytest.raises(ConfigError, match=r"api\.port: port 80 is reserved"):
        bind("127.0.0.1", 80)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_localhost_is_127_0_0_1(host: str) -> None:
    with bind(host, 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


# ---------------------------------------------------------------- deadlines


@pytest.mark.parametrize("sent", [b"", b"\r\n", STALLED_HEADER, LIVE + STALLED_HEADER])
def test_a_header_that_does_not_end_closes_the_connection(serve: Serve, connect: Connect, sent: bytes) -> None:
    connection = connect(serve(header_timeout_s=0.3, keep_alive_s=1))
    connection.sendall(sent)
    received = until_closed(connection)
    assert received.count(b"HTTP/1.1 ") == sent.count(LIVE)


def test_a_header_that_drips_is_cut_off_too(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(header_timeout_s=0.5))
    connection.sendall(b"GET /health/live HTTP/1.1\r\n")
    connection.settimeout(0.05)
    started = time.monotonic()
    with pytest.raises(OSError):
        while time.monotonic() < started + 10:
            connection.sendall(b"x: y\r\n")
            try:
                assert connection.recv(100) == b""
                raise ConnectionResetError
            except TimeoutError:
                pass
    assert time.monotonic() < started + 5


def test_a_body_that_does_not_arrive_is_answered_408(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(body_timeout_s=0.3))
    connection.sendall(STALLED_BODY)
    received = until_closed(connection)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in received
    assert b"x-content-type-options: nosniff" in received


def test_a_body_after_its_answer_is_not_waited_for_for_ever(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(body_timeout_s=0.5, keep_alive_s=60))
    connection.sendall(STALLED_BODY.replace(b"/api/embed/image", b"/nope"))
    assert until_closed(connection).startswith(b"HTTP/1.1 404 ")


def test_a_connection_whose_body_came_late_does_not_stay_for_ever(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(keep_alive_s=1))
    connection.sendall(STALLED_BODY.replace(b"/api/embed/image", b"/nope"))
    assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
    connection.sendall(b"x" * 997)
    assert until_closed(connection) == b""


def test_a_client_that_reads_nothing_is_cut_off(connect: Connect) -> None:
    with running(FakeEngine(1000), ApiSettings(write_timeout_s=0.3)) as server:
        connection = connect(server)
        body = b'{"text":"a","limit":1000}'
        request = b"POST /api/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
        connection.sendall((request + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 60)
        assert eventually(lambda: n_connections(server) == 1)
        assert eventually(lambda: n_connections(server) == 0)


def test_headers_without_end_are_431(serve: Serve, connect: Connect) -> None:
    connection = connect(serve())
    connection.sendall(b"GET / HTTP/1.1\r\n" + HOST)
    try:
        for _ in range(MAX_HEADER_BYTES // 1000 + 500):
            connection.sendall(b"x: " + b"y" * 995 + b"\r\n")
    except OSError:
        return  # it has stopped listening
    assert until_closed(connection).startswith(b"HTTP/1.1 431 ")


def test_who_has_kept_the_server_waiting_longest_makes_room(serve: Serve, connect: Connect) -> None:
    server = serve(max_connections=3)
    stalled = connect(server)
    stalled.sendall(STALLED_HEADER)
    kept = [connect(server) for _ in range(2)]
    for connection in kept:
        connection.sendall(LIVE)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    with Client(server.url) as client:
        assert client.live().status == "ok"
        assert until_closed(stalled) == b""
        kept[0].sendall(LIVE)
        assert kept[0].recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_who_waits_for_the_server_is_not_sent_away_for_a_newcomer(engine: FakeEngine, connect: Connect) -> None:
    engine.hold.clear()
    with running(engine, ApiSettings(max_connections=2)) as server:
        asking = [connect(server) for _ in range(2)]
        for connection in asking:
            connection.sendall(SEARCH)
            assert engine.entered.acquire(timeout=10)
        assert until_closed(connect(server)).startswith(b"HTTP/1.1 503 ")
        engine.hold.set()
        for connection in asking:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_who_reads_nothing_makes_room_too(connect: Connect) -> None:
    with running(FakeEngine(), ApiSettings(max_connections=2)) as server:
        for _ in range(2):
            connect(server).sendall(LARGE * 20)
        assert eventually(lambda: n_stuck(server) == 2)
        with Client(server.url, timeout_s=5) as client:
            assert client.live().status == "ok"


def test_a_newcomer_is_not_sent_away_before_those_who_have_stalled_for_longer(serve: Serve, connect: Connect) -> None:
    server = serve(max_connections=3, header_timeout_s=1, body_timeout_s=60)
    stalled = [connect(server) for _ in range(2)]
    for connection in stalled:
        connection.sendall(STALLED_BODY)
    assert eventually(lambda: n_connections(server) == 2)
    newcomer = connect(server)
    newcomer.sendall(STALLED_HEADER)
    assert eventually(lambda: n_connections(server) == 3)
    another = connect(server)
    another.sendall(LIVE)
    assert another.recv(65_536).startswith(b"HTTP/1.1 200 ")
    newcomer.sendall(b"alhost\r\n\r\n")
    assert newcomer.recv(65_536).startswith(b"HTTP/1.1 200 ")
    [sent_away], _, _ = select.select(stalled, [], [], 10)  # the two came together: either may be the one
    assert until_closed(sent_away) == b""


def test_a_body_may_take_longer_while_it_comes_at_a_good_pace(serve: Serve, connect: Connect) -> None:
    connection = connect(serve(body_timeout_s=0.4))
    head = b"POST /api/embed/image HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n"
    started = time.monotonic()
    connection.sendall(head + JPEG + bytes(80_000))  # worth 1.6 s more
    connection.settimeout(0.7)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(10)
    connection.sendall(bytes(100_000 - 80_000 - len(JPEG)))
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - started > 0.6


def test_an_answer_that_does_not_come_is_503(engine: FakeEngine, connect: Connect) -> None:
    engine.hold.clear()
    with running(engine, ApiSettings(request_timeout_s=0.3)) as server:
        connection = connect(server)
        connection.sendall(SEARCH)
        assert engine.entered.acquire(timeout=10)
        received = until_closed(connection)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in received
        engine.hold.set()


def test_requests_behind_one_that_nobody_reads_end_without_a_word(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with running(FakeEngine(), ApiSettings(write_timeout_s=0.3)) as server:
        connect(server).sendall(LARGE * 20)
        assert eventually(lambda: n_stuck(server) == 1)
        assert eventually(lambda: n_connections(server) == 0)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_nothing_is_worked_out_for_a_client_that_has_not_read_the_answer_before(connect: Connect) -> None:
    engine = FakeEngine(1000)
    with running(engine, ApiSettings()) as server, Client(server.url) as another:
        client = connect(server)
        body = b'{"text":"a","limit":1000}'
        head = b"POST /api/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n"
        client.sendall((head % len(body) + b"\r\n" + body) * 4 + head % len(body) + b"Connection: close\r\n\r\n" + body)
        assert eventually(lambda: n_stuck(server) == 1)
        another.search_text("b")  # time for the service to do more, if it would
        asked = [query for name, query in engine.calls if name == "search"]
        assert asked == [TextQuery("a"), TextQuery("b")]
        assert until_closed(client).count(b"HTTP/1.1 200 ") == 5


def test_slow_clients_keep_nobody_waiting(serve: Serve, connect: Connect) -> None:
    server = serve()
    for _ in range(100):
        connect(server).sendall(STALLED_HEADER)
        connect(server).sendall(STALLED_BODY)
    with Client(server.url, timeout_s=5) as client:
        assert client.search_text("a").index.count == 5


def test_a_client_that_goes_away_is_no_failure(
    serve: Serve, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    connection = connect(server)
    connection.sendall(STALLED_BODY)
    assert eventually(lambda: n_connections(server) == 1)
    connection.close()
    assert eventually(lambda: n_connections(server) == 0)
    server.stop()
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


# ---------------------------------------------------------------- good manners


def test_requests_on_one_connection_are_answered_in_order(serve: Serve, connect: Connect) -> None:
    connection = connect(serve())
    nope = LIVE.replace(b"/health/live", b"/nope")
    last = LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    connection.sendall(LIVE + nope + last)
    received = until_closed(connection)
    statuses = [
        line[9:12]
        for line in received.split(b"\r\n")
        if b"HTTP/1.1 " in line
        for line in [line[line.index(b"HTTP/1.1 ") :]]
    ]
    assert statuses == [b"200", b"404", b"200"]


def test_head_has_no_body(serve: Serve, connect: Connect) -> None:
    connection = connect(serve())
    connection.sendall(b"HEAD / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: " in head
    assert body == b""


def test_a_client_that_asks_first_is_told_to_go_on(serve: Serve, connect: Connect) -> None:
    connection = connect(serve())
    head = (
        b"POST /api/embed/image HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(JPEG)
    )
    connection.sendall(head)
    assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(JPEG)
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(serve: Serve, connect: Connect) -> None:
    connection = connect(serve())
    connection.sendall(b"POST /api/embed/image HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999\r\n\r\n")
    assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


# ---------------------------------------------------------------- the end


def test_the_server_stops_in_time_with_stalled_clients(engine: FakeEngine, connect: Connect) -> None:
    with running(engine, ApiSettings()) as server:
        for sent in (b"", STALLED_HEADER, STALLED_BODY, LIVE):
            connect(server).sendall(sent)
        assert eventually(lambda: n_connections(server) == 4)
        started = time.monotonic()
    assert time.monotonic() - started < 5


def test_an_answer_under_way_is_finished_before_the_end(engine: FakeEngine, connect: Connect) -> None:
    engine.hold.clear()
    answers: list[int] = []
    with running(engine, ApiSettings()) as server:

        def ask() -> None:
            with Client(server.url) as client:
                answers.append(client.search_text("a").index.count)

        asking = threading.Thread(target=ask)
        asking.start()
        assert engine.entered.acquire(timeout=10)
        server.stop()
        engine.hold.set()
        asking.join(10)
    assert answers == [5]


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(engine: FakeEngine) -> None:
    engine.hold.clear()
    failures: list[Exception] = []
    with running(engine, ApiSettings(stop_timeout_s=1)) as server:

        def ask() -> None:
            with Client(server.url) as client:
                try:
                    client.search_text("a")
                except IndexerError as e:
                    failures.append(e)

        asking = threading.Thread(target=ask)
        asking.start()
        assert engine.entered.acquire(timeout=10)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    engine.hold.set()
    asking.join(10)
    assert len(failures) == 1


def test_streams_and_answers_that_nobody_reads_do_not_hold_up_the_end(engine: FakeEngine, connect: Connect) -> None:
    big = IndexNews(1, 1, 0, 0, 1, tuple(id_of(i % 5) for i in range(500)))
    with running(engine, ApiSettings()) as server:
        listener = connect(server)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.sendall(LISTENING)
        connect(server).sendall(LARGE * 20)
        assert eventually(lambda: bool(engine.listeners))

        def both_are_stuck() -> bool:
            with suppress(RuntimeError):
                engine.publish("index", big)  # one at a time: who falls behind by many is let go instead
            return n_stuck(server) == 2

        assert eventually(both_are_stuck)
        started = time.monotonic()
    assert time.monotonic() - started < 4


def test_those_who_stream_are_told_of_the_end(engine: FakeEngine) -> None:
    with running(engine, ApiSettings()) as server:
        stopping = server._uvicorn._app.state.stopping
        assert not stopping.is_set()
    assert stopping.is_set()


def test_a_stopped_server_is_unreachable(engine: FakeEngine) -> None:
    with running(engine, ApiSettings()) as server:
        pass
    with Client(server.url, timeout_s=5) as client, pytest.raises(Unreachable, match="indexer serve"):
        client.live()


PROGRAM = """
import sys
from search_api.app import create_app
from search_api.server import Server, bind
from search_api.settings import ApiSettings
from tests.fakes.engine import FakeEngine
server = Server(create_app(FakeEngine(), ApiSettings()), bind("127.0.0.1", 0))
sys.stdout.write(server.url + "\\n")
sys.stdout.flush()
server.run()
sys.stdout.write("ended\\n")
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_0_whatever_its_clients_do(sign: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with Client(url, timeout_s=30) as client:
            client.live()
        address = (url.removeprefix("http://").partition(":")[0], int(url.rpartition(":")[2]))
        stalled = [socket.create_connection(address, timeout=10) for _ in range(4)]
        for connection, sent in zip(stalled, (b"", STALLED_HEADER, STALLED_BODY, LISTENING), strict=True):
            connection.sendall(sent)
        assert stalled[-1].recv(4).startswith(b"HTTP")
        started = time.monotonic()
        process.send_signal(sign)
        output, _ = process.communicate(timeout=20)
        for connection in stalled:
            connection.close()
    assert (process.returncode, output) == (0, "ended\n")
    assert time.monotonic() - started < 10
