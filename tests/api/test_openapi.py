"""The OpenAPI document says what the service does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from search_api import schemas
from search_api.dialects import RECORDS, wording_of
from search_api.errors import Problem
from search_api.examples import EXAMPLES

Http = TestClient[Litestar]

PROMISED = {
    ("post", "/api/embed/image"),
    ("post", "/api/embed/text"),
    ("post", "/api/search"),
    ("post", "/api/search/image"),
    ("get", "/api/images/{id}"),
    ("post", "/api/images/newest"),
    ("get", "/api/images/{id}/thumbnail"),
    ("get", "/api/images/{id}/similar"),
    ("get", "/api/duplicates"),
    ("get", "/api/standing"),
    ("post", "/api/standing"),
    ("delete", "/api/standing/{id}"),
    ("get", "/api/stats"),
    ("get", "/api/errors"),
    ("post", "/api/errors/retry"),
    ("get", "/api/events"),
    ("get", "/api/gpu/memory"),
    ("get", "/api/gpu/memory/history"),
    ("post", "/api/gpu/memory/release"),
    ("get", "/api/tune"),
    ("post", "/api/tune"),
    ("get", "/api/why"),
    ("get", "/metrics"),
    ("post", "/api/index/rescan"),
    ("post", "/api/index/rebuild"),
    ("post", "/api/index/verify"),
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("post", "/v1/embeddings"),
    ("get", "/v1/models"),
    ("post", "/knn-service"),
    ("get", "/indices-list"),
    ("post", "/metadata"),
    ("post", "/predict"),
    ("get", "/ping"),
}

BODILESS = {"/api/gpu/memory/release", "/api/tune"}
ORDERS = {"/api/index/rescan", "/api/index/rebuild", "/api/index/verify", "/api/errors/retry", *BODILESS}


@pytest.fixture
def document(http: Http) -> dict[str, Any]:
    answer: dict[str, Any] = http.get("/api/openapi.json").json()
    return answer


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def test_every_promised_route_is_there_and_no_other(document: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == PROMISED


def test_every_operation_says_what_it_does_takes_and_answers(document: dict[str, Any]) -> None:
    ids = set()
    for method, path, operation in operations(document):
        assert operation["summary"], path
        assert operation["tags"], path
        ids.add(operation["operationId"])
        responses = operation["responses"]
        assert any(status.startswith("2") for status in responses), path
        assert {"400", "429", "503"} <= set(responses), path
        order = (path in ORDERS and method == "post") or (path.startswith("/api/standing") and method != "get")
        assert ("403" in responses) == order, path
        assert ("401" in responses) == (not path.startswith("/health/")), path
        for status, response in responses.items():
            if status.startswith(("4", "5")):
                wording = wording_of(path)
                assert list(response["content"]) == [wording.media_type], (path, status)
                [example] = response["content"][wording.media_type]["examples"].values()
                told = msgspec.convert(example["value"], wording.kind)
                assert not isinstance(told, Problem) or told.status == int(status)
        assert ("requestBody" in operation) == (method == "post" and path not in BODILESS), path
        assert all(parameter["description"] for parameter in operation.get("parameters", []))
    assert len(ids) == len(PROMISED)


def test_every_reference_leads_somewhere_and_nothing_lies_about(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert referred == set(components)


def test_the_examples_of_requests_are_valid_requests(document: dict[str, Any]) -> None:
    for name in ("SearchRequest", "EmbedTextRequest"):
        kind = getattr(schemas, name)
        for example in document["components"]["schemas"][name]["examples"]:
            assert msgspec.convert(example, kind)
    for kind, examples in RECORDS.items():
        assert document["components"]["schemas"][kind.__name__].get("examples", []) == examples
        for example in examples:
            assert isinstance(msgspec.convert(example, kind), kind)


def test_every_body_has_an_example_that_says_all_it_can(document: dict[str, Any]) -> None:
    components = document["components"]["schemas"]
    shown = set()
    for _, path, operation in operations(document):
        bodies = [operation.get("requestBody", {"content": {}})]
        bodies += [answer for status, answer in operation["responses"].items() if status < "3"]
        for content in (body.get("content", {}) for body in bodies):
            names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(content))
            assert names or not content.get("application/json") or path in ("/indices-list", "/predict"), path
            for name in names:
                assert components[name].get("examples"), (path, name)
                shown.add(name)
    assert len(shown) > 25
    for kind, examples in EXAMPLES.items():
        for example in examples:
            told = msgspec.to_builtins(msgspec.convert(example, kind))
            assert told == example or kind.__struct_config__.forbid_unknown_fields, kind


def test_every_parameter_can_be_tried(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            bounds = parameter["schema"]
            assert {"examples", "default", "enum", "const", "oneOf"} & set(bounds), (path, parameter["name"])


def test_summaries_are_one_sentence(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        assert "\n\n" not in operation["summary"], path
        assert not operation["summary"].endswith("."), path
    assert "0.75 * mean(liked)" in document["paths"]["/api/search"]["post"]["description"]


def test_only_orders_may_come_without_a_body(document: dict[str, Any]) -> None:
    required = {
        path: operation["requestBody"]["required"]
        for method, path, operation in operations(document)
        if method == "post" and path not in BODILESS
    }
    assert {path for path, needed in required.items() if not needed} == ORDERS - BODILESS


def test_pictures_may_be_sent_raw_or_as_a_form(document: dict[str, Any]) -> None:
    for path in ("/api/search/image", "/api/embed/image"):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"image/*", "application/octet-stream", "multipart/form-data"}


def test_the_reference_page_loads_nothing_from_elsewhere(http: Http) -> None:
    page = http.get("/api/docs").text
    for loaded in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert loaded.startswith("/")
        assert http.get(loaded).status_code == 200
