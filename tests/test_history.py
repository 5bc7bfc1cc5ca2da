from __future__ import annotations

from indexer.history import COARSE_N, FINE_N, History


def test_ten_minutes_are_kept_by_the_second_and_a_day_by_the_minute() -> None:
    history = History()
    for second in range(100_000):
        history.add(second, {("process", "heap"): second})
    fine, coarse = history.read(600), history.read(86_400)
    assert (fine.step_s, len(fine.times), fine.times[-1]) == (1, FINE_N, 99_999)
    assert fine.series[0].bytes[0] == 99_400
    assert (coarse.step_s, len(coarse.times)) == (60, COARSE_N)
    assert history.read(5).times == (99_995, 99_996, 99_997, 99_998, 99_999)
    assert len(history.read(601).times) == 11


def test_of_a_minute_the_peak_is_kept() -> None:
    history = History()
    for second, n_bytes in ((0, 5), (30, 90), (59, 7), (60, 8)):
        history.add(second, {("gpu0", "reserve"): n_bytes})
    assert history.read(3600).series[0].bytes == (90, 8)


def test_a_part_that_comes_later_is_absent_before() -> None:
    history = History()
    history.add(0, {("gpu0", "weights"): 1})
    history.add(1, {("gpu0", "weights"): 1, ("gpu1", "weights"): 2})
    by_device = {series.device: series.bytes for series in history.read(10).series}
    assert by_device == {"gpu0": (1, 1), "gpu1": (None, 2)}
    assert history.read(10).times == (0, 1)


def test_nothing_kept_is_nothing_told() -> None:
    assert History().read(600).series == ()
