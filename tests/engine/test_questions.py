"""Whatever hangs, the oldest question shows it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.torture.stub import StubEncoder
from indexer.engine.questions import OVERDUE_S, Questions
from indexer.errors import DeviceFailed
from indexer.types import ImageQuery, TextQuery
from tests.engine.test_engine import engine_at, eventually

TIMEOUT_S = 20


def test_a_question_that_waits_too_long_is_told_of_until_it_is_answered() -> None:
    now = [0.0]
    questions = Questions(clock=lambda: now[0])
    assert questions.trouble is None
    with ExitStack() as first, questions.asked():
        first.enter_context(questions.asked())
        now[0] = OVERDUE_S - 1
        assert questions.trouble is None
        with questions.asked():
            now[0] = OVERDUE_S + 1
            assert questions.trouble == "a question has waited 181 s for its answer"
        first.close()
        assert questions.trouble is not None
    assert questions.trouble is None


def test_a_question_that_fails_has_had_its_answer() -> None:
    questions = Questions(clock=iter(range(0, 10_000, 1000)).__next__)
    with pytest.raises(ZeroDivisionError), questions.asked():
        raise ZeroDivisionError
    assert questions.trouble is None


def test_an_engine_is_not_ready_while_a_question_is_overdue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.engine.questions.OVERDUE_S", 0.05)
    go_on = threading.Event()
    with engine_at(tmp_path, lambda: StubEncoder(lambda _: go_on.wait(TIMEOUT_S))) as engine:
        asking = threading.Thread(target=lambda: engine.search(ImageQuery(b"a picture"), 1), daemon=True)
        asking.start()
        assert eventually(lambda: not engine.readiness().ready)
        assert engine.readiness().checks["answers"].startswith("fail: a question has waited")
        go_on.set()
        asking.join(TIMEOUT_S)
        assert engine.readiness().ready


def test_an_engine_whose_device_hangs_says_so_and_still_comes_to_its_end(tmp_path: Path) -> None:
    go_on, entered = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        entered.set()
        go_on.wait(TIMEOUT_S)

    with engine_at(tmp_path, lambda: StubEncoder(hang)) as engine:
        engine.parts.embedder._silent_s = 0.05  # type: ignore[attr-defined]
        (tmp_path / "pictures" / "a.jpg").write_bytes(b"a picture")
        engine.rescan()
        assert entered.wait(TIMEOUT_S)
        assert eventually(lambda: not engine.readiness().ready)
        assert "has not answered for" in engine.readiness().checks["encoder"]
        with pytest.raises(DeviceFailed, match="does not answer"):
            engine.search(TextQuery("words"), 1)
        assert not go_on.is_set()
    go_on.set()


def test_an_engine_whose_index_is_lost_is_not_ready(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        assert engine.readiness().checks["index"] == "ok"
        engine.parts.index._rows.trouble = "the device that holds the index failed"  # type: ignore[attr-defined]
        readiness = engine.readiness()
        assert (readiness.ready, readiness.checks["index"]) == (False, "fail: the device that holds the index failed")
