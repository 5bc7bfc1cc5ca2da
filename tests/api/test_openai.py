"""OpenAI's embeddings: the requests that its clients send, byte for byte, and the answers that they can read."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from indexer.errors import ImageRefused, NoTextTower, Overloaded
from indexer.types import Reason
from search_api.dialects.openai import MAX_INPUTS
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import BROKEN, JOINT, JPEG, SPACE, FakeEngine, picture, vector_of

Http = TestClient[Litestar]
URL = "/v1/embeddings"
KEY = "a-key-of-enough-characters"


def encoded(i: int) -> str:
    return base64.b64encode(picture(i)).decode()


def uri(i: int) -> str:
    return f"data:image/jpeg;base64,{encoded(i)}"


def of_text(text: str) -> list[float]:
    return [float(x) for x in vector_of(text.encode(), JOINT)]


def of_image(i: int) -> list[float]:
    joint = FakeEngine().embed_images([picture(i)])[0].embedding
    assert joint is not None
    return [float(x) for x in joint]


def rows(http: Http, **body: object) -> list[Any]:
    """The embeddings of an answer, which must be in order."""
    response = http.post(URL, json={"model": "any", **body})
    assert response.status_code == 200, response.text
    data = response.json()["data"]
    assert [each["index"] for each in data] == list(range(len(data)))
    return [each["embedding"] for each in data]


def fault(http: Http, status: int, body: object, **headers: str) -> dict[str, Any]:
    """What is wrong, in OpenAI's shape and no other."""
    response = http.post(URL, json=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["message"]
    assert answer["error"]["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    found: dict[str, Any] = answer["error"]
    return found


def test_the_answer_has_every_member_that_clients_read(http: Http) -> None:
    response = http.post(URL, json={"input": "a red car", "model": "clip", "encoding_format": "float", "user": "u"})
    assert response.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": of_text("a red car")}],
        "model": "fake",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


def test_base64_is_the_same_numbers_as_little_endian_float32(http: Http) -> None:
    inputs = ["a red car", uri(2)]
    numbers = rows(http, input=inputs)
    for name in ("encoding_format", "embedding_type"):
        packed = rows(http, input=inputs, **{name: "base64"})
        assert [np.frombuffer(base64.b64decode(each), "<f4").tolist() for each in packed] == numbers


def test_strings_that_are_data_uris_are_pictures(http: Http, engine: FakeEngine) -> None:
    assert rows(http, input=["a", uri(1), "data: a chart", uri(0)]) == [
        of_text("a"),
        of_image(1),
        of_text("data: a chart"),
        of_image(0),
    ]
    assert engine.calls == [("embed_texts", ["a", "data: a chart"]), ("embed_images", [picture(1), picture(0)])]


def test_modality_says_what_strings_are(http: Http) -> None:
    assert rows(http, input=[encoded(1), uri(2)], modality="image") == [of_image(1), of_image(2)]
    assert rows(http, input=encoded(1), modality="image") == [of_image(1)]
    assert rows(http, input=uri(1), modality="text") == [of_text(uri(1))]


def test_parts_as_jina_has_them_may_be_mixed(http: Http) -> None:
    inputs = [{"text": "a"}, {"image": encoded(1)}, {"image": uri(2)}, "b", {"image_url": {"url": uri(3)}}]
    jina = {"normalized": True, "embedding_type": "float", "task": "retrieval", "truncate": True}
    assert rows(http, input=inputs, **jina) == [of_text("a"), of_image(1), of_image(2), of_text("b"), of_image(3)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"type": "image_url", "image_url": {"url": uri(1), "detail": "auto"}}], of_image(1)),
        ([{"type": "image_url", "image_url": uri(1)}, {"type": "text", "text": ""}], of_image(1)),
        ([{"type": "text", "text": "a red car"}], of_text("a red car")),
        ("a red car", of_text("a red car")),
    ],
)
def test_a_chat_gets_the_embedding_of_the_one_thing_in_it(http: Http, content: object, expected: list[float]) -> None:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": content}]
    assert rows(http, messages=messages) == [expected]


@pytest.mark.parametrize("dimensions", [None, 0, JOINT])
def test_the_models_own_dimensions_may_be_asked_for(http: Http, dimensions: int | None) -> None:
    assert len(rows(http, input="a", dimensions=dimensions)[0]) == JOINT


@given(st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 4)), min_size=1, max_size=20))
def test_every_input_gets_its_own_embedding_whatever_the_order(
    shared: tuple[FakeEngine, Http], inputs: list[str | int]
) -> None:
    wire = [uri(each) if isinstance(each, int) else each for each in inputs]
    expected = [of_image(each) if isinstance(each, int) else of_text(each) for each in inputs]
    assert rows(shared[1], input=wire) == expected


def test_as_many_inputs_as_openai_takes_are_taken_and_go_to_the_engine_in_parts(http: Http, engine: FakeEngine) -> None:
    inputs = [str(i % 50) for i in range(1000)] + [uri(i % 5) for i in range(70)]
    expected = [of_text(text) for text in inputs[:1000]] + [of_image(i % 5) for i in range(70)]
    assert rows(http, input=inputs) == expected
    sizes = [len(argument) for _, argument in engine.calls if isinstance(argument, list)]
    assert sizes == [256, 256, 256, 232, 32, 32, 6]


def test_one_that_cannot_be_used_refuses_all_and_is_named(http: Http) -> None:
    broken = base64.b64encode(BROKEN).decode()
    found = fault(http, 422, {"input": ["a", uri(1), {"image": broken}, uri(2)]})
    assert (found["param"], found["code"]) == ("input[2].image", "corrupt")
    assert fault(http, 422, {"input": [*[uri(1)] * 40, f"data:image/png;base64,{broken}"]})["param"] == "input[40]"


def test_the_model_in_use_is_listed(http: Http) -> None:
    assert http.get("/v1/models").json() == {
        "object": "list",
        "data": [
            {
                "id": "fake", "object": "model", "created": 0, "owned_by": "lookalike", "dimensions": JOINT,
                "space": SPACE.fingerprint,
            }
        ],
    }  # fmt: skip


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": "a", "messages": [{"content": "a"}]}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", " "]}, "input[1]"),
        ({"input": "a" * 1001}, "input"),
        ({"input": [1, 2, 3]}, "input[0]"),
        ({"input": [[1, 2, 3]]}, "input[0]"),
        ({"input": ["a", {}]}, "input[1]"),
        ({"input": [{"text": "a", "image": encoded(1)}]}, "input[0]"),
        ({"input": [{"text": " "}]}, "input[0].text"),
        ({"input": [{"image": "@"}]}, "input[0].image"),
        ({"input": "data:image/png,abc"}, "input"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
        ({"input": "a", "dimensions": JOINT - 1}, "dimensions"),
        ({"input": "a", "dimensions": -1}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "embedding_type": "binary"}, "embedding_type"),
        ({"input": "a", "modality": "audio"}, "modality"),
        ({"messages": []}, "input"),
        ({"messages": [{"content": "a"}, {"content": "b"}]}, "messages"),
        ({"messages": [{"content": [{"text": "a"}, {"image_url": {"url": uri(0)}}]}]}, "messages"),
        ({"messages": [{"content": [{"type": "image_url"}]}]}, "messages[0].content"),
        ([], None),
    ],
)
def test_a_wrong_request_is_422_and_names_the_member(
    http: Http, engine: FakeEngine, body: object, param: str | None
) -> None:
    assert fault(http, 422, body)["param"] == param
    assert engine.calls == []


@pytest.mark.parametrize(
    "body",
    [
        {"input": "https://example.org/a.jpg", "modality": "image"},
        {"input": [{"image": "http://169.254.169.254/latest/meta-data"}]},
        {"input": [{"image_url": "file:///etc/passwd"}]},
        {"messages": [{"content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.jpg"}}]}]},
    ],
)
def test_no_url_is_fetched_and_the_client_is_told_to_send_the_bytes(
    http: Http, engine: FakeEngine, body: object
) -> None:
    assert "send the bytes in base64" in fault(http, 422, body)["message"]
    assert engine.calls == []


def test_what_the_engine_refuses_has_a_code(http: Http, engine: FakeEngine) -> None:
    broken = base64.b64encode(b"no picture").decode()
    assert fault(http, 422, {"input": [{"image": broken}]})["code"] == "corrupt"
    engine.fail["embed_texts"] = NoTextTower("The checkpoint has none.")
    assert fault(http, 422, {"input": "a"})["code"] == "no_text_tower"
    engine.fail["embed_texts"] = ZeroDivisionError("/secret")
    assert "secret" not in fault(http, 500, {"input": "a"})["message"]
    engine.fail["embed_images"] = ImageRefused(Reason.UNSUPPORTED, "HEIC")
    assert fault(http, 415, {"input": uri(0)})["code"] == "unsupported_format"


def test_a_full_queue_says_when_to_come_back(http: Http, engine: FakeEngine) -> None:
    engine.fail["embed_texts"] = Overloaded("The queue is full.", 2.5)
    assert fault(http, 503, {"input": "a"})["code"] == "overloaded"
    assert http.post(URL, json={"input": "a"}).headers["retry-after"] == "3"


def test_a_model_without_a_joint_space_has_no_embeddings_here(engine: FakeEngine) -> None:
    class Visual(FakeEngine):
        @property
        def dims(self) -> tuple[int, int | None]:
            return 8, None

    with serving(Visual(), ApiSettings()) as http:
        assert fault(http, 422, {"input": uri(0)})["code"] == "no_text_tower"
        assert http.get("/v1/models").json()["data"][0]["dimensions"] is None


def test_the_gate_words_its_refusals_as_openai_does(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=KEY)) as http:
        assert fault(http, 401, {"input": "a"}, authorization="Bearer wrong")["code"] == "invalid_api_key"
        assert fault(http, 403, {"input": "a"}, origin="http://evil.example")["code"] == "forbidden"
        assert fault(http, 421, {"input": "a"}, host="evil.example")["code"] == "wrong_host"
        assert http.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
        assert http.get("/v1/models", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_malformed_requests_and_unknown_paths_are_worded_so_too(http: Http) -> None:
    typed = {"content-type": "application/json"}
    for response, status in (
        (http.post(URL, content=b"{", headers=typed), 400),
        (http.post(URL, content=b"", headers=typed), 400),
        (http.post(URL, content=b"{}", headers={"content-type": "text/plain"}), 415),
        (http.post("/v1/chat/completions", json={}), 404),
        (http.get(URL), 405),
    ):
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert http.post("/api/search", json={}).headers["content-type"] == "application/problem+json"


def test_pictures_may_be_large_and_nothing_else(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(max_body_bytes=1000, max_json_bytes=500)) as http:
        large = base64.b64encode(JPEG + bytes(700)).decode()
        assert len(rows(http, input=[{"image": large}, "a"])) == 2
        assert fault(http, 413, {"input": [{"image": base64.b64encode(JPEG + bytes(1000)).decode()}]})
        assert fault(http, 413, {"input": ["a"] * 200})
