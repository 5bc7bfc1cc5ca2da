"""Verification as a task: one at a time, by itself once in a while, its last report kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from indexer.engine.offline import joined
from indexer.engine.verifying import META, Notes, Verifying, json_of, report_of, summary_of
from indexer.errors import Stopped, StoreFull
from indexer.types import ContentHash, FilePath, Finding, Flaw, Progress, VerifyReport
from tests.fakes.engine import report

HOUR_S = 3600.0


class World:
    """A verification that lasts as long as a test wants, notes in a dict, and a clock that a test sets."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.asked: list[tuple[int, bool]] = []
        self.began = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.go_on.set()
        self.looked = threading.Semaphore(0)
        self.at_rest = True
        self.now_s = 1e9
        self.alone = threading.Lock()
        self.fail: Exception | None = None
        self.opened: list[Verifying] = []

    def open(self, *, every_s: float = 0.0) -> Verifying:
        made = Verifying(
            self.run, Notes(self.kept.get, self.keep), self.alone,
            every_s=every_s, sample=32, at_rest=self.rests, clock=self.clock, look_s=0.001,
        )  # fmt: skip
        self.opened.append(made)
        return made

    def keep(self, key: str, text: str) -> None:
        self.kept[key] = text

    def clock(self) -> float:
        self.looked.release()
        return self.now_s

    def rests(self) -> bool:
        return self.at_rest

    def run(
        self, sample: int, repair: bool, on_progress: Callable[[Progress], None], pause: Callable[[float], None]
    ) -> VerifyReport:
        self.asked.append((sample, repair))
        self.began.release()
        on_progress(Progress("verify", True, 1, 2, 1.0, 1.0))
        while not self.go_on.wait(0.001):
            pause(0)
        pause(0)
        if self.fail:
            raise self.fail
        return report(sample=sample, repair=repair, started_at=self.now_s)

    def wait_looked(self, times: int = 5) -> None:
        """The clock was looked at so often from now on."""
        while self.looked.acquire(blocking=False):
            pass
        for _ in range(times):
            assert self.looked.acquire(timeout=10)


def finish(task: Verifying) -> Progress:
    """The end of the one that runs."""
    assert task._thread is not None
    task._thread.join(10)
    assert task.progress is not None
    assert not task.progress.running
    return task.progress


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.go_on.set()
    for task in made.opened:
        task.close()


def test_a_verification_runs_beside_and_leaves_its_report(world: World) -> None:
    world.go_on.clear()
    task = world.open()
    assert (task.progress, task.report) == (None, None)
    assert task.start(sample=3, repair=True).running
    assert world.began.acquire(timeout=10)
    assert task.report is None
    world.go_on.set()
    assert finish(task).error == ""
    assert task.report == report(sample=3, repair=True, started_at=world.now_s)


def test_one_that_runs_is_joined(world: World) -> None:
    world.go_on.clear()
    task = world.open()
    task.start(sample=1, repair=False)
    assert task.start(sample=2, repair=True).running
    world.go_on.set()
    finish(task)
    assert world.asked == [(1, False)]


def test_it_does_not_run_beside_a_rebuild(world: World) -> None:
    task = world.open()
    with world.alone:
        task.start(sample=0, repair=False)
        assert not world.began.acquire(timeout=0.05)
    assert world.began.acquire(timeout=10)
    finish(task)


@pytest.mark.parametrize("waiting", [True, False])
def test_a_stop_ends_it_without_a_report(world: World, waiting: bool) -> None:
    task = world.open()
    world.go_on.clear()
    if waiting:
        world.alone.acquire()
    task.start(sample=0, repair=False)
    task.close()
    assert finish(task).error == "the service is going down"
    assert (task.report, META in world.kept) == (None, False)
    with pytest.raises(Stopped):
        task.start(sample=0, repair=False)


def test_a_failure_is_told_and_keeps_the_report_before(world: World) -> None:
    task = world.open()
    task.start(sample=0, repair=False)
    finish(task)
    before = task.report
    world.fail = RuntimeError("boom")
    task.start(sample=0, repair=False)
    assert finish(task).error == "boom"
    assert task.report == before


def test_the_last_report_outlives_a_restart(world: World) -> None:
    task = world.open()
    task.start(sample=7, repair=False)
    finish(task)
    assert world.open().report == task.report


def test_a_report_that_cannot_be_kept_is_still_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(key: str, text: str) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(world, "keep", full)
    task = world.open()
    task.start(sample=0, repair=False)
    assert finish(task).error == ""
    assert task.report is not None


@pytest.mark.parametrize("kept", [None, "", "null", "{}", "[1]", "not json", '{"found": {"new kind": 1}}'])
def test_a_note_that_is_no_report_is_none(kept: str | None) -> None:
    assert report_of(kept) is None


def test_a_report_is_kept_whole() -> None:
    findings = (
        Finding(Flaw.STALE, "gone", path=FilePath(b"/w/caf\xe9.png")),
        Finding(Flaw.ORPHANED, "row", vector_id=7, mended=True),
        Finding(Flaw.DAMAGED, "feature", ContentHash(b"\x01" * 32), 3),
    )
    full = report(examples=findings, found={Flaw.STALE: 1}, mended={}, notes=("a", "b"))
    assert report_of(json_of(full)) == full


# ---------------------------------------------------------------- by itself


def test_it_begins_by_itself_when_the_last_one_is_old_enough(world: World) -> None:
    world.open(every_s=24 * HOUR_S).keep_time()
    world.now_s += 23.9 * HOUR_S
    world.wait_looked()
    assert world.asked == []
    world.now_s += 0.2 * HOUR_S
    assert world.began.acquire(timeout=10)
    assert world.asked == [(32, False)]
    world.wait_looked()
    assert world.asked == [(32, False)]
    world.now_s += 24 * HOUR_S
    assert world.began.acquire(timeout=10)


def test_the_time_is_counted_over_restarts(world: World) -> None:
    first = world.open(every_s=24 * HOUR_S)
    first.keep_time()
    first.close()
    world.now_s += 25 * HOUR_S
    world.open(every_s=24 * HOUR_S).keep_time()
    assert world.began.acquire(timeout=10)


def test_one_that_was_asked_for_counts_too(world: World) -> None:
    task = world.open(every_s=24 * HOUR_S)
    task.keep_time()
    world.now_s += 20 * HOUR_S
    task.start(sample=0, repair=False)
    finish(task)
    world.now_s += 20 * HOUR_S
    world.wait_looked()
    assert world.asked == [(0, False)]


def test_one_that_fails_is_not_tried_again_at_once(world: World) -> None:
    world.fail = RuntimeError("boom")
    task = world.open(every_s=24 * HOUR_S)
    task.keep_time()
    world.now_s += 25 * HOUR_S
    assert world.began.acquire(timeout=10)
    finish(task)
    world.wait_looked()
    assert len(world.asked) == 1


def test_never_is_never(world: World) -> None:
    task = world.open(every_s=0)
    task.keep_time()
    assert task._keeper is None


def test_it_waits_for_the_river_to_rest_but_not_for_ever(world: World) -> None:
    world.at_rest = False
    world.open(every_s=24 * HOUR_S).keep_time()
    world.now_s += 24.5 * HOUR_S
    world.wait_looked()
    assert world.asked == []
    world.now_s += 1 * HOUR_S
    assert world.began.acquire(timeout=10)


def test_a_clock_that_was_wrong_does_not_put_it_off(world: World) -> None:
    first = world.open(every_s=24 * HOUR_S)
    first.keep_time()
    first.close()
    world.now_s -= 1e6  # the clock had been ahead
    world.open(every_s=24 * HOUR_S).keep_time()
    world.now_s += 25 * HOUR_S
    assert world.began.acquire(timeout=10)


# ---------------------------------------------------------------- words


def test_findings_are_told_in_a_few_words() -> None:
    assert summary_of(report(found={}, mended={})) == "all is well"
    found = report(found={Flaw.MISSING: 3, Flaw.STALE: 1}, mended={Flaw.MISSING: 2})
    assert summary_of(found) == "3 missing (2 mended), 1 stale"
    assert (found.ok, found.n_left) == (False, 2)


def test_a_second_verification_tells_which_findings_of_the_first_are_mended() -> None:
    lost, stays = Finding(Flaw.MISSING, "no feature", vector_id=1), Finding(Flaw.STALE, "gone", path=FilePath(b"/w/a"))
    first = report(found={Flaw.MISSING: 2, Flaw.STALE: 1}, mended={Flaw.MISSING: 1}, examples=(lost, stays))
    second = report(found={Flaw.STALE: 1}, mended={}, examples=(stays,), notes=("held",))
    both = joined(first, second)
    assert (both.found, both.mended) == ({Flaw.MISSING: 2, Flaw.STALE: 1}, {Flaw.MISSING: 2})
    assert both.examples == (replace(lost, mended=True), stays)
    assert both.notes == ("All else is well.", "held")
    assert joined(first, report(found={}, mended={}, examples=())).ok
