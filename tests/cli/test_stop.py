"""stop ends the process that holds the store, and no other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from indexer import engine as engine_package
from indexer.cli import stop as verb
from indexer.store.data_dir import Holder
from tests.cli.conftest import Run

SLEEPER = "import signal, sys; {} print('up', flush=True); signal.pause()"


def start(handler: str = "") -> subprocess.Popen[bytes]:
    """A process that waits for a signal, past the point where it could miss one."""
    process = subprocess.Popen([sys.executable, "-c", SLEEPER.format(handler)], stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = start()
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def deaf() -> Iterator[subprocess.Popen[bytes]]:
    """A process that hears SIGTERM and goes on."""
    process = start("signal.signal(signal.SIGTERM, signal.SIG_IGN);")
    yield process
    process.kill()
    process.communicate()


def hold_by(process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, *first: Holder) -> None:
    """The store is held by this process as long as it lives; `first` is seen before that."""
    looks = iter(first)

    def holder(config: object) -> Holder | None:
        return next(looks, Holder(process.pid, None) if process.poll() is None else None)

    monkeypatch.setattr(engine_package, "running_server", holder)


def test_the_holder_is_asked_to_stop_and_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
) -> None:
    hold_by(sleeper, monkeypatch)
    outcome = run("stop")
    assert (outcome.code, outcome.out) == (0, "")
    assert f"stopped process {sleeper.pid}" in outcome.err
    assert sleeper.wait(5) == -15


def test_a_holder_that_has_not_told_its_number_yet_is_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch, sleeper: subprocess.Popen[bytes]
) -> None:
    hold_by(sleeper, monkeypatch, Holder(0, None), Holder(0, None))
    assert run("stop").code == 0
    assert sleeper.wait(5) == -15


def test_a_holder_that_never_tells_its_number_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "NAMED_AFTER_S", 0.01)
    monkeypatch.setattr(engine_package, "running_server", lambda config: Holder(0, None))
    outcome = run("stop")
    assert outcome.code == 4
    assert "by hand" in outcome.err


def test_without_a_server_there_is_nothing_to_stop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_package, "running_server", lambda config: None)
    outcome = run("stop")
    assert outcome.code == 0
    assert "nothing to stop" in outcome.err


@pytest.mark.parametrize("with_descriptor", [True, False])
def test_a_process_that_does_not_end_in_time_is_told(
    deaf: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, with_descriptor: bool
) -> None:
    if not with_descriptor:
        monkeypatch.delattr(verb.os, "pidfd_open")
    assert not verb.end_process(deaf.pid, lambda: True, timeout_s=0.05)
    assert deaf.poll() is None


def test_a_stop_that_takes_too_long_fails_and_says_how_to_go_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, deaf: subprocess.Popen[bytes]
) -> None:
    monkeypatch.setattr("indexer.cli.signals.DRAIN_S", 0.05)
    monkeypatch.setattr(engine_package, "running_server", lambda config: Holder(deaf.pid, None))
    outcome = run("stop")
    assert outcome.code == 1
    assert "stop it again" in outcome.err


def test_a_process_that_took_the_number_over_is_left_alone(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(verb.signal, "pidfd_send_signal", lambda *arguments: sent.append(arguments))
    assert verb.end_process(sleeper.pid, lambda: False, timeout_s=5)
    assert sent == []
    assert sleeper.poll() is None


def test_a_store_that_is_free_is_enough(deaf: subprocess.Popen[bytes]) -> None:
    """A process may take its time to end after it has given the store back."""
    held = iter([True, True, False])
    assert verb.end_process(deaf.pid, lambda: next(held), timeout_s=5)
    assert deaf.poll() is None


def test_a_process_that_is_gone_is_stopped() -> None:
    process = start()
    process.kill()
    process.communicate()
    assert verb.end_process(process.pid, lambda: True, timeout_s=5)


def test_without_process_descriptors_the_lock_tells_the_end(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(verb.os, "pidfd_open")
    assert verb.end_process(sleeper.pid, lambda: sleeper.poll() is None, timeout_s=5)
    assert sleeper.wait(5) == -15
