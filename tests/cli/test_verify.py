"""verify and why, through a running server and without one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from indexer import engine as engine_package
from indexer.cli import source
from indexer.cli import verify as verify_verb
from indexer.cli.service import Front
from indexer.cli.why import as_watched
from indexer.config import Config
from indexer.errors import StoreLocked
from indexer.store.data_dir import Holder
from indexer.types import FilePath, Finding, Flaw, Progress, Stats, VerifyReport
from search_api.server import bind
from search_api.settings import ApiSettings
from tests.cli.conftest import Run
from tests.fakes.engine import FakeEngine, id_of, report

WELL = report(found={}, mended={}, examples=(), notes=(), kept=0, repair=False)


class VerifyingEngine(FakeEngine):
    """A verification that is over at the third look; reports come in their turn, the last one again and again."""

    def __init__(self, *reports: VerifyReport) -> None:
        super().__init__()
        self._reports = list(reports)
        self._looks = 0
        self.error = ""

    def verify(self, *, sample: int = 0, repair: bool = False) -> Progress:
        super().verify(sample=sample, repair=repair)
        self._looks = 0
        self.report = self._reports.pop(0) if len(self._reports) > 1 else self._reports[0]
        return Progress("verify", True, 0, 0, 0.0, None)

    def stats(self) -> Stats:
        self._looks += 1
        running = self._looks < 3
        now = Progress("verify", running, 3, 5, 1.0, None, error="" if running else self.error)
        return replace(super().stats(), progress=(now,))


Set = Callable[..., list[tuple[int, bool]]]


@pytest.fixture(params=["server", "store"])
def verified(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Set]:
    """Lets a verification report as given, in a server or in this process; the list holds what was asked for."""
    asked: list[tuple[int, bool]] = []
    monkeypatch.setattr(verify_verb, "POLL_S", 0.001)
    with ExitStack() as stack:

        def set_report(given: VerifyReport) -> list[tuple[int, bool]]:
            def offline(
                config: Config, *, sample: int, repair: bool, on_progress: Callable[[Progress], None]
            ) -> VerifyReport:
                asked.append((sample, repair))
                on_progress(Progress("verify", True, 1, 2, 1.0, 1.0))
                return given

            if request.param == "store":
                monkeypatch.setattr(source, "running_server", lambda config: None)
                monkeypatch.setattr(engine_package, "verify_offline", offline)
            else:
                engine = VerifyingEngine(given)
                monkeypatch.setattr(
                    engine, "_called", lambda name, argument: asked.append(argument) if name == "verify" else None
                )
                serve(engine, monkeypatch, stack)
            return asked

        yield set_report


def serve(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    front = Front(ApiSettings(port=0), bind("127.0.0.1", 0))
    url = stack.enter_context(front.answering(engine, threading.Event()))
    monkeypatch.setattr(source, "running_server", lambda config: Holder(os.getpid(), url))


def test_a_store_that_is_well_is_exit_code_0(run: Run, verified: Set) -> None:
    asked = verified(WELL)
    outcome = run("verify")
    assert outcome.code == 0
    assert outcome.out == "compared 6 files, 5 images, 7 features and 4 rows in 1.5 s\nall is well\n"
    assert asked == [(0, False)]


def test_findings_are_counted_and_shown_and_exit_code_1(run: Run, verified: Set) -> None:
    findings = (
        Finding(Flaw.STALE, "the file is gone", path=FilePath(b"/w/caf\xe9\n.png")),
        Finding(Flaw.ORPHANED, "a row too many", vector_id=7, mended=True),
    )
    verified(
        report(
            found={Flaw.STALE: 1, Flaw.ORPHANED: 2},
            mended={Flaw.ORPHANED: 2},
            examples=findings,
            repair=False,
            sample=9,
        )
    )
    outcome = run("verify")
    assert outcome.code == 1
    assert "stale: 1\norphaned: 2, 2 of them mended\n" in outcome.out
    assert "stale\tno\tthe file is gone\t/w/caf\\xe9\\n.png\n" in outcome.out
    assert "orphaned\tyes\ta row too many\trow 7\n" in outcome.out
    assert "2 features are kept" in outcome.out
    assert "note: All else is well." in outcome.err
    assert "indexer verify --repair" in outcome.err


def test_all_mended_is_exit_code_0(run: Run, verified: Set) -> None:
    asked = verified(report(sample=8))
    outcome = run("verify", "--repair", "--sample", "8")
    assert outcome.code == 0
    assert "missing: 1, 1 of them mended" in outcome.out
    assert "images encoded again" in outcome.out
    assert asked == [(8, True)]


def test_the_report_comes_as_json_on_request(run: Run, verified: Set) -> None:
    verified(report(found={Flaw.MISSING: 2}))
    outcome = run("verify", "--repair", "--json")
    assert outcome.code == 1
    answer = json.loads(outcome.out)
    assert (answer["ok"], answer["found"], answer["examples"][0]["id"]) == (False, {"missing": 2}, id_of(0))


def test_one_that_ran_already_and_did_less_is_followed_by_what_was_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_verb, "POLL_S", 0.001)
    engine = VerifyingEngine(WELL, replace(WELL, repair=True), report(repair=True, sample=4))
    with ExitStack() as stack:
        serve(engine, monkeypatch, stack)
        assert run("verify", "--repair", "--sample", "4").code == 0
    assert [argument for name, argument in engine.calls if name == "verify"] == [(4, True)] * 3


def test_a_verification_that_failed_fails(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_verb, "POLL_S", 0.001)
    engine = VerifyingEngine(WELL)
    engine.error = "the disk is gone"
    with ExitStack() as stack:
        serve(engine, monkeypatch, stack)
        outcome = run("verify")
    assert (outcome.code, outcome.out) == (1, "")
    assert "the disk is gone" in outcome.err


def test_a_store_that_another_process_holds_is_exit_code_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> VerifyReport:
        raise StoreLocked("process 7 holds the store", 7)

    monkeypatch.setattr(source, "running_server", lambda config: Holder(7, None))
    monkeypatch.setattr(engine_package, "verify_offline", locked)
    assert run("verify").code == 4


@pytest.mark.parametrize("arguments", [["--sample", "-1"], ["--sample", "x"], ["extra"]])
def test_a_wrong_sample_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    assert run("verify", *arguments).code == 2


def test_without_a_store_both_verbs_fail_and_make_none(run: Run, tmp_path: Path) -> None:
    for verb in (["verify"], ["verify", "--repair"], ["why", "x.png"]):
        outcome = run(*verb)
        assert (outcome.code, outcome.out) == (1, "")
        assert "no index" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_status_tells_of_the_last_verification(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        serve(FakeEngine(), monkeypatch, stack)
        assert "verified\t2025-11-22T12:00:00.500000Z: 1 missing, all mended" in run("status").out


# ---------------------------------------------------------------- why


@pytest.fixture(params=["server", "store"])
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine that `why` reaches, through a server or without one."""
    engine = FakeEngine()
    monkeypatch.setattr(source, "why_offline", lambda config, path: engine.why(path))
    monkeypatch.setattr(source, "running_server", lambda config: None)
    with ExitStack() as stack:
        if request.param == "server":
            serve(engine, monkeypatch, stack)
        yield engine


def test_why_says_a_sentence_then_what_is_known(run: Run, asked: FakeEngine) -> None:
    outcome = run("why", "/pictures/0.jpg")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == f"It is indexed as {id_of(0)}."
    assert {"path\t/pictures/0.jpg", "standing\tindexed", "searchable\tyes", f"id\t{id_of(0)}"} <= set(lines)
    assert "same content\t/pictures/copy-\\xff.jpg" in lines


def test_why_as_json(run: Run, asked: FakeEngine) -> None:
    answer = json.loads(run("why", "/pictures/0.jpg", "--json").out)
    assert (answer["standing"], answer["id"]) == ("indexed", id_of(0))


def test_why_asks_by_the_absolute_path_byte_for_byte(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    run("why", os.fsdecode(b"caf\xe9.png"))
    assert asked.calls == [("why", os.fsencode(tmp_path) + b"/caf\xe9.png")]


def test_a_path_through_a_link_is_spelt_as_the_folders_are(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    (real / "leads-out").symlink_to(tmp_path)
    folders = [os.fsencode(real)]
    assert as_watched(os.fsencode(link / "a.png"), folders) == os.fsencode(real / "a.png")
    assert as_watched(os.fsencode(real / "leads-out" / "a.png"), folders) == os.fsencode(real / "leads-out" / "a.png")
    assert as_watched(os.fsencode(tmp_path / "b.png"), folders) == os.fsencode(tmp_path / "b.png")
