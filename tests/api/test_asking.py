"""The whole question on the wire: mixtures, filters, pages and arrangements."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.types import (
    IdQuery,
    ImageQuery,
    MixedQuery,
    Options,
    Range,
    Term,
    TextQuery,
    VectorQuery,
    Where,
)
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import BROKEN, DIM, FakeEngine, id_of, picture

Http = TestClient[Litestar]

DAY_NS = 86_400_000_000_000


def test_a_mixture_reaches_the_engine_whole(http: Http, engine: FakeEngine) -> None:
    body = {
        "query": [
            {"text": "beach"},
            {"image": base64.b64encode(picture(1)).decode(), "weight": 0.5},
            {"id": id_of(2), "weight": -1},
            {"vector": [2.0] + [0.0] * (DIM - 1)},
        ],
        "liked": [id_of(0)],
        "disliked": [id_of(3), id_of(4)],
    }
    assert http.post("/api/search", json=body).status_code == 200
    terms = (
        Term(TextQuery("beach")),
        Term(ImageQuery(picture(1)), 0.5),
        Term(IdQuery(id_of(2)), -1),
        Term(VectorQuery([1.0] + [0.0] * (DIM - 1))),
    )
    assert ("search", MixedQuery(terms, (id_of(0),), (id_of(3), id_of(4)))) in engine.calls


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ({"query": [{"text": "a"}]}, TextQuery("a")),
        ({"query": [{"text": "a", "weight": -2}]}, MixedQuery((Term(TextQuery("a"), -2),))),
        ({"text": "a", "liked": [id_of(1)]}, MixedQuery((Term(TextQuery("a")),), (id_of(1),))),
        ({"liked": [id_of(1)]}, MixedQuery((), (id_of(1),))),
        ({"disliked": [id_of(1)]}, MixedQuery((), (), (id_of(1),))),
    ],
)
def test_what_is_no_mixture_is_not_made_one(
    http: Http, engine: FakeEngine, body: dict[str, Any], query: object
) -> None:
    assert http.post("/api/search", json=body).status_code == 200
    assert ("search", query) in engine.calls


def test_every_option_reaches_the_engine(http: Http, engine: FakeEngine) -> None:
    body = {
        "text": "a",
        "where": {
            "path": "holiday/**", "not_path": ["*.tif"], "modified_from": "1970-01-02", "modified_to": "1970-01-03",
            "width_min": 1, "height_max": 2, "megapixels_min": 0.5, "aspect_max": 1.5, "format": ["jpeg"],
            "size_min_bytes": 3,
        },
        "exclude_ids": [id_of(1)], "score_threshold": 0.25, "cut": "auto", "diversity": 0.5, "collapse": "near",
        "with_vector": True,
    }  # fmt: skip
    assert http.post("/api/search", json=body).status_code == 200
    where = Where(
        ("holiday/**",), ("*.tif",), Range(DAY_NS, 3 * DAY_NS - 1), Range(1, None), Range(None, 2), Range(0.5, None),
        Range(None, 1.5), Range(3, None), ("jpeg",),
    )  # fmt: skip
    expected = Options(where, (id_of(1),), None, 0.25, True, 0.5, True, True)
    assert ("options", expected) in engine.calls


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("1970-01-01T00:00:01Z", 10**9, 10**9 + 999),
        ("1970-01-01T01:00:00+01:00", 0, 999),
        ("1970-01-01T00:00:00.5", 5 * 10**8, 5 * 10**8 + 999),
    ],
)
def test_times_are_read_to_the_microsecond(http: Http, engine: FakeEngine, text: str, first: int, last: int) -> None:
    http.post("/api/search", json={"text": "a", "where": {"modified_from": text, "modified_to": text}})
    (options,) = [argument for name, argument in engine.calls if name == "options"]
    assert isinstance(options, Options)
    assert options.where.modified_ns == (first, last)


@pytest.mark.parametrize("route", ["/api/search/image", f"/api/images/{id_of(1)}/similar"])
def test_other_routes_take_the_simple_options(http: Http, engine: FakeEngine, route: str) -> None:
    query = "?limit=3&score_threshold=0.5&diversity=0.25&collapse=near&cut=auto"
    if route.endswith("image"):
        assert http.post(route + query, content=picture(1)).status_code == 200
    else:
        assert http.get(route + query).status_code == 200
    assert ("options", Options(score_threshold=0.5, diversity=0.25, fold_near=True, cut=True)) in engine.calls


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"text": "a", "query": [{"text": "b"}]}, "", "exactly one"),
        ({}, "", "has none"),
        ({"query": [{"text": "a"}, {"text": "b", "id": id_of(1)}]}, "query[1]", "exactly one"),
        ({"query": [{"weight": 1}]}, "query[0]", "exactly one"),
        ({"query": [{"text": " "}]}, "query[0].text", "no words"),
        ({"query": [{"vector": [1.0]}]}, "query[0].vector", "numbers"),
        ({"query": [{"image": "%"}]}, "query[0].image", "base64"),
        ({"query": [{"text": "a", "weight": 0}]}, "query", "zero"),
        ({"query": []}, "query", ">= 1"),
        ({"text": "a", "diversity": 1.5}, "diversity", "<= 1"),
        ({"text": "a", "collapse": "far"}, "collapse", "far"),
        ({"text": "a", "where": {"path": "/a/../b"}}, "where.path", "part"),
        ({"text": "a", "where": {"path": "a["}}, "where.path", "without its"),
        ({"text": "a", "where": {"format": ["tga"]}}, "where.format", "none of"),
        ({"text": "a", "where": {"modified_from": "yesterday"}}, "where.modified_from", "2025-01-31"),
        ({"text": "a", "where": {"width_min": 3, "width_max": 2}}, "where", "swap"),
        ({"text": "a", "where": {"colour": "red"}}, "where", "colour"),
        ({"text": "a", "exclude_ids": ["xyz"]}, "exclude_ids[0]", "match"),
    ],
)
def test_a_wrong_value_is_named(http: Http, body: dict[str, Any], field: str, said: str) -> None:
    response = http.post("/api/search", json=body)
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["field"] == field
    assert said in fault["message"]


@pytest.mark.parametrize(
    "where",
    [
        b'{"path":"\\ud800"}', b'{"path":"\\u0000"}', b'{"path":["["]}', b'{"path":[]}', b'{"format":["\\u0000"]}',
        b'{"modified_from":"0001-01-01T00:00+23:59"}', b'{"modified_to":"9999-12-31"}',
        b'{"path":"' + b"[a-z]" * 200 + b'"}', b'{"path":"' + b"*" * 500 + b'"}', b'{"path":"' + b"**/" * 300 + b'a"}',
    ],
)  # fmt: skip
def test_a_hostile_filter_is_answered_or_refused_at_once(http: Http, where: bytes) -> None:
    body = b'{"text":"a","where":' + where + b"}"
    started = time.monotonic()
    response = http.post("/api/search", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 422)
    assert time.monotonic() - started < 5


def test_pictures_in_a_mixture_may_be_large_and_nothing_else() -> None:
    engine = FakeEngine()
    with serving(engine, ApiSettings(max_json_bytes=500, max_body_bytes=2_000)) as http:
        large = base64.b64encode(picture(1) + bytes(1500)).decode()
        assert http.post("/api/search", json={"query": [{"image": large}]}).status_code == 200
        assert http.post("/api/search", json={"query": [{"vector": [0.125] * 400}]}).status_code == 413
        assert http.post("/api/search", json={"query": [{"text": "a"}] * 100}).status_code == 413
        assert http.post("/api/search", json={"query": [{"text": "a"}], "text": "b" * 600}).status_code == 413


def test_a_picture_that_cannot_be_used_is_named_among_others(http: Http) -> None:
    good, broken = (base64.b64encode(data).decode() for data in (picture(1), BROKEN))
    response = http.post("/api/search", json={"query": [{"text": "a"}, {"image": good}, {"image": broken}]})
    assert response.status_code == 422
    assert response.json()["reason"] == "corrupt"
    assert [fault["field"] for fault in response.json()["errors"]] == ["query[2].image"]
