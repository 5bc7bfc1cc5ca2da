"""How many encoders: enough, and never in turns one more and one less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indexer.encoder.scaling import GROW_FOR_S, SHRINK_FOR_S, Scaling


class Bench:
    """A policy, its time, and what it did: (when, step)."""

    def __init__(self, least: int, most: int) -> None:
        self.now = 0.0
        self.n, self.least, self.most = least, least, most
        self.scaling = Scaling(least, most, lambda: self.now)
        self.steps: list[tuple[float, int]] = []

    def look(self, oldest_s: float, busy_share: float, after_s: float = 1.0) -> None:
        self.now += after_s
        if step := self.scaling.step(self.n, oldest_s, busy_share):
            self.n += step
            self.steps.append((self.now, step))
            assert self.least <= self.n <= self.most


def test_a_queue_that_stays_old_brings_one_more_at_a_time_up_to_the_most() -> None:
    bench = Bench(1, 3)
    for _ in range(60):
        bench.look(oldest_s=2.0, busy_share=1.0)
    assert [step for _, step in bench.steps] == [1, 1]
    assert bench.steps[1][0] - bench.steps[0][0] >= GROW_FOR_S


def test_a_moment_of_pressure_or_quiet_changes_nothing() -> None:
    bench = Bench(1, 2)
    for i in range(200):
        bench.look(oldest_s=2.0 * (i % 5 != 0), busy_share=1.0)
    assert bench.steps == []
    bench.n = 2
    for i in range(600):
        bench.look(oldest_s=0.0, busy_share=0.9 if i % 50 == 0 else 0.0)
    assert bench.steps == []


def test_quiet_sends_one_away_at_a_time_down_to_the_least() -> None:
    bench = Bench(1, 3)
    bench.n = 3
    for _ in range(300):
        bench.look(oldest_s=0.0, busy_share=0.1)
    assert [step for _, step in bench.steps] == [-1, -1]


@given(
    st.integers(1, 3),
    st.integers(0, 5),
    st.lists(
        st.tuples(st.floats(0, 5), st.floats(0, 1), st.floats(0.1, 30)).flatmap(
            lambda look: st.integers(1, 40).map(lambda n: [look] * n)
        ),
        max_size=30,
    ),
)
def test_whatever_the_load_does_opposite_steps_lie_far_apart(
    least: int, more: int, looks: list[list[tuple[float, float, float]]]
) -> None:
    bench = Bench(least, least + more)
    for oldest_s, busy_share, after_s in [look for run in looks for look in run]:
        bench.look(oldest_s, busy_share, after_s)
    for (before, up), (after, down) in zip(bench.steps, bench.steps[1:], strict=False):
        assert up == down or after - before >= SHRINK_FOR_S


@given(st.integers(1, 3), st.integers(0, 5), st.floats(0, 12), st.integers(0, 5))
def test_a_steady_load_finds_its_number_and_stays_there(least: int, more: int, load: float, start: int) -> None:
    """A queue in the manner of a bucket: `load` comes in a second, each encoder takes 1."""
    bench = Bench(least, least + more)
    bench.n = min(least + start, least + more)
    waiting = 0.0
    for _ in range(1500):
        waiting = min(waiting + load, 50.0 + load)  # what submits waits itself when the queue is full
        done = min(waiting, bench.n)
        waiting -= done
        bench.look(oldest_s=waiting / max(done, 1e-9), busy_share=done / bench.n)
    directions = [step for _, step in bench.steps]
    assert directions == sorted(directions) or directions == sorted(directions, reverse=True)
    assert not bench.steps or bench.steps[-1][0] < 1000


def test_after_one_less_there_is_not_soon_one_more() -> None:
    bench = Bench(1, 2)
    bench.n = 2
    while not bench.steps:
        bench.look(oldest_s=0.0, busy_share=0.0)
    while len(bench.steps) < 2:
        bench.look(oldest_s=2.0, busy_share=1.0)
    (shrunk, _), (grown, up) = bench.steps
    assert up == 1
    assert SHRINK_FOR_S <= grown - shrunk <= SHRINK_FOR_S + 2
