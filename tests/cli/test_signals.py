"""A first signal drains, a second or a missed deadline ends the process."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from indexer.cli.signals import StopSignals


class Ended(BaseException):
    """Stands in for the end of the process."""

    def __init__(self, code: int) -> None:
        self.code = code


def end(code: int) -> None:
    raise Ended(code)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_calls_what_was_asked_for(number: signal.Signals) -> None:
    asked = threading.Event()
    with StopSignals(end) as stop:
        stop.call(asked.set)
        os.kill(os.getpid(), number)
        assert asked.wait(5)
        assert stop.asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_that_ends_the_process_in_order(number: signal.Signals) -> None:
    with pytest.raises(Ended) as ended, StopSignals(end) as stop:
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert stop.asked
    assert ended.value.code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals, code: int) -> None:
    with pytest.raises(Ended) as ended, StopSignals(end) as stop:
        stop.call(lambda: None)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), number)
        threading.Event().wait(5)
    assert ended.value.code == code


def test_a_stop_that_takes_too_long_ends_the_process() -> None:
    codes: list[int] = []
    overdue = threading.Event()

    def note(code: int) -> None:
        codes.append(code)
        overdue.set()

    with StopSignals(note, drain_s=0.01) as stop:
        stop.call(lambda: None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert overdue.wait(5)
    assert codes == [1]


def test_the_handlers_of_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopSignals(end):
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
