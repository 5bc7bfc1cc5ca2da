"""How fast one client may ask, and that others do not suffer from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import Overloaded
from search_api import pace as pace_module
from search_api.client import Client
from search_api.pace import SAVED_S, Pace, network_of
from search_api.settings import RATE_PER_S, ApiSettings
from tests.api.conftest import running, serving
from tests.fakes.engine import FakeEngine


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_who_has_saved_may_ask_much_at_once_and_then_at_the_pace() -> None:
    clock = Clock()
    pace = Pace(8, clock)  # in steps that are exact in binary
    n_at_once = 0
    while not pace.wait_s("a"):
        n_at_once += 1
    assert n_at_once == 8 * SAVED_S
    assert pace.wait_s("a") == 0.125
    assert pace.wait_s("b") == 0
    clock.now += 0.375
    assert [pace.wait_s("a") == 0 for _ in range(5)] == [True, True, True, False, False]


def test_whoever_waits_as_long_as_told_is_let_through() -> None:
    clock = Clock()
    pace = Pace(3, clock)
    for _ in range(100):
        if wait := pace.wait_s("a"):
            clock.now += wait + 1e-9
            assert pace.wait_s("a") == 0


@given(st.lists(st.floats(0, 2), max_size=200), st.sampled_from([0.5, 7.0, 100.0]))
def test_never_more_than_the_pace_and_what_was_saved(pauses: list[float], per_s: float) -> None:
    clock = Clock()
    pace = Pace(per_s, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += pace.wait_s("a") == 0
    assert passed <= per_s * (clock.now - 1000.0 + SAVED_S) + 1


def test_a_pace_slower_than_what_is_saved_still_lets_one_through() -> None:
    pace = Pace(0.1, Clock())
    assert [pace.wait_s("a") == 0 for _ in range(2)] == [True, False]


def test_those_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "MAX_CLIENTS", 3)
    pace = Pace(1, Clock())
    for client in "abcdef":
        pace.wait_s(client)
    assert len(pace._due_at) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:1:2:3"),
        ("2001:db8:1:2::1", "2001:0db8:0001:0002:0:0:0:1"),
        ("fe80::1%eth0", "fe80::2"),
        ("::1", "::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
    ],
)
def test_these_are_one_client(one: str, other: str) -> None:
    assert network_of(one) == network_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("10.0.0.1", "10.0.0.2"), ("2001:db8:1:2::1", "2001:db8:1:3::1"), ("::ffff:10.0.0.1", "::ffff:10.0.0.2")],
)
def test_these_are_two(one: str, other: str) -> None:
    assert network_of(one) != network_of(other)


def test_too_many_requests_are_told_when_to_come_back(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(rate_per_s=0.5)) as http:
        answers = [http.get("/api/stats") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 429, 429]
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert refused.json()["type"].endswith(":too-many-requests")
    assert refused.headers["x-content-type-options"] == "nosniff"


def test_wrong_keys_are_paced_too(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key="a-key-of-enough-characters", rate_per_s=1)) as http:
        statuses = [http.get("/api/stats", headers={"authorization": f"Bearer {i}"}).status_code for i in range(10)]
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429


def test_the_client_knows_it_for_too_much(engine: FakeEngine) -> None:
    with running(engine, ApiSettings(rate_per_s=0.1)) as server, Client(server.url) as client:
        client.live()
        with pytest.raises(Overloaded) as raised:
            client.live()
        assert raised.value.retry_after_s > 1


def test_openai_clients_get_their_own_word_for_it(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(rate_per_s=0.1)) as http:
        http.get("/v1/models")
        assert http.get("/v1/models").json()["error"]["code"] == "rate_limit_exceeded"


def test_a_pace_is_kept_where_others_can_reach_the_service() -> None:
    assert ApiSettings().most_per_s == 0
    assert ApiSettings(host="0.0.0.0", api_key="a-key-of-enough-characters").most_per_s == RATE_PER_S
    assert ApiSettings(host="0.0.0.0", api_key="a-key-of-enough-characters", rate_per_s=0).most_per_s == 0
    assert ApiSettings(rate_per_s=3).most_per_s == 3
