"""Short, seeded versions of what `benchmarks.outside` does at length."""

from __future__ import annotations

from benchmarks.outside import burst
from benchmarks.outside.fuzz import fuzz
from search_api.pace import SAVED_S
from search_api.settings import ApiSettings
from tests.api.conftest import running
from tests.fakes.engine import FakeEngine


def test_made_up_requests_get_documented_answers() -> None:
    result = fuzz(250, seed=1)
    assert result.faults == {}
    assert {200, 202, 400, 404, 422} <= set(result.statuses) <= {200, 201, 202, 304, 400, 404, 413, 415, 422}
    assert result.n >= 250
    assert result.n_operations >= 30


def test_a_burst_of_ten_times_the_pace_is_told_to_slow_down() -> None:
    with running(FakeEngine(), ApiSettings(rate_per_s=20)) as server:
        statuses, without, took_s = burst.send(server.url, 200, 1.0)
    assert set(statuses) == {200, 429}
    assert statuses.total() == 200
    assert statuses[200] <= 20 * (took_s + SAVED_S) + 1
    assert without == 0
