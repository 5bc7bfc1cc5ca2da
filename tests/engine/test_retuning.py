"""Batches measured inside a running service."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from benchmarks.torture.stub import configured
from indexer.engine.retuning import Retuning, Tried
from indexer.errors import InputError, NotTuned, Stopped
from indexer.store.data_dir import DataDir
from indexer.store.tuned import read_tuning
from indexer.types import BatchLimit, Progress, TextQuery, Tuning
from tests.engine.test_engine import engine_at
from tests.fakes.engine import TUNING

TIMEOUT_S = 30


class Parts:
    tuning: Tuning | None = None
    batch = BatchLimit(32, "recommended")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.tune.ROUNDS_S", 0.0)


def finished(retuning: Any) -> Progress:
    assert retuning.wait(TIMEOUT_S)
    assert retuning.progress is not None
    assert not retuning.progress.running
    return retuning.progress  # type: ignore[no-any-return]


@pytest.mark.usefixtures("quick")
def test_a_service_measures_while_it_answers_and_uses_the_choice_at_once(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        with pytest.raises(NotTuned):
            engine.tuning()
        assert engine.tune().running
        assert engine.search(TextQuery("anything"), 1).count == 0
        done = finished(engine._retuning)
        assert done.error == ""
        stats, tuning = engine.stats(), engine.tuning()
        assert (stats.batch_size, stats.batch_size_from) == (tuning.size, "tuned")
        assert done in stats.progress
        assert 0 < done.n_done < done.n_total
        kept = DataDir(configured(tmp_path).store_dir).tuned
        assert read_tuning(kept, tuning.device, tuning.fingerprint) == tuning
        assert engine.parts.embedder.n_encoded == 0


@pytest.mark.usefixtures("quick")
def test_a_configured_size_stays_in_force(tmp_path: Path) -> None:
    with engine_at(tmp_path, settings={"model.batch_size": 5}) as engine:
        before = engine.stats().batch_size
        engine._retuning.batch = BatchLimit(before, "configured")  # the stub's model knows no configuration
        engine.tune()
        finished(engine._retuning)
        assert engine.stats().batch_size == before
        assert engine.tuning().rows


def test_whoever_asks_meanwhile_joins_and_a_failure_is_told() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def measure(tried: Tried) -> Tuning:
        tried(10)
        asked.set()
        assert go_on.wait(TIMEOUT_S)
        raise OSError("no device")

    retuning = Retuning(Parts(), measure, lambda size: None)  # type: ignore[arg-type]
    retuning.start()
    assert asked.wait(TIMEOUT_S)
    assert (retuning.start().n_done, retuning.start().n_total) == (1, 10)
    go_on.set()
    assert finished(retuning).error == "no device"
    assert retuning.batch == Parts.batch
    with pytest.raises(NotTuned):
        _ = retuning.tuning


def test_the_end_of_the_service_ends_it_after_the_running_batch() -> None:
    tried_once, ended = threading.Event(), threading.Event()

    def measure(tried: Tried) -> Tuning:
        try:
            while True:
                tried(10)
                tried_once.set()
        finally:
            ended.set()

    retuning = Retuning(Parts(), measure, lambda size: None)  # type: ignore[arg-type]
    retuning.start()
    assert tried_once.wait(TIMEOUT_S)
    retuning.close()
    assert ended.is_set()
    assert "going down" in finished(retuning).error
    with pytest.raises(Stopped):
        retuning.start()


def test_an_engine_that_only_answers_does_not_measure() -> None:
    with pytest.raises(InputError, match="run a server"):
        Retuning(Parts(), None, lambda size: None).start()  # type: ignore[arg-type]


def test_what_was_measured_before_is_told() -> None:
    class Tuned(Parts):
        tuning = TUNING

    assert Retuning(Tuned(), None, lambda size: None).tuning is TUNING  # type: ignore[arg-type]
