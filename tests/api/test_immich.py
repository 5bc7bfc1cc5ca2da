"""immich's machine learning: the forms that its server sends, and what it reads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.errors import NoTextTower, Overloaded
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import JOINT, JPEG, FakeEngine, picture, vector_of

Http = TestClient[Litestar]
MODEL = "ViT-H-14__laion2b-s32b-b79k"
VISUAL = {"clip": {"visual": {"modelName": MODEL}}}
TEXTUAL = {"clip": {"textual": {"modelName": MODEL, "options": {"language": "en"}}}}


def form(entries: object, image: bytes | None = None, text: str | None = None) -> list[tuple[str, Any]]:
    """The fields in immich's order; a picture comes as a blob without a type."""
    fields: list[tuple[str, Any]] = [("entries", (None, json.dumps(entries)))]
    if image is not None:
        fields.append(("image", ("blob", image, "application/octet-stream")))
    if text is not None:
        fields.append(("text", (None, text)))
    return fields


def predict(http: Http, *args: Any) -> Any:
    response = http.post("/predict", files=form(*args))
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"detail"}
    return str(response.json()["detail"])


def test_a_picture_gets_its_embedding_as_a_string_that_holds_an_array(http: Http, engine: FakeEngine) -> None:
    answer = predict(http, VISUAL, picture(2))
    joint = engine.embed_images([picture(2)])[0].embedding
    assert joint is not None
    assert isinstance(answer["clip"], str)
    assert json.loads(answer.pop("clip")) == [float(x) for x in joint]
    assert answer == {"imageHeight": 480, "imageWidth": 640}


def test_measures_are_left_out_where_they_are_not_known(http: Http) -> None:
    assert set(predict(http, VISUAL, JPEG + b"not indexed")) == {"clip"}


def test_a_text_gets_its_embedding_and_nothing_else(http: Http) -> None:
    answer = predict(http, TEXTUAL, None, "ein rotes Auto, für 5 €")
    assert set(answer) == {"clip"}
    assert json.loads(answer["clip"]) == [float(x) for x in vector_of("ein rotes Auto, für 5 €".encode(), JOINT)]


def test_it_answers_to_ping(http: Http) -> None:
    response = http.get("/ping")
    assert (response.status_code, response.text) == (200, "pong")
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "text/html", "TEXT/HTML;q=0.9", "text/html,application/xhtml+xml,*/*;q=0.8", "text/*", "image/*,*/*"],
)
def test_browsers_and_those_who_do_not_say_get_the_page(http: Http, accept: str | None) -> None:
    request = http.build_request("GET", "/")
    request.headers.pop("accept")
    if accept is not None:
        request.headers["accept"] = accept
    response = http.send(request)
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["vary"] == "accept"


def test_programs_that_take_no_page_are_greeted_as_by_immichs(http: Http) -> None:
    response = http.get("/", headers={"accept": "application/json"})
    assert response.json() == {"message": "Immich ML"}
    assert response.headers["vary"] == "accept"


@pytest.mark.parametrize("task", ["facial-recognition", "ocr"])
def test_other_tasks_are_refused_by_name(http: Http, engine: FakeEngine, task: str) -> None:
    entries = {task: {"detection": {"modelName": "m", "options": {"minScore": 0.7}}, "recognition": {"modelName": "m"}}}
    assert task in refused(http.post("/predict", files=form(entries, JPEG)), 422)
    assert task in refused(http.post("/predict", files=form({**VISUAL, **entries}, JPEG)), 422)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (form(VISUAL), 400),
        (form(VISUAL, text="a"), 422),
        (form(TEXTUAL, JPEG), 422),
        (form(TEXTUAL, text=" "), 422),
        (form(TEXTUAL, text="a" * 1001), 422),
        (form(VISUAL, b""), 422),
        (form({}, JPEG), 422),
        (form({"clip": {}}, JPEG), 422),
        (form({"clip": {"audio": {"modelName": "m"}}}, JPEG), 422),
        (form({"clip": {**VISUAL["clip"], **TEXTUAL["clip"]}}, JPEG), 422),
        (form({"clip": {"visual": {}}}, JPEG), 422),
        (form([], JPEG), 422),
        (form(None, JPEG), 422),
        ([("image", ("blob", JPEG))], 422),
        ([("entries", (None, "{")), ("image", ("blob", JPEG))], 422),
        ([("entries", (None, b"\xff")), ("image", ("blob", JPEG))], 422),
        ([("entries", (None, json.dumps(TEXTUAL))), ("text", (None, b"\xff"))], 422),
        ([*form(VISUAL, JPEG), ("image", ("blob", JPEG))], 422),
        ([*form(VISUAL, JPEG), ("entries", (None, "{}"))], 422),
    ],
)
def test_a_wrong_form_is_refused_in_immichs_words(
    http: Http, engine: FakeEngine, fields: list[tuple[str, Any]], status: int
) -> None:
    refused(http.post("/predict", files=fields), status)
    assert engine.calls == []


def test_what_is_no_form_is_415(http: Http) -> None:
    refused(http.post("/predict", json=VISUAL), 415)
    refused(http.post("/predict", content=JPEG), 415)


def test_what_the_engine_refuses_is_told_in_immichs_words(http: Http, engine: FakeEngine) -> None:
    assert "corrupt" in refused(http.post("/predict", files=form(VISUAL, b"no picture")), 422)
    engine.fail["embed_texts"] = NoTextTower("The checkpoint has no text tower.")
    assert "text tower" in refused(http.post("/predict", files=form(TEXTUAL, text="a")), 422)
    engine.fail["embed_texts"] = Overloaded("The queue is full.", 2.5)
    refused(http.post("/predict", files=form(TEXTUAL, text="a")), 503)


def test_sizes_are_limited(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(max_body_bytes=1000, max_json_bytes=100)) as http:
        refused(http.post("/predict", files=form(VISUAL, JPEG + bytes(1000))), 413)
        refused(http.post("/predict", files=form({"clip": {"visual": {"modelName": "m" * 100}}}, JPEG)), 413)


def test_a_key_is_asked_for_here_too(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key="a-key-of-enough-characters")) as http:
        refused(http.post("/predict", files=form(VISUAL, JPEG)), 401)
        refused(http.get("/ping"), 401)
