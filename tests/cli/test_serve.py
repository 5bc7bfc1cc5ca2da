"""serve and watch: what is checked before anything dear, and how they end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from indexer import engine as engine_package
from indexer.cli import signals
from indexer.cli.service import Front
from indexer.config import Config
from indexer.errors import ConfigError, IndexerError, ModelUnavailable, StoreLocked
from search_api.client import Client
from search_api.server import Server
from tests.cli.conftest import Run
from tests.fakes.engine import FakeEngine


class Opened(FakeEngine):
    """A fake that is opened, published and closed; once published it sends this process a signal."""

    def __init__(self, config: Config, number: signal.Signals = signal.SIGTERM) -> None:
        super().__init__()
        self.config = config
        self.number = number
        self.urls: list[str] = []
        self.answered: list[bool] = []
        self.closed = False
        self.kept: list[int] = []
        """How many addresses were told when it was said that what is there stays for good."""

    def publish(self, url: str) -> None:
        self.urls.append(url)
        with Client(url) as client:
            self.answered.append(client.ready().ready)
        os.kill(os.getpid(), self.number)

    def __enter__(self) -> Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Opened]:
    """Every engine that was opened."""
    engines: list[Opened] = []
    monkeypatch.setattr("indexer.proc.keep_for_good", lambda: engines[-1].kept.append(len(engines[-1].urls)))

    def open_engine(config: Config) -> Opened:
        engines.append(Opened(config))
        return engines[-1]

    monkeypatch.setattr(engine_package, "open_engine", open_engine)
    return engines


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield int(other.getsockname()[1])


def test_serve_answers_until_a_signal_and_then_closes_the_engine(run: Run, opened: list[Opened], port: int) -> None:
    outcome = run("serve", "--port", str(port))
    assert (outcome.code, outcome.out) == (0, "")
    (engine,) = opened
    assert engine.urls == [f"http://127.0.0.1:{port}"]
    assert engine.answered == [True]
    assert engine.closed
    assert engine.kept == [0]
    assert f"ready: http://127.0.0.1:{port}" in outcome.err
    assert outcome.err.splitlines()[-1].endswith("stopped")


def test_quiet_serving_says_nothing_when_all_is_well(run: Run, opened: list[Opened], port: int) -> None:
    assert run("serve", "--port", str(port), "-q").err == ""


def test_serves_own_flags_win(run: Run, opened: list[Opened], port: int, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "other").mkdir()
    flags = ["--host", "localhost", "--port", str(port), "--folder", "photos", "--folder", "other", "--device", "cpu"]
    assert run("serve", *flags, "--set", "api.port=1").code == 0
    config = opened[0].config
    assert (config.api.host, config.api.port, config.model.device) == ("localhost", port, "cpu")
    assert config.folders == (tmp_path / "photos", tmp_path / "other")


def test_a_folder_given_as_a_flag_is_relative_to_the_working_directory(
    run: Run, opened: list[Opened], port: int, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "mine.toml").touch()
    run("serve", "--port", str(port), "--folder", "photos", "--config", "settings/mine.toml")
    assert opened[0].config.folders == (tmp_path / "photos",)


def test_a_taken_port_fails_before_the_engine_is_opened_and_says_how_to_choose(
    run: Run, opened: list[Opened], taken: int
) -> None:
    outcome = run("serve", "--port", str(taken))
    assert outcome.code == 1
    assert str(taken) in outcome.err
    assert "--port" in outcome.err
    assert opened == []


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["--host", "0.0.0.0"], "api.host"),
        (["--host", "0.0.0.0", "--set", "api.api_key=short"], "api.api_key"),
        (["--host", "not-a-name.invalid"], "api.host"),
        (["--device", "tpu"], "model.device"),
        (["--port", "0"], "--port"),
        (["--folder", "absent"], "--folder"),
    ],
)
def test_what_cannot_be_served_is_a_usage_error_before_the_engine_is_opened(
    run: Run, opened: list[Opened], flags: list[str], key: str
) -> None:
    outcome = run("serve", *flags)
    assert outcome.code == 2
    assert key in outcome.err
    assert opened == []


@pytest.mark.parametrize(
    ("error", "code"), [(StoreLocked("process 7 holds the store", 7), 4), (ModelUnavailable("no weights"), 1)]
)
def test_an_engine_that_does_not_open_is_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, port: int, error: IndexerError, code: int
) -> None:
    def fail(config: Config) -> FakeEngine:
        raise error

    monkeypatch.setattr(engine_package, "open_engine", fail)
    outcome = run("serve", "--port", str(port))
    assert outcome.code == code
    assert outcome.err.splitlines()[-1] == f"error: {error}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_engine_opens_ends_with_0(
    run: Run, monkeypatch: pytest.MonkeyPatch, port: int, number: signal.Signals
) -> None:
    @contextmanager
    def slow(config: Config) -> Iterator[FakeEngine]:
        os.kill(os.getpid(), number)
        threading.Event().wait(10)
        yield FakeEngine()

    monkeypatch.setattr(engine_package, "open_engine", slow)
    monkeypatch.setattr(signals, "StopSignals", partial(signals.StopSignals, end=sys.exit))  # not the tests' process
    outcome = run("serve", "--port", str(port))
    assert outcome.code == 0
    assert "before it was ready" in outcome.err


def test_watch_has_no_http_and_ends_at_a_signal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[Opened] = []

    class Kicker(logging.Handler):
        """Sends the signal when `watch` says that it is ready."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("ready"):
                os.kill(os.getpid(), signal.SIGINT)

    def open_engine(config: Config) -> Opened:
        engines.append(Opened(config))
        return engines[-1]

    monkeypatch.setattr(engine_package, "open_engine", open_engine)
    kicker = Kicker()
    logging.getLogger("indexer").addHandler(kicker)
    outcome = run("watch")
    logging.getLogger("indexer").removeHandler(kicker)
    assert outcome.code == 0
    assert engines[0].closed
    assert engines[0].urls == []


def test_a_server_that_ends_by_itself_is_a_failure(run: Run, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    class Fading(Opened):
        def publish(self, url: str) -> None:
            servers[0].stop()

    servers: list[Server] = []

    class Noted(Server):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            servers.append(self)

    monkeypatch.setattr("indexer.cli.service.Server", Noted)
    monkeypatch.setattr(engine_package, "open_engine", Fading)
    outcome = run("serve", "--port", str(port))
    assert outcome.code == 1
    assert "ended by itself" in outcome.err


def test_a_front_that_may_move_takes_the_next_free_port(taken: int) -> None:
    config = Config.model_validate({"api": {"port": taken}})
    front = Front.at(config, or_next=True)
    with front.listener:
        assert taken < front.port <= taken + 50


def test_a_front_does_not_move_off_an_address_that_cannot_be_had() -> None:
    config = Config.model_validate({"api": {"host": "not-a-name.invalid"}})
    with pytest.raises(ConfigError):
        Front.at(config, or_next=True)
