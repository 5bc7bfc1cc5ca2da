"""clip-retrieval's search: what its `ClipClient` sends, and what it reads."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.errors import ImageRefused, NotFound, Overloaded
from indexer.types import ImageQuery, Options, Reason, TextQuery, VectorQuery
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import JPEG, FakeEngine, id_of, picture

Http = TestClient[Litestar]
KNN = "/knn-service"


def asked(**members: object) -> dict[str, object]:
    """All that `ClipClient` sends, whatever is asked."""
    return {
        "text": None, "image": None, "image_url": None, "embedding_input": None, "deduplicate": True,
        "use_safety_model": True, "use_violence_detector": True, "indice_name": "laion5B", "use_mclip": False,
        "aesthetic_score": 9, "aesthetic_weight": 0.5, "modality": "image", "num_images": 2, "num_result_ids": 2,
        **members,
    }  # fmt: skip


def ask(http: Http, body: object, path: str = KNN) -> Any:
    """As `ClipClient` does: a string as the body, and no word of what it is."""
    response = http.post(path, content=json.dumps(body))
    assert "content-type" not in response.request.headers
    assert response.status_code == 200, response.text
    return response.json()


def refused(http: Http, status: int, body: object, path: str = KNN, **headers: str) -> str:
    response = http.post(path, content=json.dumps(body), headers=headers)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"message"}
    return str(response.json()["message"])


def test_a_hit_has_the_members_that_clients_read(http: Http, engine: FakeEngine) -> None:
    image = base64.b64encode(picture(3)).decode()
    hits = ask(http, asked(image=image, num_result_ids=3))
    thumbnail = base64.b64encode(JPEG).decode()
    assert hits[0].pop("similarity") == pytest.approx(1.0, abs=1e-6)
    assert hits[0] == {"id": id_of(3), "image_path": "/pictures/3.jpg", "image": thumbnail}
    assert [set(hit) for hit in hits[1:]] == [{"id", "similarity", "image_path", "image"}, {"id", "similarity"}]
    scores = [hit["similarity"] for hit in hits[1:]]
    assert scores == sorted(scores, reverse=True)


def test_each_way_of_asking_reaches_the_engine_as_its_query(http: Http, engine: FakeEngine) -> None:
    for members, query in (
        ({"text": "a red car"}, TextQuery("a red car")),
        ({"image": base64.b64encode(picture(1)).decode()}, ImageQuery(picture(1))),
        ({"embedding_input": [0, 0, 2, 0]}, VectorQuery([0.0, 0.0, 1.0, 0.0])),
        ({"text": "a", "image": "@", "image_url": "http://x", "embedding_input": [1.0]}, TextQuery("a")),
        ({"text": "", "image": base64.b64encode(picture(1)).decode(), "image_url": "x"}, ImageQuery(picture(1))),
    ):
        engine.calls.clear()
        ask(http, asked(**members))
        assert engine.calls[0] == ("search", query)


def test_as_many_hits_as_num_result_ids_and_else_as_num_images(http: Http) -> None:
    assert len(ask(http, asked(text="a", num_images=1, num_result_ids=4))) == 4
    assert len(ask(http, asked(text="a", num_images=3, num_result_ids=None))) == 3
    assert len(ask(http, {"text": "a"})) == 5
    assert len(ask(http, asked(text="a", num_images=40, num_result_ids=3000))) == 5


@pytest.mark.parametrize(("deduplicate", "folds"), [(True, True), (False, False), (None, False)])
def test_near_duplicates_are_one_hit_on_request(
    http: Http, engine: FakeEngine, deduplicate: bool | None, folds: bool
) -> None:
    ask(http, asked(text="a", deduplicate=deduplicate))
    assert ("options", Options(fold_near=folds)) in engine.calls or not folds


def test_more_hits_than_are_allowed_are_not_given(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(max_limit=3)) as http:
        assert len(ask(http, asked(text="a", num_images=40, num_result_ids=3000))) == 3


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "x"])
def test_json_is_taken_whatever_its_content_type(http: Http, kind: str) -> None:
    for path, body in ((KNN, asked(text="a")), ("/metadata", {"ids": []})):
        assert http.post(path, content=json.dumps(body), headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize("error", [NotFound("gone"), ImageRefused(Reason.CORRUPT, "broken")])
def test_a_hit_whose_picture_cannot_be_made_comes_without_it(http: Http, engine: FakeEngine, error: Exception) -> None:
    engine.fail["thumbnail"] = error
    assert [set(hit) for hit in ask(http, asked(text="a"))] == [{"id", "similarity", "image_path"}] * 2


def test_the_index_has_a_name_and_any_name_is_taken(http: Http) -> None:
    assert http.get("/indices-list").json() == ["fake"]
    for name in ("fake", "another", None):
        assert len(ask(http, asked(text="a", indice_name=name))) == 2


def test_metadata_comes_for_ids_in_their_order(http: Http) -> None:
    gone = "0" * 64
    thumbnail = base64.b64encode(JPEG).decode()
    assert ask(http, {"ids": [id_of(2), gone, id_of(0)], "indice_name": "laion5B"}, "/metadata") == [
        {"id": id_of(2), "metadata": {"image_path": "/pictures/2.jpg", "image": thumbnail}},
        {"id": gone, "metadata": {}},
        {"id": id_of(0), "metadata": {"image_path": "/pictures/0.jpg", "image": thumbnail}},
    ]
    assert ask(http, {"ids": [], "indice_name": None}, "/metadata") == []


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({}, "text, image and embedding_input"),
        ({"text": " "}, "text"),
        ({"text": "a" * 1001}, "text"),
        ({"image": "@@@"}, "image"),
        ({"image": "http://example.org/a.jpg"}, "send the bytes in base64"),
        ({"image_url": "https://example.org/a.jpg"}, "send the bytes in base64"),
        ({"embedding_input": [1.0]}, "embedding_input"),
        ({"embedding_input": [0.0] * 4}, "embedding_input"),
        ({"text": "a", "modality": "text"}, "captions"),
        ({"text": "a", "modality": "video"}, "modality"),
        ({"text": "a", "num_images": 0}, "num_images"),
        ({"text": "a", "num_result_ids": -1}, "num_result_ids"),
    ],
)
def test_a_wrong_question_is_422_in_the_dialects_words(
    http: Http, engine: FakeEngine, members: dict[str, object], word: str
) -> None:
    assert word in refused(http, 422, asked(**members))
    assert engine.calls == []


def test_ids_that_cannot_be_are_refused(http: Http, engine: FakeEngine) -> None:
    for ids in ([1], ["x"], ["../../etc/passwd"], None, [id_of(0)] * 1001):
        refused(http, 422, {"ids": ids}, "/metadata")
    assert engine.calls == []


def test_pages_of_other_origins_may_not_ask_even_as_plain_text(http: Http, engine: FakeEngine) -> None:
    headers = {"origin": "http://evil.example", "content-type": "text/plain"}
    refused(http, 403, asked(text="a"), KNN, **headers)
    assert engine.calls == []


def test_load_and_faults_are_told_in_the_dialects_words(http: Http, engine: FakeEngine) -> None:
    refused(http, 422, asked(image=base64.b64encode(b"no picture").decode()))
    engine.fail["search"] = Overloaded("The queue is full.", 2.5)
    assert refused(http, 503, asked(text="a")) == "Too much is being asked at once; try again shortly."
    assert http.post(KNN, content=b"{").json()["message"].startswith("The body is not JSON")
    assert http.post(KNN, content=b"").json() == {"message": "The body is empty; send JSON."}


def test_a_key_is_asked_for_here_too(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key="a-key-of-enough-characters")) as http:
        assert "Authorization: Bearer" in refused(http, 401, asked(text="a"))
        assert http.get("/indices-list").status_code == 401
