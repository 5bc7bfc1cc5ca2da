"""Standing queries over HTTP."""

from __future__ import annotations

import math

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.errors import InputError
from indexer.types import Event, Match, Range, TextQuery
from search_api.answers import event_frame
from tests.fakes.engine import FakeEngine, id_of

Http = TestClient[Litestar]


def test_a_question_stands_until_it_is_forgotten(http: Http, engine: FakeEngine) -> None:
    where = {"width_min": 10}
    body = {"question": {"text": "a red car", "where": where}, "webhook": "https://example.org/x"}
    made = http.post("/api/standing", json=body)
    assert made.status_code == 201
    assert made.json()["score_threshold"] == 0.25
    assert (made.json()["name"], made.json()["secret"]) == ("a red car", "s" * 64)
    stood = engine.stood[made.json()["id"]]
    assert (stood.query, stood.where.width_px) == (TextQuery("a red car"), Range(10, None))
    (listed,) = http.get("/api/standing").json()["standing"]
    assert listed == {**made.json(), "secret": None}
    assert http.delete(f"/api/standing/{listed['id']}").status_code == 200
    assert http.get("/api/standing").json() == {"standing": []}
    assert http.delete(f"/api/standing/{listed['id']}").status_code == 404


def test_a_threshold_may_be_given(http: Http, engine: FakeEngine) -> None:
    body = {"question": {"text": "a"}, "name": "mine"}
    http.post("/api/standing", json=body)
    http.post("/api/standing", json={**body, "question": {"text": "a", "score_threshold": 0.3}})
    asked = [argument for name, argument in engine.calls if name == "stand"]
    assert math.isnan(asked[0].threshold) and asked[1].threshold == 0.3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "question",
    [{}, {"text": "a", "limit": 3}, {"text": "a", "offset": 1}, {"text": "a", "diversity": 0.5},
     {"text": "a", "cut": "auto"}, {"text": "a", "more": 1}],
)  # fmt: skip
def test_what_cannot_stand_is_refused(http: Http, question: dict[str, object]) -> None:
    assert http.post("/api/standing", json={"question": question}).status_code == 422


def test_a_bad_webhook_is_refused(http: Http, engine: FakeEngine) -> None:
    engine.fail["stand"] = InputError("webhook: http is for this machine alone")
    assert http.post("/api/standing", json={"question": {"text": "a"}, "webhook": "http://x"}).status_code == 422


def test_a_match_is_an_event_with_its_picture(engine: FakeEngine) -> None:
    image = engine.records[id_of(2)]
    frame = event_frame(Event("match", Match("7", "cars", 0.5, image))).decode()
    assert frame.startswith("event: match\ndata: {")
    assert '"standing_id":"7"' in frame and id_of(2) in frame
