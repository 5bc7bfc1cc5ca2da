"""What is refused, how, and that the inside stays inside."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer import errors as kinds
from indexer.errors import (
    ConfigError,
    DeviceFailed,
    ImageRefused,
    IndexerError,
    InputError,
    NoTextTower,
    NotFound,
    Overloaded,
    StoreFull,
)
from indexer.types import Reason
from search_api.errors import FACES, Problem, error_of, problem, problem_of, public
from search_api.settings import ApiSettings
from tests.api.conftest import eventually, serving
from tests.fakes.engine import BROKEN, JPEG, FakeEngine, id_of, picture

Http = TestClient[Litestar]


def assert_problem(response: object, status: int) -> dict[str, object]:
    """A whole problem of this status, without paths, addresses or traces."""
    assert response.status_code == status, response.text  # type: ignore[attr-defined]
    assert response.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    body: dict[str, object] = response.json()  # type: ignore[attr-defined]
    assert {"type", "title", "status", "detail"} <= set(body)
    assert body["status"] == status
    text = response.text  # type: ignore[attr-defined]
    assert not any(inside in text for inside in ("Traceback", "site-packages", "/work", "/secret", "0x7f", ".py"))
    return body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"text": "a", "id": "0" * 64}, ""),
        ({"text": "a", "vector": [1.0]}, ""),
        ({"text": ""}, "text"),
        ({"text": " \n\t"}, "text"),
        ({"text": "a" * 1001}, "text"),
        ({"text": 5}, "text"),
        ({"text": "a", "limit": 0}, "limit"),
        ({"text": "a", "limit": 1001}, "limit"),
        ({"text": "a", "limit": "3"}, "limit"),
        ({"text": "a", "limit": True}, "limit"),
        ({"text": "a", "offset": -1}, "offset"),
        ({"text": "a", "offset": 10_001}, "offset"),
        ({"text": "a", "limt": 3}, ""),
        ({"id": "xyz"}, "id"),
        ({"id": "0" * 64 + "\n"}, "id"),
        ({"id": "A" * 64}, "id"),
        ({"image": ""}, "image"),
        ({"image": "@@@"}, "image"),
        ({"image": "QUJ"}, "image"),
        ({"image": "QUJD-_=="}, "image"),
        ({"image": "data:image/png,QUJD"}, "image"),
        ({"image": "https://example.org/a.jpg"}, "image"),
        ({"vector": []}, "vector"),
        ({"vector": [0.0] * 8}, "vector"),
        ({"vector": [1.0] * 3}, "vector"),
        ({"vector": ["1"] * 8}, "vector[0]"),
        ({"vector": [True] * 8}, "vector[0]"),
        ([], ""),
        ("text", ""),
    ],
)
def test_a_wrong_question_is_422_and_names_the_member(http: Http, body: object, field: str) -> None:
    answer = assert_problem(http.post("/api/search", json=body), 422)
    assert answer["errors"][0]["field"] == field  # type: ignore[index]


def test_a_vector_of_the_wrong_length_is_told_the_right_ones(http: Http) -> None:
    answer = http.post("/api/search", json={"vector": [1.0] * 3}).json()
    assert answer["detail"] == "vector: It has 3 numbers; this model takes 8 (visual) or 4 (joint)."


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"text":',
        b"\xff\xfe",
        b'{"vector":[NaN]}',
        b'{"vector":[Infinity]}',
        b'{"text":"\\ud800"}',
        b'{"text":"\xff"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"text":"a","x":' + b"[" * 200_000,
        b'{"limit":0',
        b"text=a",
    ],
)
def test_what_is_no_json_is_400(http: Http, body: bytes) -> None:
    assert_problem(http.post("/api/search", content=body, headers={"content-type": "application/json"}), 400)


def test_a_number_beyond_floats_is_refused(http: Http) -> None:
    headers = {"content-type": "application/json"}
    assert_problem(http.post("/api/search", content=b'{"vector":[1e400]}', headers=headers), 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"])
@pytest.mark.parametrize("path", ["/api/search", "/api/embed/text", "/api/index/rebuild", "/api/index/verify"])
def test_json_must_say_that_it_is_json(http: Http, path: str, kind: str) -> None:
    response = http.post(path, content=b'{"text":"a"}', headers={"content-type": kind})
    assert_problem(response, 415)


def test_json_may_say_its_charset(http: Http) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert http.post("/api/search", content=b'{"text":"a"}', headers=headers).status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"text": "a", "texts": ["b"]}, {"texts": []}, {"texts": ["a", " "]}, {"texts": "a"}]
)
def test_wrong_texts_are_422(http: Http, body: object) -> None:
    assert_problem(http.post("/api/embed/text", json=body), 422)


@pytest.mark.parametrize("path", ["/api/search/image", "/api/embed/image"])
def test_pictures_are_refused_by_what_is_wrong_with_them(http: Http, path: str) -> None:
    assert assert_problem(http.post(path, content=b""), 422)["reason"] == "empty"
    assert assert_problem(http.post(path, content=BROKEN), 422)["reason"] == "corrupt"
    assert_problem(http.post(path, json={"image": "QUJD"}), 415)
    assert_problem(http.post(path, content=JPEG, headers={"content-type": "text/plain"}), 415)
    for files in ({"picture": ("a.jpg", JPEG)}, [("image", ("a.jpg", JPEG)), ("image", ("b.jpg", JPEG))]):
        answer = assert_problem(http.post(path, files=files), 422)
        assert answer["errors"][0]["field"] == "image"  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\nabc'),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--b--"),
        ("multipart/form-data; boundary=b", b"--b\r\nX\r\n\r\nabc\r\n--b--"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nabc\r\n--b--'),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 20 + b"--b--",
        ),
    ],
)
def test_a_broken_form_is_400_or_422(http: Http, kind: str, body: bytes) -> None:
    response = http.post("/api/embed/image", content=body, headers={"content-type": kind})
    assert_problem(response, response.status_code)
    assert response.status_code in (400, 422)


def test_sizes_are_limited(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(max_body_bytes=1000, max_json_bytes=500)) as http:
        big = JPEG + bytes(1000)
        encoded = base64.b64encode(big).decode()
        assert_problem(http.post("/api/embed/image", content=big), 413)
        assert_problem(http.post("/api/embed/image", content=bytes(10_000_000)), 413)
        assert_problem(http.post("/api/embed/image", files={"image": ("a", big)}), 413)
        assert_problem(http.post("/api/search", json={"image": encoded}), 413)
        assert_problem(http.post("/api/search", json={"vector": [0.125] * 200}), 413)
        assert_problem(http.post("/api/search", json={"text": "a" * 600}), 413)
        assert_problem(http.post("/api/search", json={"image": encoded[:900], "text": "a" * 600}), 413)
        fits = base64.b64encode(picture(0) + bytes(900)).decode()
        assert http.post("/api/search", json={"image": fits}).status_code == 200


def test_fewer_hits_and_texts_can_be_allowed(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(max_limit=3, max_texts=2)) as http:
        answers = [
            http.post("/api/search", json={"text": "a"}),
            http.post("/api/search/image", content=JPEG),
            http.post("/api/search/image?limit=4", content=JPEG),
            http.get(f"/api/images/{id_of(0)}/similar?limit=4"),
        ]
        assert [(answer.json()["limit"], len(answer.json()["hits"])) for answer in answers] == [(3, 3)] * 4
        assert http.get("/api/errors?limit=50").json()["limit"] == 3
        assert_problem(http.post("/api/embed/text", json={"texts": ["a"] * 3}), 422)


@pytest.mark.parametrize("id", ["0" * 64, "x", "A" * 64, "%00", "..%2f..%2fetc%2fpasswd", "a" * 1500, "a" * 5000])
@pytest.mark.parametrize("tail", ["", "/thumbnail", "/similar"])
def test_what_names_no_image_is_404(http: Http, id: str, tail: str) -> None:
    assert_problem(http.get(f"/api/images/{id}{tail}"), 404)


def test_only_possible_ids_reach_the_engine(http: Http, engine: FakeEngine) -> None:
    http.get("/api/images/..")
    http.get("/api/images/abc/thumbnail")
    assert engine.calls == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=nan", "limit=", "offset=-1", "limit=%ff"])
def test_wrong_query_parameters_are_422_by_name(http: Http, query: str) -> None:
    answer = assert_problem(http.get(f"/api/images/{id_of(0)}/similar?{query}"), 422)
    assert answer["errors"][0]["field"] == query.partition("=")[0]  # type: ignore[index]


@pytest.mark.parametrize("number", ["nan", "-nan", "inf", "-inf", "1e999", "0x1", "1_0", ""])
@pytest.mark.parametrize("name", ["score_threshold", "diversity"])
def test_numbers_in_parameters_are_finite(http: Http, engine: FakeEngine, name: str, number: str) -> None:
    for response in (
        http.get(f"/api/images/{id_of(0)}/similar?{name}={number}"),
        http.post(f"/api/search/image?{name}={number}", content=JPEG),
    ):
        assert_problem(response, 422)
    assert engine.calls == []


@pytest.mark.parametrize("query", ["path=", "path=a.jpg", "path=./a", "path=/a%00b"])
def test_a_path_that_cannot_be_one_is_422_by_name(http: Http, engine: FakeEngine, query: str) -> None:
    faults = assert_problem(http.get(f"/api/why?{query}"), 422)["errors"]
    assert [fault["field"] for fault in faults] == ["path"]  # type: ignore[attr-defined, index]
    assert engine.calls == []


@pytest.mark.parametrize("query", ["", "p=/a"])
def test_a_question_without_a_path_is_422(http: Http, engine: FakeEngine, query: str) -> None:
    assert_problem(http.get(f"/api/why?{query}"), 422)
    assert engine.calls == []


@pytest.mark.parametrize("body", [{"sample": -1}, {"sample": 1.5}, {"sample": "3"}, {"repair": 1}, {"all": True}])
def test_a_verification_that_cannot_be_is_422(http: Http, engine: FakeEngine, body: object) -> None:
    assert_problem(http.post("/api/index/verify", json=body), 422)
    assert engine.calls == []


def test_unknown_paths_and_methods_are_problems_too(http: Http) -> None:
    assert_problem(http.get("/nope"), 404)
    assert_problem(http.get("/static/../app.py"), 404)
    assert_problem(http.get("/static/none.js"), 404)
    assert_problem(http.get("/api/openapi.json/x"), 404)
    response = http.put("/api/search")
    assert_problem(response, 405)
    assert "POST" in response.headers["allow"]


# ---------------------------------------------------------------- what the engine raises


CASES: list[tuple[Exception, int, str]] = [
    (NotFound("No live image has the id."), 404, "not-found"),
    (NoTextTower("The checkpoint has no text tower; use another."), 422, "no-text-tower"),
    (InputError("Not so."), 422, "unprocessable"),
    (InputError("Not so: see /secret/file."), 422, "unprocessable"),
    (ImageRefused(Reason.UNSUPPORTED, "HEIC"), 415, "image-refused"),
    (ImageRefused(Reason.TOO_MANY_PIXELS, "68 Mpx"), 413, "image-refused"),
    (ImageRefused(Reason.DEVICE_MEMORY, "no room"), 503, "image-refused"),
    (kinds.ModelUnavailable("/secret/weights are missing"), 503, "model-unavailable"),
    (StoreFull("/secret/data is full"), 503, "store-full"),
    (kinds.StoreCorrupt("/secret/data"), 503, "store-unavailable"),
    (Overloaded("The queue is full.", 2.5), 503, "overloaded"),
    (kinds.DeviceOutOfMemory("x"), 503, "device-memory"),
    (DeviceFailed("CUDA error at /secret"), 503, "device-failed"),
    (kinds.Stopped("going"), 503, "stopping"),
    (IndexerError("at /secret"), 500, "internal"),
    (ZeroDivisionError("/secret"), 500, "internal"),
    (RecursionError("/secret"), 500, "internal"),
]


@pytest.mark.parametrize(("error", "status", "slug"), CASES, ids=lambda case: getattr(case, "__name__", None))
def test_what_the_engine_raises_becomes_a_problem(
    http: Http, engine: FakeEngine, error: Exception, status: int, slug: str
) -> None:
    engine.fail["search"] = error
    answer = assert_problem(http.post("/api/search", json={"text": "a"}), status)
    assert answer["type"] == f"urn:lookalike:problem:{slug}"


@pytest.mark.parametrize(
    "error", [StoreFull("full"), kinds.ModelUnavailable("none"), DeviceFailed("lost"), kinds.Stopped("going")]
)
def test_whatever_is_unavailable_says_when_to_come_back(http: Http, engine: FakeEngine, error: Exception) -> None:
    engine.fail["search"] = error
    assert http.post("/api/search", json={"text": "a"}).headers["retry-after"] == "5"


def test_a_full_queue_says_when_to_come_back(http: Http, engine: FakeEngine) -> None:
    engine.fail["search"] = Overloaded("The queue is full.", 2.5)
    response = http.post("/api/search", json={"text": "a"})
    assert response.headers["retry-after"] == "3"
    assert response.json()["retry_after_s"] == 2.5


def test_a_failure_is_logged_under_the_id_that_the_client_sees(
    http: Http, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.fail["stats"] = ZeroDivisionError("deep inside")
    with caplog.at_level(logging.ERROR, "search_api.app"):
        response = http.get("/api/stats")
    request_id = response.json()["request_id"]
    assert response.headers["x-request-id"] == request_id
    [record] = caplog.records
    assert request_id in record.getMessage()
    assert record.exc_info is not None
    assert "deep inside" in str(record.exc_info[1])


def test_more_calls_than_may_wait_are_told_to_come_back(engine: FakeEngine) -> None:
    engine.hold.clear()
    with serving(engine, ApiSettings(n_threads=1, n_waiting=1)) as http:
        answers: list[int] = []

        def ask() -> None:
            answers.append(http.post("/api/search", json={"text": "a"}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        threads[0].start()
        assert engine.entered.acquire(timeout=10)
        threads[1].start()
        assert eventually(lambda: http.app.state.service.workers.n_calls == 2)
        assert_problem(http.post("/api/search", json={"text": "a"}), 503)
        for path in ("/health/ready", "/metrics", "/api/stats"):  # whoever watches over it is told all the same
            assert http.get(path).status_code == 200
        engine.hold.set()
        for thread in threads:
            thread.join(10)
        assert answers == [200, 200]


# ---------------------------------------------------------------- the table


def test_the_table_says_what_the_error_tree_says() -> None:
    lines = re.findall(r"(\w+) +([-0-9]) +(-|[0-9 ·]+)", kinds.__doc__ or "")
    assert len(lines) >= 19
    for name, _, statuses in lines:
        kind = getattr(kinds, name)
        if statuses.strip() == "-":
            assert kind not in FACES
        else:
            assert str(FACES[kind].status) in statuses.split()


@pytest.mark.parametrize("kind", sorted(set(FACES) - {ImageRefused}, key=str))
def test_a_client_gets_back_the_kind_that_was_raised(kind: type[IndexerError]) -> None:
    same_face = {each for each, face in FACES.items() if face.slug == FACES[kind].slug}
    back = error_of(json_round_trip(problem_of(kind("No."))))
    assert type(back) in same_face
    if issubclass(kind, InputError):
        assert (type(back), str(back)) == (kind, "No.")


@pytest.mark.parametrize("reason", list(Reason))
def test_a_client_gets_back_why_a_picture_was_refused(reason: Reason) -> None:
    back = error_of(json_round_trip(problem_of(ImageRefused(reason, "so it is"))))
    assert isinstance(back, ImageRefused)
    assert (back.reason, back.detail) == (reason, "so it is")


def test_a_client_gets_back_how_long_to_wait() -> None:
    back = error_of(json_round_trip(problem_of(Overloaded("Full.", 2.5))))
    assert isinstance(back, Overloaded)
    assert back.retry_after_s == 2.5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ConfigError),
        (421, ConfigError),
        (400, InputError),
        (404, NotFound),
        (418, InputError),
        (500, IndexerError),
    ],
)
def test_what_http_refuses_has_a_kind_for_clients(status: int, kind: type[IndexerError]) -> None:
    assert type(error_of(problem(status, "No."))) is kind


@pytest.mark.parametrize("text", ["image/png is fine", "68 Mpx > 50 Mpx"[:6], "1/2"])
def test_plain_words_are_shown(text: str) -> None:
    assert public(text, "hidden") == text


@pytest.mark.parametrize("text", ["", "in /etc/passwd", "'/a'", "C:\\a", "<object>", "at 0x7fab", "a\nb", "x" * 501])
def test_words_about_the_inside_are_not_shown(text: str) -> None:
    assert public(text, "hidden") == "hidden"


def json_round_trip(what: Problem) -> Problem:
    import msgspec

    return msgspec.json.decode(json.dumps(json.loads(msgspec.json.encode(what))), type=Problem)
