"""Tuning against an exhaustive sweep, on encoders whose time and memory are known curves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import DeviceOutOfMemory
from indexer.tune import MIN_ROUNDS, TOLERANCE, choice, tune
from indexer.types import BatchRow, Features, Pixels, Tuning
from tests.fakes.encoder import StubEncoder

MB = 1_000_000
WEIGHTS = 500 * MB


class Device(StubEncoder):
    """An encoder, its clock and its meter: a batch of n takes `seconds(n)`, and `memory(n)` bytes at its peak."""

    device_name = "a device of curves"

    def __init__(
        self, seconds: Callable[[int], float], memory: Callable[[int], int], budget_bytes: int, room_bytes: int
    ) -> None:
        super().__init__(side_px=1)
        self.budget_bytes = budget_bytes
        self._seconds, self._memory, self._room_bytes = seconds, memory, room_bytes
        self._now_s, self._peak = 0.0, WEIGHTS

    def encode_pixels(self, pixels: Pixels) -> Features:
        n = len(pixels)
        self.batches.append(n)
        if self._memory(n) > self._room_bytes:
            raise DeviceOutOfMemory(f"{n} do not fit")
        self._now_s += self._seconds(n)
        self._peak = max(self._peak, self._memory(n))
        return np.zeros((n, self.space.dim), np.float16)

    def start(self) -> None:
        self._peak = WEIGHTS

    def peak_bytes(self) -> int:
        return self._peak

    def tuned(self, most: int = 256, longest_s: float = 1e9) -> Tuning:
        return tune(self, self, most=most, longest_s=longest_s, clock=lambda: self._now_s, now=lambda: 7.0)


def linear(
    launch_s: float = 0.01, picture_s: float = 0.001, fixed: int = 0, picture: int = 8 * MB, room: int = 10_000 * MB
) -> Device:
    return Device(lambda n: launch_s + n * picture_s, lambda n: WEIGHTS + fixed + n * picture, room, room + 1)


def exhaustive(device: Device, most: int, longest_s: float) -> float:
    """The best rate of all sizes that fit into memory and time."""
    fitting = [
        n for n in range(1, most + 1) if device._memory(n) <= device.budget_bytes and device._seconds(n) <= longest_s
    ]
    return max(n / device._seconds(n) for n in fitting)


@settings(max_examples=100, deadline=None)
@given(
    launch_s=st.floats(1e-4, 0.5),
    picture_s=st.floats(1e-4, 0.05),
    picture=st.integers(1, 40 * MB),
    room=st.integers(80 * MB, 6_000 * MB),
    most=st.integers(1, 400),
    longest_s=st.floats(0.6, 20),
)
def test_the_choice_is_within_three_percent_of_an_exhaustive_sweep(
    launch_s: float, picture_s: float, picture: int, room: int, most: int, longest_s: float
) -> None:
    device = linear(launch_s, picture_s, 0, picture, WEIGHTS + room)
    tuning = device.tuned(most, longest_s)
    best = exhaustive(device, most, longest_s)
    chosen = tuning.size / device._seconds(tuning.size)
    assert chosen >= (1 - TOLERANCE) * best * (1 - 1e-9)
    assert device._memory(max(device.batches)) <= device.budget_bytes


@settings(max_examples=100, deadline=None)
@given(
    fixed=st.integers(0, 300 * MB),
    picture=st.integers(1, 40 * MB),
    chunk=st.integers(1, 300),
    room=st.integers(1, 4_000 * MB),
)
def test_an_edge_is_predicted_and_never_crossed(fixed: int, picture: int, chunk: int, room: int) -> None:
    """Also where a device takes the same from some size on, because it computes larger batches in parts."""
    budget = WEIGHTS + fixed + picture + room
    device = Device(
        lambda n: 0.01 + 0.001 * n, lambda n: WEIGHTS + fixed + picture * min(n, chunk), budget, room_bytes=budget
    )
    tuning = device.tuned(512)
    assert tuning.ended in ("memory", "asked")
    assert all(row.memory_bytes <= budget for row in tuning.rows)


def test_the_largest_size_that_fits_is_measured_between_two_powers_of_two() -> None:
    device = linear(launch_s=1.0, picture=8 * MB, room=WEIGHTS + 100 * 8 * MB)
    tuning = device.tuned()
    assert [row.size for row in tuning.rows] == [1, 2, 4, 8, 16, 32, 64, 100]
    assert (tuning.ended, tuning.size) == ("memory", 100)


def test_an_out_of_memory_that_nobody_could_predict_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    steps = Device(
        lambda n: 0.1 + 0.01 * n, lambda n: WEIGHTS + (9_000 * MB if n > 16 else n * MB), 8_000 * MB, 8_000 * MB
    )
    tuning = steps.tuned()
    assert [row.size for row in tuning.rows] == [1, 2, 4, 8, 16]
    assert (tuning.ended, tuning.size) == ("out_of_memory", 16)
    assert "batch of 32 did not fit" in caplog.text


def test_a_size_that_fits_at_first_only_is_left_out() -> None:
    device = linear()
    n_of_eight = iter(range(1000))
    fits = device._memory
    device._memory = lambda n: device._room_bytes + 1 if n == 8 and next(n_of_eight) > 11 else fits(n)
    tuning = device.tuned(most=16)
    assert [row.size for row in tuning.rows] == [1, 2, 4, 16]


def test_not_even_one_picture_fits() -> None:
    with pytest.raises(DeviceOutOfMemory, match="not even one"):
        linear(room=WEIGHTS).tuned()


def test_no_batch_is_chosen_that_takes_longer_than_a_query_should_wait() -> None:
    device = linear(launch_s=0.05, picture_s=0.01)
    tuning = device.tuned(longest_s=0.25)
    assert [row.size for row in tuning.rows] == [1, 2, 4, 8, 16, 20, 32]
    assert (tuning.ended, tuning.size) == ("time", 20)


def test_noise_does_not_cost_the_size_that_just_meets_the_longest_time() -> None:
    device = linear(launch_s=0.15, picture_s=0.005)
    even = device._seconds
    device._seconds = lambda n: even(n) * (1.04 if device.batches.count(20) > 5 else 1.0)
    assert device.tuned(longest_s=0.25).size == 20


def test_a_single_picture_is_chosen_where_even_that_takes_too_long() -> None:
    tuning = linear(launch_s=3.0).tuned(longest_s=0.25)
    assert ([row.size for row in tuning.rows], tuning.size, tuning.ended) == ([1], 1, "time")


def test_the_smallest_of_equally_good_sizes_is_chosen() -> None:
    rows = [
        BatchRow(1, 10, 96.9, 1.0),
        BatchRow(2, 20, 97.1, 1.0),
        BatchRow(4, 30, 100.0, 1.0),
        BatchRow(8, 99, 500.0, 1.0),
    ]
    assert choice(rows, budget_bytes=50, longest_s=1.0) == 2
    assert choice(rows, budget_bytes=99, longest_s=1.0) == 8
    assert choice(rows, budget_bytes=5, longest_s=1.0) == 1


def test_a_slow_moment_of_the_machine_does_not_change_the_choice() -> None:
    """Every size has its turn in each round, and the median counts."""
    device = linear(launch_s=0.02, picture_s=0.001)
    even = device._seconds
    rng = np.random.default_rng(2)
    device._seconds = lambda n: even(n) * (10.0 if rng.random() < 0.1 else 1.0)
    assert device.tuned(most=64).size == linear(launch_s=0.02, picture_s=0.001).tuned(most=64).size
    assert device.batches.count(64) > MIN_ROUNDS


def test_the_result_says_what_was_measured_where_and_when() -> None:
    tuning = linear().tuned(most=2)
    assert (tuning.device, tuning.model, tuning.precision) == ("a device of curves", "stub", "fp32")
    assert (tuning.fingerprint, tuning.measured_at) == (StubEncoder(side_px=1).space.fingerprint, 7.0)
    assert tuning.rows[1].memory_bytes == WEIGHTS + 16 * MB
    assert tuning.rows[1].latency_ms == pytest.approx(12)
    assert tuning.rows[1].images_per_s == pytest.approx(2 / 0.012)
