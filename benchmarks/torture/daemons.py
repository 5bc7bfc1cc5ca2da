"""Two daemons on one store, and SIGTERM at random moments of the real program on the demo model."""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Row, at_least, at_most
from benchmarks.torture.counting import Encodings
from benchmarks.torture.load import Load
from indexer.store.data_dir import DataDir

ROUNDS = 10
"""SIGTERMs by default: each needs a start of the real program, which takes seconds. The full figure is 100."""

_TWICE, _SECOND_ONES, _HASTY_STOPS = 3, 5, 8
_CHANGES_PER_S = 40.0
_READY_S = 60.0


def run(args: argparse.Namespace) -> Iterator[Row]:
    if args.mutants:
        yield from _caught(args.seed)
        return
    with tempfile.TemporaryDirectory() as root:
        yield from second_daemon(Path(root))
    with tempfile.TemporaryDirectory() as root:
        yield from stopped(Path(root), args.seed, args.rounds or ROUNDS)
    with tempfile.TemporaryDirectory() as root:
        yield from stopped_twice(Path(root))


class Server:
    """`indexer serve` on the demo model, over a folder beside its store.

    Args:
        root: Holds all.
        fault: One of the probe's, which counts encodings besides; None for the plain program.
    """

    def __init__(self, root: Path, fault: str | None = "none") -> None:
        self._fault = fault
        self.pictures = root / "pictures"
        self.pictures.mkdir(exist_ok=True)
        self.store = root / "data"
        self.encodings = root / "encodings"
        self.log = root / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        self.port = _free_port()
        settings = {
            "watch.folders": self.pictures, "store.dir": self.store, "watch.settle_s": 0.2,
            "model.name": "demo", "model.device": "cpu", "decode.workers": 1, "api.port": self.port,
        }  # fmt: skip
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        probe = ["benchmarks.torture.probe", self.encodings, self._fault] if self._fault else ["indexer"]
        command = [sys.executable, "-m", *probe, *flags, "serve"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait_locked(self) -> float:
        """Wait until it holds the store, which it does from its first moment on that can lose anything."""
        return _wait(lambda: (held := DataDir(self.store).holder()) is not None and held.pid == self.pid, self.said)

    def wait_ready(self) -> float:
        return _wait(lambda: "ready: http" in self.said(), self.said)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """Stop it in order, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            self.wait_gone()

    def wait_gone(self, timeout_s: float = 30) -> tuple[int, float]:
        """Exit code, and how long that took in seconds; -9 and the whole time when it had to be killed."""
        assert self.process is not None
        began = time.monotonic()
        try:
            return self.process.wait(timeout_s), time.monotonic() - began
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(), time.monotonic() - began


class Photographs(Load):
    """A load of real pictures."""

    def _content(self) -> bytes:
        pixels = np.random.default_rng(self._rng.getrandbits(64)).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        encoded = io.BytesIO()
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(encoded, "PNG")
        return encoded.getvalue()


def second_daemon(root: Path) -> Iterator[Row]:
    """A second one on the store is refused; when the first is killed, another can come."""
    first, second = Server(root), Server(root, None)
    first.start().wait_ready()
    second.log = root / "log-of-the-second"
    slowest_s, unnamed = 0.0, 0
    for _ in range(_SECOND_ONES):
        code, took_s = second.start().wait_gone()
        slowest_s = max(slowest_s, took_s)
        unnamed += code != 4 or f"process {first.pid}" not in second.said()
    what = f"a second daemon is refused, the whole process, slowest of {_SECOND_ONES}"
    yield at_most("R11a", what, slowest_s, "s", 1.0)
    refusal = second.said().splitlines()[-1]
    yield at_most("R11b", f"of them without the first's pid and exit code 4 ({refusal})", unnamed, "", 0)
    first.signal(signal.SIGKILL)
    began = time.monotonic()
    _wait(lambda: DataDir(root / "data").holder() is None, first.said)
    yield at_most("R11c", "the store is free after kill -9 of the first", time.monotonic() - began, "s", 1.0)
    first.wait_gone()
    second.start().wait_ready()
    second.signal(signal.SIGTERM)
    code, _ = second.wait_gone()
    yield at_most("R11d", "exit code of the one that then could serve", code, "", 0)


def _caught(seed: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as root:
        first, second = Server(Path(root)), Server(Path(root), "lockless")
        first.start().wait_ready()
        second.log = Path(root, "log-of-the-second")
        second.start()
        with contextlib.suppress(TimeoutError):
            second.wait_ready()
        served = "ready: http" in second.said()
        for server in (first, second):
            server.signal(signal.SIGKILL)
            server.wait_gone()
    yield at_least("R11m", "mutant: a lock that keeps nobody out; two serve one store", int(served), "findings", 1)
    with tempfile.TemporaryDirectory() as root:
        *_, redone = stopped(Path(root), seed, _HASTY_STOPS, "hasty")
    what = f"mutant: a stop that finishes nothing; {redone.what}"
    yield at_least("R11m", what, redone.value or 0, "contents", 1)


@dataclass
class Stops:
    """What SIGTERMs came to; `n_starting` of them fell before the server was ready."""

    n: int = 0
    n_starting: int = 0
    slowest_s: float = 0.0
    faults: list[str] = field(default_factory=list)


def stopped(root: Path, seed: int, n_stops: int, fault: str = "none") -> Iterator[Row]:
    """SIGTERM at random moments, while it starts and under load. Ctrl-C ends this early: what was seen is told."""
    server = Server(root, fault)
    load, encodings = Photographs(server.pictures, seed), Encodings(server.encodings)
    began, stops, rng = time.monotonic(), Stops(), random.Random(seed)
    with load.running(_CHANGES_PER_S):
        server.start().wait_locked()
        longest_s = 1.5 * server.wait_ready() + 1.0
        with contextlib.suppress(KeyboardInterrupt):
            while stops.n < n_stops:
                if stops.n:
                    server.start().wait_locked()
                    time.sleep(rng.uniform(0, longest_s))
                _stop(server, stops)
                encodings.count(stops.n)
    server.end()
    server.start().wait_ready()
    server.end()
    encodings.count(stops.n + 1)
    for told in stops.faults:
        print(told)
    what = f"of {stops.n} SIGTERMs ({stops.n_starting} before it was ready; {time.monotonic() - began:,.0f} s)"
    yield at_most("R11e", f"{what} without exit code 0, or with an error told", len(stops.faults), "", 0)
    yield at_most("R11f", "slowest of these ends", stops.slowest_s, "s", 10.0)
    redone = sum(encodings.redone.values())
    yield at_most("R11g", f"of {encodings.n:,} encodings not committed at such an end", redone, "contents", 0)


def _stop(server: Server, stops: Stops) -> None:
    was_ready = "ready: http" in server.said()
    server.signal(signal.SIGTERM)
    code, took_s = server.wait_gone()
    said = server.said()
    if code != 0 or "Traceback" in said or "error" in said:
        stops.faults.append(f"stop {stops.n}: exit code {code} after {took_s:.1f} s: {said[-2000:]}")
    stops.n += 1
    stops.n_starting += not was_ready
    stops.slowest_s = max(stops.slowest_s, took_s)


def stopped_twice(root: Path) -> Iterator[Row]:
    """While an upload that never ends holds up the first stop, a second one ends it at once."""
    slowest_s, codes = 0.0, []
    for _ in range(_TWICE):
        server = Server(root).start()
        server.wait_ready()
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port))) as stalled:
            stalled.sendall(
                b"POST /api/search/image HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: image/png\r\n"
                b"Content-Length: 100000\r\n\r\nbegun" % server.port
            )
            server.signal(signal.SIGTERM)
            _wait(lambda server=server: "stopping" in server.said(), server.said)  # type: ignore[misc]
            time.sleep(0.3)
            server.signal(signal.SIGTERM)
            code, took_s = server.wait_gone()
        codes.append(code)
        slowest_s = max(slowest_s, took_s)
    yield at_most("R11h", f"a second SIGTERM ends it, exit codes {codes}, slowest of {_TWICE}", slowest_s, "s", 0.5)
    yield at_least("R11i", "of these ends by the second signal", codes.count(128 + signal.SIGTERM), "", _TWICE)


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait(question: Callable[[], bool], said: Callable[[], str]) -> float:
    """Ask until it is so; seconds that took."""
    began = time.monotonic()
    while not question():
        if time.monotonic() - began > _READY_S:
            raise TimeoutError(said()[-2000:])
        time.sleep(0.005)
    return time.monotonic() - began
