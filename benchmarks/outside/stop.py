"""A stop among clients that send nothing more, and clients that read nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from benchmarks.outside.service import Service, running
from benchmarks.report import Row, at_most

LIMIT_S = 10.0
HOST = b"Host: 127.0.0.1\r\n"
SEARCH = b'{"text":"a","limit":1000}'
KINDS = {
    "half a header": b"GET /health/live HTTP/1.1\r\nHost: 127",
    "half a body": b"POST /api/embed/image HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\nabc",
    "events, read": b"GET /api/events?topics=queue HTTP/1.1\r\n" + HOST + b"\r\n",
    "events, unread": b"GET /api/events?topics=index HTTP/1.1\r\n" + HOST + b"\r\n",
    "hits, unread": (
        b"POST /api/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(SEARCH) + SEARCH
    ) * 60,
}  # fmt: skip


def rows(quick: bool, seed: int) -> Iterator[Row]:
    n_each = 2 if quick else 10
    with running(n_images=1000, chatty=True) as service:
        clients = [connect(service, sent) for sent in KINDS.values() for _ in range(n_each)]
        time.sleep(2.0)  # until what nobody reads has filled every buffer on its way
        took_s, code = service.stop(30.0)
        for client in clients:
            client.close()
    yield at_most("O4", f"to the end with {n_each} each of: {', '.join(KINDS)}", took_s, "s", LIMIT_S)
    yield at_most("O4a", "its exit code", float("inf") if code is None else abs(code), "", 0)


def connect(service: Service, sent: bytes) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(service.address)
    client.settimeout(10)
    client.sendall(sent)
    return client
