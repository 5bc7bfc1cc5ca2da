"""rebuild and rescan, through a running server and without one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from indexer import engine as engine_package
from indexer.cli import rebuild as verb
from indexer.cli import source
from indexer.cli.service import Front
from indexer.config import Config
from indexer.errors import StoreLocked
from indexer.store.data_dir import Holder
from indexer.types import Progress, Stats
from search_api.server import bind
from search_api.settings import ApiSettings
from tests.cli.conftest import Run
from tests.fakes.engine import FakeEngine

SUMMARY: dict[str, int | float] = {
    "live": 10_000, "restored": 10_000, "removed": 2, "encoded": 0, "missing": 0, "seconds": 1.94,
}  # fmt: skip


def ended(**changes: float) -> Progress:
    return Progress("rebuild", False, 10_000, 10_000, 5000.0, 0.0, {**SUMMARY, **changes})


class RebuildingEngine(FakeEngine):
    """A rebuild that is over at the third look."""

    def __init__(self, end: Progress) -> None:
        super().__init__()
        self._end = end
        self._looks = 0

    def rebuild(self, *, reencode: bool = False) -> Progress:
        super().rebuild(reencode=reencode)
        return Progress("rebuild", True, 0, 0, 0.0, None)

    def stats(self) -> Stats:
        self._looks += 1
        now = replace(self._end, running=True, summary={}) if self._looks < 3 else self._end
        return replace(super().stats(), progress=(now,))


@contextmanager
def serving(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    front = Front(ApiSettings(port=0), bind("127.0.0.1", 0))
    with front.answering(engine, threading.Event()) as url:
        monkeypatch.setattr(source, "running_server", lambda config: Holder(os.getpid(), url))
        yield url


@pytest.fixture(params=["server", "store"])
def rebuild_ends(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Progress], list[bool]]]:
    """Lets a rebuild end as given, in a server or in this process; the list holds what `reencode` was asked for."""
    asked: list[bool] = []
    opened: list[object] = []
    monkeypatch.setattr(verb, "POLL_S", 0.001)

    def set_end(end: Progress) -> list[bool]:
        def offline(config: Config, *, reencode: bool, on_progress: Callable[[Progress], None]) -> Progress:
            asked.append(reencode)
            on_progress(replace(end, running=True))
            return end

        if request.param == "store":
            monkeypatch.setattr(source, "running_server", lambda config: None)
            monkeypatch.setattr(engine_package, "rebuild_offline", offline)
        else:
            engine = RebuildingEngine(end)
            monkeypatch.setattr(
                engine, "rebuild", lambda *, reencode: asked.append(reencode) or replace(end, running=True)
            )
            context = serving(engine, monkeypatch)
            context.__enter__()
            opened.append(context)
        return asked

    yield set_end
    for context in opened:
        context.__exit__(None, None, None)  # type: ignore[attr-defined]


Ends = Callable[[Progress], list[bool]]


def test_a_rebuild_ends_with_a_line_of_counts(run: Run, rebuild_ends: Ends) -> None:
    asked = rebuild_ends(ended())
    outcome = run("rebuild")
    assert outcome.code == 0
    assert outcome.out == "rebuilt 10,000 images in 1.9 s: 10,000 restored, 0 encoded, 0 missing\n"
    assert asked == [False]


def test_reencode_is_passed_on(run: Run, rebuild_ends: Ends) -> None:
    asked = rebuild_ends(ended(encoded=10_000))
    assert "10,000 encoded" in run("rebuild", "--reencode").out
    assert asked == [True]


def test_a_rebuild_that_lacks_pictures_is_done_in_part(run: Run, rebuild_ends: Ends) -> None:
    rebuild_ends(ended(missing=3, restored=9997))
    outcome = run("rebuild")
    assert outcome.code == 3
    assert "3 missing" in outcome.out


def test_a_rebuild_that_failed_fails(run: Run, rebuild_ends: Ends) -> None:
    rebuild_ends(replace(ended(), summary={"seconds": 0.1}, error="no room on the disk"))
    outcome = run("rebuild")
    assert (outcome.code, outcome.out) == (1, "")
    assert "the rebuild failed: no room on the disk" in outcome.err


def test_the_counts_come_as_json_on_request(run: Run, rebuild_ends: Ends) -> None:
    rebuild_ends(ended())
    assert json.loads(run("rebuild", "--json").out) == SUMMARY


def test_a_store_that_another_process_holds_is_exit_code_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> Progress:
        raise StoreLocked("process 7 holds the store", 7)

    monkeypatch.setattr(source, "running_server", lambda config: Holder(7, None))
    monkeypatch.setattr(engine_package, "rebuild_offline", locked)
    outcome = run("rebuild")
    assert (outcome.code, outcome.err) == (4, "error: process 7 holds the store\n")


@pytest.mark.parametrize(("flags", "confirmed"), [([], False), (["--confirm-gone"], True)])
def test_rescan_asks_the_server(run: Run, monkeypatch: pytest.MonkeyPatch, flags: list[str], confirmed: bool) -> None:
    engine = FakeEngine()
    with serving(engine, monkeypatch):
        assert run("rescan", *flags).code == 0
    assert ("rescan", confirmed) in engine.calls


def test_rescan_without_a_server_is_unreachable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "running_server", lambda config: None)
    outcome = run("rescan")
    assert outcome.code == 4
    assert "indexer serve" in outcome.err
