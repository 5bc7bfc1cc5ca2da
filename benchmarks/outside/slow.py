"""Thousands of clients that keep the service waiting: for headers, for bodies, for somebody to read."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.outside.service import Service, running
from benchmarks.report import Row, at_most

N_CLIENTS = 5_000
HOST = b"Host: 127.0.0.1\r\n"
QUESTION = b'{"text":"a red car"}'
SEARCH = b"POST /api/search HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: %d\r\n"
LARGE = b"GET /api/openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"  # made once, so that asking for it costs little
KINDS = {
    "slow headers": (b"GET /api/stats HTTP/1.1\r\n" + HOST, b"X: y\r\n"),
    "slow bodies": (b"POST /api/embed/image HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "slow readers": (LARGE * 3, b""),
    "slow readers who come at once": (LARGE * 6, b""),
}
"""What each client sends at first, and then again every few seconds; a reader takes a byte instead."""
COMING_S = {"slow headers": 10.0, "slow bodies": 10.0, "slow readers": 60.0, "slow readers who come at once": 10.0}
"""Within which all of them come. Readers must ask for 400 kB before they can be slow, which is a load by itself."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one kind of clients."""

    quiet_ms: float
    among_ms: float
    n_failed: int
    n_asked: int
    recovered_s: float
    n_left: int


def rows(quick: bool, seed: int) -> Iterator[Row]:
    n = 500 if quick else N_CLIENTS
    for letter, kind in zip("abcd", KINDS, strict=True):
        found = measure(kind, n, 5.0 if quick else 15.0)
        ratio = found.among_ms / found.quiet_ms
        what = f"p95 of a search on a new connection among {n:,} {kind} ({found.among_ms:.1f} ms) against quiet"
        yield at_most(f"O5{letter}", what, ratio, "x", 2)
        yield at_most(
            f"O5{letter}1", f"of {found.n_asked:,} searches meanwhile without an answer", found.n_failed, "", 0
        )
        yield at_most(f"O5{letter}2", "until all of them are cut off, though they stay", found.recovered_s, "s", 60)
        yield at_most(f"O5{letter}3", "descriptors left open afterwards", found.n_left, "", 0)


def measure(kind: str, n: int, seconds: float) -> Figures:
    with running() as service:
        ask_for(service, 1.0)
        before = service.n_descriptors
        quiet = ask_for(service, seconds / 3)[0]
        with attack(service, kind, n) as done:
            among, n_failed = ask_for(service, seconds)
            while not done.poll():
                more, n_more = ask_for(service, 1.0)
                among, n_failed = among + more, n_failed + n_more
            done.recv()
            began = time.monotonic()
            while service.n_descriptors > before and time.monotonic() < began + 90:
                time.sleep(0.1)
            recovered_s = time.monotonic() - began
        quiet += ask_for(service, seconds / 3)[0]
        left = settled(service, before)
    return Figures(p95_ms(quiet), p95_ms(among), n_failed, len(among) + n_failed, recovered_s, left)


def settled(service: Service, before: int) -> int:
    """Descriptors above `before`, when those of the last searches have been given back."""
    deadline = time.monotonic() + 10
    while service.n_descriptors > before and time.monotonic() < deadline:
        time.sleep(0.1)
    return max(service.n_descriptors - before, 0)


def p95_ms(times_s: list[float]) -> float:
    return float(np.percentile(times_s, 95)) * 1e3


def ask_for(service: Service, seconds: float) -> tuple[list[float], int]:
    """Searches, one after another, each on a connection of its own: seconds of each, and how many had no answer."""
    times, n_failed = [], 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        try:
            with socket.create_connection(service.address, timeout=10) as connection:
                connection.sendall(SEARCH % len(QUESTION) + b"Connection: close\r\n\r\n" + QUESTION)
                answer = b""
                while data := connection.recv(65_536):
                    answer += data
            good = answer.startswith(b"HTTP/1.1 200 ")
        except OSError:
            good = False
        if good:
            times.append(time.perf_counter() - began)
        else:
            n_failed += 1
        time.sleep(0.01)
    return times, n_failed


# ---------------------------------------------------------------- the other side


@contextmanager
def attack(service: Service, kind: str, n: int) -> Iterator[Connection]:
    """Those clients, in a process of its own; what is yielded can be read when the last of them has come."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=besiege, args=(service.address, kind, n, theirs), daemon=True
    )
    process.start()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def besiege(address: tuple[str, int], kind: str, n: int, tell: Any) -> None:
    """Open `n` connections; each does as little as it can, and none goes by itself."""
    os.nice(10)  # they come from elsewhere: the service's processor is not theirs
    first, more = KINDS[kind]
    every_s = COMING_S[kind] / N_CLIENTS
    clients: list[socket.socket] = []
    began = time.monotonic()
    for i in range(n):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        with contextlib.suppress(OSError):
            client.connect(address)
            client.sendall(first)
        client.setblocking(False)
        clients.append(client)
        if i % 500 == 499:
            dawdle(clients, more)
        time.sleep(max(0.0, began + i * every_s - time.monotonic()))
    tell.send(True)
    while True:
        dawdle(clients, more)
        time.sleep(2.0)


def dawdle(clients: list[socket.socket], more: bytes) -> None:
    """A few bytes from each, or to it."""
    for client in clients:
        with contextlib.suppress(OSError):
            if more:
                client.send(more)
            else:
                client.recv(1)
