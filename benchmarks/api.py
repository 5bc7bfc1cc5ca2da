"""What the API costs on top of a bare ASGI application: `python -m benchmarks.api`.

C12: an 86 KB picture is sent as a raw body over several loopback connections, to this service and to the least that
could do the same job on the same server: read the body, call the engine in a worker thread, answer with JSON. The
engine is a stub. The peers run in processes of their own and are measured in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, cast

import msgspec
import numpy as np

from benchmarks.report import Row, at_least, emit, paired_ratio
from indexer.types import EmbeddedImage, EmbeddingSpace, Preprocess

BODY = bytes(86_000)
ANSWER = EmbeddedImage("0" * 64, np.full(4, 0.5, np.float32), None)
SPACE = EmbeddingSpace("stub", "none", "fp32", 4, Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
N_CONNECTIONS = 8


class StubEngine:
    """Answers at once."""

    space = SPACE
    dims = (4, None)

    def embed_images(self, images: Sequence[bytes]) -> list[EmbeddedImage]:
        return [ANSWER]


# ---------------------------------------------------------------- the peers


def serve_lookalike(listener: socket.socket) -> None:
    from search_api.app import create_app
    from search_api.server import Server
    from search_api.settings import ApiSettings

    engine: Any = StubEngine()
    Server(create_app(engine, ApiSettings()), listener).run()


def serve_bare(listener: socket.socket, *, in_thread: bool = True) -> None:
    import uvicorn

    engine = StubEngine()
    threads = ThreadPoolExecutor(64)

    def work(body: bytes) -> bytes:
        image = engine.embed_images([body])[0]
        answer = {"id": image.id, "feature": image.feature.tolist(), "embedding": None, "model": "stub", "space": "x"}
        return msgspec.json.encode(answer)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        parts = []
        while True:
            message = await receive()
            parts.append(message["body"])
            if not message["more_body"]:
                break
        body = b"".join(parts)
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(threads, work, body) if in_thread else work(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


def serve_inline(listener: socket.socket) -> None:
    serve_bare(listener, in_thread=False)


def serve_multipart(listener: socket.socket) -> None:
    """Litestar's own way with a form's file."""
    import uvicorn
    from litestar import Litestar, post
    from litestar.datastructures import UploadFile
    from litestar.params import MultipartBody

    engine = StubEngine()

    @post("/api/embed/image", status_code=200)
    async def upload(data: MultipartBody[UploadFile]) -> dict[str, Any]:
        body = await data.read()
        image = (await asyncio.to_thread(engine.embed_images, [body]))[0]
        return {"id": image.id, "feature": image.feature.tolist()}

    app = Litestar([upload], openapi_config=None, logging_config=None)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Peer:
    """One server process and what is sent to it."""

    port: int
    process: BaseProcess
    request: bytes

    def cpu_s(self) -> float:
        """Processor time of the process so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(body: bytes, kind: str) -> bytes:
    fields = [
        "POST /api/embed/image HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*fields, "", ""]).encode() + body


RAW = request(BODY, "application/octet-stream")
FORM = request(
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + BODY + b"\r\n--b--\r\n",
    "multipart/form-data; boundary=b",
)


@contextmanager
def peer(serve: Callable[[socket.socket], None], sent: bytes) -> Iterator[Peer]:
    """A server in a process of its own, answering."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(listener,), daemon=True)
    process.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        found = Peer(port, process, sent)
        load(found, 0.3)
        yield found
    finally:
        process.kill()
        process.join()


def load(to: Peer, seconds: float) -> float:
    """Requests a second over several connections, each sending its next one when its answer is in."""
    selector = selectors.DefaultSelector()
    connections = [socket.create_connection(("127.0.0.1", to.port), timeout=60) for _ in range(N_CONNECTIONS)]
    missing = dict.fromkeys(connections, 0)
    n_answers = 0
    for connection in connections:
        connection.sendall(to.request)
        selector.register(connection, selectors.EVENT_READ)
    start = elapsed = 0.0
    while elapsed < seconds:
        for key, _ in selector.select(1.0):
            start = start or time.perf_counter()  # a server that has just been started takes its time
            connection = cast("socket.socket", key.fileobj)
            received = connection.recv(65_536)
            if missing[connection] == 0:
                missing[connection] = whole_length(received)
            missing[connection] -= len(received)
            if missing[connection] == 0:
                n_answers += 1
                connection.sendall(to.request)
        elapsed = time.perf_counter() - start if start else 0.0
    for connection in connections:
        connection.close()
    return n_answers / elapsed


def whole_length(beginning: bytes) -> int:
    """Bytes of an answer, header and body; servers send the header in one piece."""
    head, separator, _ = beginning.partition(b"\r\n\r\n")
    assert separator, beginning
    assert head.startswith(b"HTTP/1.1 200 "), beginning
    return len(head) + 4 + int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def measure(
    peers: dict[str, Peer], rounds: int, seconds: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Rate (1/s) and processor time a request (s) of each peer in each round; the order turns."""
    rates: dict[str, list[float]] = {name: [] for name in peers}
    costs: dict[str, list[float]] = {name: [] for name in peers}
    names = list(peers)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            before = peers[name].cpu_s()
            rate = load(peers[name], seconds)
            rates[name].append(rate)
            costs[name].append((peers[name].cpu_s() - before) / (rate * seconds))
    return rates, costs


def quiet(costs: list[float]) -> float:
    """What it costs while the neighbours are quiet: they only ever add."""
    return float(np.percentile(costs, 10))


def rows(rounds: int = 40, seconds: float = 0.15) -> list[Row]:
    """The rows of this benchmark."""
    with (
        peer(serve_lookalike, RAW) as ours,
        peer(serve_bare, RAW) as bare,
        peer(serve_inline, RAW) as inline,
        peer(serve_multipart, FORM) as form,
    ):
        peers = {"ours": ours, "bare": bare, "inline": inline, "form": form}
        rates, costs = measure(peers, rounds, seconds)
    server = "uvicorn with httptools, one worker; 86 KB, 8 connections"
    return [
        at_least("C12", "raw upload, rate", paired_ratio(rates, "ours", "bare"), "x", 0.8, f"bare ASGI, {server}"),
        at_least(
            "C12cpu",
            "raw upload, processor time",
            paired_ratio(costs, "bare", "ours"),
            "x",
            0.8,
            f"bare ASGI, {server}",
        ),
        at_least(
            "C12form",
            "raw upload, rate",
            paired_ratio(rates, "ours", "form"),
            "x",
            2.2,
            f"Litestar's multipart, {server}",
        ),
        Row(
            "C12loop",
            "raw upload, rate",
            paired_ratio(rates, "ours", "inline"),
            "x",
            peer=f"bare ASGI that calls the engine on its event loop, {server}",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--quick", action="store_true", help="12 rounds")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.15)
    arguments = parser.parse_args()
    emit(rows(12 if arguments.quick else arguments.rounds, arguments.seconds), json=arguments.json)


if __name__ == "__main__":
    main()
