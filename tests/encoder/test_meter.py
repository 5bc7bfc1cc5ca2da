from __future__ import annotations

import pytest

from indexer.encoder.meter import Meter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_of_the_last_ten_seconds() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now += 20
    meter.add(50, 1.0)
    clock.now += 5
    meter.add(30, 2.0)
    assert meter.rate_per_s == pytest.approx(8.0)
    assert meter.busy_share == pytest.approx(0.3)
    clock.now += 6
    assert meter.rate_per_s == pytest.approx(3.0)
    clock.now += 10
    assert (meter.rate_per_s, meter.busy_share) == (0.0, 0.0)


def test_soon_after_the_start_the_rate_is_of_the_time_since() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now += 2
    meter.add(10, 1.0)
    assert meter.rate_per_s == pytest.approx(5.0)
    assert meter.busy_share == pytest.approx(0.5)


def test_texts_keep_the_encoder_busy_without_counting_as_pictures() -> None:
    clock = Clock()
    meter = Meter(clock)
    clock.now += 4
    meter.add(0, 1.0)
    assert (meter.rate_per_s, meter.busy_share) == (0.0, 0.25)
