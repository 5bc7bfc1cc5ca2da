"""What is told of a flood of changes while it lasts."""

from __future__ import annotations

import logging

import pytest

from indexer.engine.pace import LOG_S, TELL_AFTER_S, WINDOW_S, Pace


class Flood:
    """Paths that wait, done at a pace, by a clock that is told."""

    def __init__(self) -> None:
        self.now = 100.0
        self.n_pending = 0
        self.n_done = 7  # of earlier ones
        self.pace = Pace(lambda: self.n_pending, lambda: self.n_done, lambda: "encode", lambda: self.now)
        self.pace.look()

    def arrive(self, n: int) -> None:
        self.n_pending += n
        self.pace.look()

    def work(self, seconds: int, a_second: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            n = min(a_second, self.n_pending)
            self.n_done += n
            self.n_pending -= n
            self.pace.look()


def test_a_flood_is_told_with_its_rate_and_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    flood = Flood()
    flood.arrive(1000)
    flood.work(20, 10)
    progress = flood.pace.progress
    assert progress is not None
    assert (progress.task, progress.running, progress.n_done, progress.n_total) == ("index", True, 200, 1000)
    assert progress.rate_per_s == pytest.approx(10)
    assert progress.eta_s == pytest.approx(80)
    assert caplog.messages[-1] == "indexing: 200 of 1000 files, 10.0 a second, 80 s left, limited by encode"
    assert len(caplog.messages) == 20 // LOG_S
    flood.work(80, 10)
    assert flood.pace.progress is None
    assert caplog.messages[-1] == "indexed 1000 files in 100.0 s, 10.0 a second"


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    flood = Flood()
    flood.arrive(10_000)
    flood.work(40, 100)
    flood.work(int(WINDOW_S), 2)
    assert flood.pace.progress is not None
    assert flood.pace.progress.rate_per_s == pytest.approx(2)


def test_what_comes_meanwhile_belongs_to_it() -> None:
    flood = Flood()
    flood.arrive(100)
    flood.work(5, 10)
    flood.arrive(50)
    assert flood.pace.progress is not None
    assert (flood.pace.progress.n_done, flood.pace.progress.n_total) == (50, 150)


def test_what_is_done_at_once_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    flood = Flood()
    for _ in range(5):
        flood.arrive(3)
        flood.work(int(TELL_AFTER_S) - 1, 3)
        assert flood.pace.progress is None
    assert caplog.messages == []


def test_where_nothing_moves_no_end_is_promised(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    flood = Flood()
    flood.arrive(10)
    flood.work(int(LOG_S), 0)
    assert flood.pace.progress is not None
    assert flood.pace.progress.eta_s is None
    assert "no end in sight" in caplog.text
