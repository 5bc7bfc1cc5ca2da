"""Leaks are found in time, and what only looks like one is not. Sizes in bytes, one for each request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.leaks import QUIET_S, Component, Growth, Leaks, Quiet, Window, growth, is_spread

MB = 1_000_000
N = 10_000
RECORDED = Path(__file__).with_name("data") / "clean_rss_kib.txt"
IDLE = RECORDED.with_name("idle_rss_kib.txt")
Trace = NDArray[np.float64]


def noise(rng: np.random.Generator, n: int = N) -> Trace:
    """What requests of mixed sizes take for a moment, over a level."""
    return 800 * MB + rng.exponential(8 * MB, n) + rng.normal(0, 0.3 * MB, n)


def warm_up(n: int, size_mb: float, requests: float) -> Trace:
    return size_mb * MB * (1 - np.exp(-np.arange(n) / requests))


def steps(rng: np.random.Generator, n: int, n_steps: int) -> Trace:
    x = np.zeros(n)
    for at in rng.integers(0, n, n_steps):
        x[at:] += rng.exponential(20 * MB)
    return x


def sawtooth(n: int, period: int, size_mb: float) -> Trace:
    return size_mb * MB * (np.arange(n) % period / period)


CLEAN = {
    "noise": noise,
    "warm-up": lambda rng: noise(rng) + warm_up(N, 300, 300),
    "slow warm-up": lambda rng: noise(rng) + warm_up(N, 300, 2000),
    "steps": lambda rng: noise(rng) + steps(rng, N, 8),
    "sawtooth": lambda rng: noise(rng) + sawtooth(N, 500, 100),
    "long sawtooth": lambda rng: noise(rng) + sawtooth(N, 4000, 100),
    "fragmentation": lambda rng: noise(rng) + 30 * MB * np.log1p(np.arange(N) / 50),
    "random walk": lambda rng: noise(rng) + np.cumsum(rng.normal(0, 0.5 * MB, N)),
    "a large batch": lambda rng: noise(rng) + 2000 * MB * (np.arange(N) // 3000 == 1),
}


def suspected(trace: Trace, every: int = 2) -> tuple[int, Growth] | None:
    """After which request growth is suspected, and what; looked at after every second one."""
    component = Component("x")
    for work in range(0, len(trace), every):
        component.observe(work, work / 100, int(trace[work]))
        if component.suspect is not None:
            return work, component.suspect
    return None


@pytest.mark.parametrize("kind", CLEAN)
@pytest.mark.parametrize("seed", range(3))
def test_what_only_looks_like_a_leak_is_none(kind: str, seed: int) -> None:
    assert suspected(CLEAN[kind](np.random.default_rng(seed))) is None


def test_ten_thousand_recorded_requests_are_clean() -> None:
    """Resident memory of a real engine, after every eighth request; recorded by `python -m benchmarks.leaks`."""
    trace = np.array(RECORDED.read_text().split(), dtype=np.float64) * 1024
    assert len(trace) >= 1250
    component = Component("x")
    for i, n_bytes in enumerate(trace):
        component.observe(8 * i, i / 10, int(n_bytes))
        assert component.suspect is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("start", [0, 507])
def test_a_megabyte_a_request_is_found_within_two_hundred(seed: int, start: int) -> None:
    rng = np.random.default_rng(seed)
    grown = np.maximum(0, np.arange(start + 220) - start) * 1.0 * MB
    found = suspected(noise(rng, start + 220) + steps(rng, start + 220, 1) + grown)
    assert found is not None
    at, grows = found
    assert start < at <= start + 200
    assert grows.bytes_per_work == pytest.approx(MB, rel=0.5)
    assert grows.bytes_per_s == pytest.approx(100 * MB, rel=0.5)
    assert grows.since == pytest.approx(start / 100, abs=1.3)


@pytest.mark.parametrize("seed", range(2))
def test_ten_kilobytes_a_request_are_found_within_twenty_thousand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start, n = 2000, 22_000
    trace = noise(rng, n) + warm_up(n, 100, 300) + steps(rng, n, 4) + np.maximum(0, np.arange(n) - start) * 10_000.0
    found = suspected(trace)
    assert found is not None
    at, grows = found
    assert start < at <= start + 20_000
    assert grows.bytes_per_work == pytest.approx(10_000, rel=0.6)


def test_a_leak_of_one_piece_now_and_then_is_found_too() -> None:
    rng = np.random.default_rng(0)
    found = suspected(noise(rng) + 64 * MB * (np.arange(N) // 64))
    assert found is not None
    assert found[1].bytes_per_work == pytest.approx(MB, rel=0.3)


def windows(*rises_mb: float, size: int = 100) -> list[Window]:
    """Windows whose least memory rises from each to the next by so much."""
    levels = np.cumsum([800, *rises_mb]) * MB
    return [Window(size * (i + 0.5), float(i), int(level)) for i, level in enumerate(levels)]


def test_what_stays_below_an_earlier_height_is_a_tooth() -> None:
    rising = [20.0] * 15
    assert growth(windows(*rising)) is not None
    assert growth(windows(*rising, -250.0, *rising)) is None
    assert growth(windows(*rising, -50.0, *rising)) is not None


def test_two_steps_are_no_growth() -> None:
    slow = [3.0] * 5
    assert growth(windows(*slow, 200.0, *slow, 200.0, *slow[:3])) is None


def test_growth_that_smaller_windows_do_not_see_is_made_of_steps() -> None:
    found = growth(windows(*[20.0] * 15))
    assert found is not None
    assert is_spread(found, windows(*[5.0] * 60, size=25))
    assert not is_spread(found, windows(*[0.0, 0.0, 0.0, 20.0] * 15, size=25))


def test_threads_that_overtake_each_other_make_no_window_twice() -> None:
    component = Component("x")
    order = np.arange(400).reshape(-1, 2)[:, ::-1].ravel()  # 1, 0, 3, 2, ...
    for work in order.tolist():
        component.observe(work, work / 100, 800 * MB + work * MB)
    assert component.suspect is not None
    assert component.suspect.bytes_per_work == pytest.approx(MB, rel=0.1)
    assert all(a.work < b.work for scale in component._scales for a, b in pairwise(scale.windows))


# ---------------------------------------------------------------- the quiet

DAY_S = 24 * 3600


def idle_noise(rng: np.random.Generator, n: int = DAY_S) -> Trace:
    """A service that is asked nothing: a little up and down, and a scan of the folders every five minutes."""
    seconds = np.arange(n)
    return 800 * MB + rng.normal(0, 0.2 * MB, n) + 25 * MB * (seconds % 300 < 3)


QUIET = {
    "noise": idle_noise,
    "a slow sawtooth": lambda rng: idle_noise(rng) + sawtooth(DAY_S, 6 * 3600, 30),
    "steps": lambda rng: idle_noise(rng) + steps(rng, DAY_S, 6),
    "settling": lambda rng: idle_noise(rng) + warm_up(DAY_S, 40, 1800),
    "a random walk": lambda rng: idle_noise(rng) + np.cumsum(rng.normal(0, 0.02 * MB, DAY_S)),
}


def found_in_the_quiet(trace: Trace, every: int = 1, busy: Callable[[int], bool] = lambda _at: False) -> int | None:
    """After how many seconds an alarm is told; nothing comes back when it is asked for."""
    quiet, leaks = Quiet(), Leaks(idle=True)
    for at in range(0, len(trace), every):
        seen = quiet.look(at, {"process": int(trace[at])}, busy=busy(at))
        if seen is not None and leaks.observe(seen[0], at, seen[1]) and leaks.judge({"process": 0}):
            return at
    return None


@pytest.mark.parametrize("kind", QUIET)
def test_what_an_idle_service_does_is_no_leak(kind: str) -> None:
    for seed in range(2):
        assert found_in_the_quiet(QUIET[kind](np.random.default_rng(seed)), every=5) is None


def test_a_recorded_quiet_half_hour_is_clean_and_a_leak_in_it_is_found() -> None:
    """Resident memory of `indexer serve` with nothing asked, every five seconds."""
    kib = np.array(IDLE.read_text().split(), dtype=np.float64)
    trace = np.repeat(kib, 5) * 1024
    assert len(trace) >= 1800
    assert found_in_the_quiet(trace) is None
    assert found_in_the_quiet(trace + np.arange(len(trace)) * 100 * MB / 3600) is not None


@pytest.mark.parametrize(("mb_an_hour", "within_h"), [(6000, 0.1), (100, 0.6), (10, 5)])
def test_what_grows_by_the_hour_while_nothing_is_done_is_found(mb_an_hour: float, within_h: float) -> None:
    trace = idle_noise(np.random.default_rng(0)) + np.arange(DAY_S) * mb_an_hour * MB / 3600
    at = found_in_the_quiet(trace)
    assert at is not None
    assert at <= within_h * 3600


def test_a_burst_after_hours_of_next_to_nothing_is_no_leak() -> None:
    """The sign test alone would take it for one: whoever creeps upwards by a page now and then is always up."""
    at = np.arange(20_000)
    creeping = 800.0 * MB + 400 * at
    assert found_in_the_quiet(creeping + np.clip(at - 15_000, 0, 60) * 1.0 * MB) is None


def test_growth_in_the_quiet_is_told_by_the_hour() -> None:
    quiet, leaks = Quiet(), Leaks(idle=True)
    for at in range(4000):
        seen = quiet.look(at, {"gpu0 driver": 10**9 + at * 20_000}, busy=False)
        if seen is not None and leaks.observe(seen[0], at, seen[1]):
            (leak,) = leaks.judge({"gpu0 driver": 0})
            break
    assert leak.sentence == (
        "the memory of gpu0 driver grows by 72.0 MB an hour while nothing is asked of it, and does not come back"
    )
    assert (leak.bytes_per_request, leak.bytes_per_s) == (0.0, pytest.approx(20_000, rel=0.05))
    assert leak.since < 200


def test_what_work_brings_and_leaves_behind_is_not_the_quiets() -> None:
    bursts = np.arange(DAY_S) % 600
    growing = np.cumsum(np.where(bursts < 60, 0.5 * MB, 0)) + 10 * MB * np.exp(-((bursts - 60).clip(0)) / 2)
    trace = idle_noise(np.random.default_rng(0)) + growing
    assert found_in_the_quiet(trace, every=5, busy=lambda at: at % 600 <= 60) is None
    assert found_in_the_quiet(trace + np.arange(DAY_S) * 30_000.0, every=5, busy=lambda at: at % 600 <= 60) is not None


def test_a_clock_that_is_set_back_is_no_time() -> None:
    quiet = Quiet()
    looks = [quiet.look(at, {"x": 0}, busy=False) for at in (0.0, QUIET_S, QUIET_S + 1, 5.0, 6.0, QUIET_S + 2)]
    assert looks[2] == (1, {"x": 0})
    assert [look[0] for look in looks if look] == sorted(look[0] for look in looks if look)


# ---------------------------------------------------------------- suspects and alarms


def fed(leaks: Leaks, trace: Trace, first: int = 0) -> int:
    """Observe until there is a suspect; how much work was done then."""
    for work in range(first, first + len(trace), 2):
        if leaks.observe(work, work / 100, {"process": int(trace[work - first]), "gpu0 tensors": 10**9}):
            return work
    return first + len(trace)


def leaking(n: int = 400) -> Trace:
    return 800.0 * MB + np.arange(n) * 1.0 * MB


def test_what_comes_back_when_asked_for_was_only_kept() -> None:
    leaks = Leaks()
    fed(leaks, leaking())
    (suspect,) = leaks.suspects().items()
    assert suspect[0] == "process"
    assert leaks.judge({"process": suspect[1]}) == []
    assert leaks.now() == ()
    assert leaks.suspects() == {}


def test_what_does_not_come_back_is_told_by_component_rate_and_beginning() -> None:
    leaks = Leaks()
    at = fed(leaks, leaking())
    assert leaks.now() == ()  # nobody is alarmed before the trial
    (leak,) = leaks.judge({"process": 0})
    assert leaks.now() == (leak,)
    assert (leak.component, leak.bytes_per_request) == ("process", pytest.approx(MB))
    assert leak.bytes_per_s == pytest.approx(100 * MB, rel=0.1)
    assert leak.since < 0.5 < at / 100
    assert re.fullmatch(
        r"the memory of process grows by 1\.0 MB a request, \d+\.\d MB a second now, and does not come back",
        leak.sentence,
    )


def test_an_alarm_is_told_once_while_it_lasts_and_goes_when_the_growth_ends() -> None:
    leaks = Leaks()
    trace = leaking(800)
    at = fed(leaks, trace)
    (first,) = leaks.judge({"process": 0})
    assert fed(leaks, trace[at + 2 :], at + 2) == 800  # no second trial
    (leak,) = leaks.now()
    assert leak.since <= first.since
    ended = 802
    while leaks.now():
        assert ended < 1000
        leaks.observe(ended, ended / 100, {"process": int(trace[-1])})
        ended += 2
    assert fed(leaks, np.full(2000, trace[-1]), ended) == ended + 2000


def test_a_quiet_service_is_no_evidence() -> None:
    leaks = Leaks()
    for second in range(10_000):
        assert not leaks.observe(500, second, {"process": 800 * MB + second * MB})


def test_each_memory_is_watched_by_itself() -> None:
    leaks = Leaks()
    trace = leaking()

    def sizes() -> Iterator[dict[str, int]]:
        for size in trace:
            yield {"process": 800 * MB, "gpu0 tensors": int(size)}

    for work, each in enumerate(sizes()):
        leaks.observe(work, work / 100, each)
    assert list(leaks.suspects()) == ["gpu0 tensors"]
