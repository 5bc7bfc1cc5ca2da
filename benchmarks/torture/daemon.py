"""An engine on the stub in a child process that can be killed, asked, and whose acknowledgements are heard."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.torture.oracle import differences
from benchmarks.torture.stub import StubEncoder, configured, open_stub
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config
from indexer.engine import RunningEngine, open_engine
from indexer.ports import Encoder
from indexer.types import Committed, Found, Outcome

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["benchmarks.torture.daemon", "indexer.index.cpu", "indexer.features.disk"])


class Died(Exception):
    """The child ended while it was waited for."""


@dataclass(frozen=True, slots=True)
class Ack:
    """One catalogue transaction that returned: path -> content hash, both hex, or None for gone and refused."""

    seq: int
    paths: Mapping[str, str | None]
    heard_s: float = field(default_factory=time.monotonic, compare=False)


@dataclass
class Daemon:
    """One store over some folders, and the process that serves it while there is one.

    Attributes:
        root: Holds `pictures` (watched) and `data` (the store).
        settings: `section.key` -> value, over the harness's own.
        prepare: Called first in every child: where a torture plants its faults. Must be picklable.
        build: Makes the encoder in the child. Must be picklable.
        acks: Every acknowledgement heard so far, over all children.
        acknowledged: What they come to: path -> content hash, both hex, or None for gone and refused.
        process: The child of now, or the last one.
    """

    root: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None
    build: Callable[[], Encoder] = StubEncoder
    acks: list[Ack] = field(default_factory=list)
    acknowledged: dict[str, str | None] = field(default_factory=dict)
    process: Any = None

    def __post_init__(self) -> None:
        self._heard = threading.Condition()
        self.pictures.mkdir(parents=True, exist_ok=True)

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def store(self) -> Path:
        return self.root / "data"

    @property
    def config(self) -> Config:
        return configured(self.root, self.settings)

    def start(self) -> Daemon:
        """Start a child and return when it answers; raises what its start raised, as text."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start a child and do not wait for it."""
        self._ready = False
        self._pipe, theirs = _context.Pipe()
        heard, said = _context.Pipe(duplex=False)
        self.process = _context.Process(
            target=_serve, args=(self.config, self.prepare, self.build, theirs, said), daemon=True
        )
        self.process.start()
        theirs.close()
        said.close()
        self._listener = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._listener.start()

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return when the child answers; again is no error."""
        if not self.is_ready(timeout_s):
            raise TimeoutError(f"the daemon was not ready after {timeout_s} s")

    def is_ready(self, within_s: float) -> bool:
        """Whether the child answers, or comes to that in time; raises what its start raised, as text."""
        if not self._ready and self._pipe.poll(within_s):
            error = self._receive()
            if error:
                raise RuntimeError(error)
            self._ready = True
        return self._ready

    def ask(self, name: str, timeout_s: float = 120) -> Any:
        """The child's answer to one of `QUESTIONS`, to `check` or to `stop`."""
        self.tell(name)
        if not self._pipe.poll(timeout_s):
            raise TimeoutError(f"no answer to {name!r} in {timeout_s} s")
        answer, error = self._receive()
        if error:
            raise RuntimeError(error)
        return answer

    def tell(self, name: str) -> None:
        """Put a question and do not wait for the answer."""
        try:
            self._pipe.send(name)
        except OSError as e:
            raise Died(name) from e

    def wait_acknowledged(self, wanted: Mapping[str, str | None], timeout_s: float = 30) -> None:
        """Return when the acknowledgements come to at least this."""

        def heard() -> bool:
            return all(self.acknowledged.get(path) == hash for path, hash in wanted.items())

        deadline_s = time.monotonic() + timeout_s
        with self._heard:
            while not heard():
                if not self._listener.is_alive():
                    raise Died("its acknowledgements were waited for")
                if time.monotonic() > deadline_s:
                    missing = [path for path, hash in wanted.items() if self.acknowledged.get(path) != hash]
                    raise TimeoutError(f"not acknowledged after {timeout_s} s: {missing}")
                self._heard.wait(0.05)

    def check(self, within_s: float = 10.0) -> list[str]:
        """In what the child differs from its folders, `within_s` after they came to rest; empty when all is well."""
        deadline_s = time.monotonic() + within_s
        while True:
            self.ask("rest")
            different: list[str] = self.ask("check")
            if not different or time.monotonic() > deadline_s:
                return different
            time.sleep(0.05)  # an event may still have been on its way

    def kill(self) -> None:
        """kill -9, and everything acknowledged before it is in `acks` on return."""
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(self.process.pid, signal.SIGKILL)
        self._gone()

    def stop(self) -> None:
        """Close in order."""
        self.ask("stop")
        self._gone()

    def wait_gone(self) -> int:
        """Wait for a child that ends by itself; its exit code."""
        self._gone()
        code: int = self.process.exitcode
        return code

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError) as e:
            raise Died("its answer was waited for") from e

    def _gone(self) -> None:
        self.process.join()
        self._listener.join()
        self._pipe.close()

    def _listen(self, heard: Connection) -> None:
        with suppress(EOFError, OSError, ValueError), heard:
            while True:
                seq, paths = json.loads(heard.recv_bytes())
                with self._heard:
                    self.acks.append(Ack(seq, paths))
                    self.acknowledged |= paths
                    self._heard.notify_all()


def _rest(engine: RunningEngine) -> bool:
    return engine.wait_idle(60.0)


def _save(engine: RunningEngine) -> None:
    engine._keeper.save_anew()  # noqa: SLF001  it saves by the clock, and a torture has no time to wait


QUESTIONS: Mapping[str, Callable[[RunningEngine], Any]] = {
    "rest": _rest,
    "save": _save,
    "rescan": lambda engine: engine.rescan(),
    "stats": lambda engine: engine.stats(),
}


def _serve(
    config: Config,
    prepare: Callable[[], None] | None,
    build: Callable[[], Encoder],
    pipe: Connection,
    acks: Connection,
) -> None:
    if prepare:
        prepare()
    _announce_commits(acks)
    try:
        engine = open_engine(config, model=partial(open_stub, build=build))
    except Exception as e:
        pipe.send(f"{type(e).__name__}: {e}")
        return
    pipe.send("")
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            os._exit(1)  # the harness is gone
        try:
            if question == "stop":
                engine.close()
                pipe.send((None, ""))
                return
            answer = (
                differences(engine, config.folders, config.watch.exclude)
                if question == "check"
                else QUESTIONS[question](engine)
            )
            pipe.send((answer, ""))
        except Exception as e:
            pipe.send((None, f"{type(e).__name__}: {e}"))


def _announce_commits(acks: Connection) -> None:
    """Tell of every transaction after it returned, before anyone acts on it."""
    commit = SqliteCatalogue.commit

    def announced(self: SqliteCatalogue, outcomes: Sequence[Outcome]) -> Committed:
        done = commit(self, outcomes)
        paths = {o.path.hex(): o.hash.hex() if isinstance(o, Found) else None for o in outcomes}
        acks.send_bytes(json.dumps([done.seq, paths]).encode())
        return done

    SqliteCatalogue.commit = announced  # type: ignore[method-assign]
