"""Every route's answer when all is well."""

from __future__ import annotations

import base64
import re
import threading
from datetime import datetime, timedelta
from urllib.parse import quote, quote_plus

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from indexer.types import (
    DeviceLedger,
    DeviceMemory,
    Forecast,
    GpuMemory,
    IdQuery,
    ImageQuery,
    Leak,
    MemoryPart,
    ProcessLedger,
    ProcessMemory,
    Readiness,
    Stats,
    TextQuery,
    VectorQuery,
)
from search_api import schemas
from search_api.answers import rfc3339
from search_api.queries import direction, file_path
from tests.fakes.engine import DIM, JOINT, JPEG, SPACE, FakeEngine, id_of, picture

Http = TestClient[Litestar]
HIT_KEYS = {
    "id", "score", "path", "paths", "width", "height", "modified", "thumbnail_url", "format", "size_bytes",
    "relevance", "n_alike", "vector",
}  # fmt: skip


def test_a_search_answers_in_the_documented_shape(http: Http) -> None:
    answer = http.post("/api/search", json={"id": id_of(0), "limit": 1}).json()
    took = answer.pop("took_ms")
    assert set(took) == {"embed", "search", "total"}
    assert took["embed"] == 0.25
    assert all(isinstance(value, float) for value in took.values())
    score = answer["hits"][0].pop("score")
    assert score == pytest.approx(1.0, abs=1e-6)
    assert answer == {
        "hits": [
            {
                "id": id_of(0),
                "path": "/pictures/0.jpg",
                "paths": ["/pictures/0.jpg", "/pictures/copy-\\xff.jpg"],
                "width": 640,
                "height": 480,
                "modified": "2025-11-22T12:00:00.500000Z",
                "thumbnail_url": f"/api/images/{id_of(0)}/thumbnail",
                "format": "JPEG",
                "size_bytes": len(picture(0)),
                "relevance": None,
                "n_alike": 0,
                "vector": None,
            }
        ],
        "limit": 1,
        "offset": 0,
        "model": "fake",
        "space": SPACE.fingerprint,
        "index": {"count": 5, "generation": 7},
        "cursor": None,
        "cut_score": None,
        "matching": None,
    }


def test_each_way_of_asking_reaches_the_engine_as_its_query(http: Http, engine: FakeEngine) -> None:
    data = picture(3)
    encoded = base64.b64encode(data).decode()
    asked = {
        TextQuery("a red car"): {"text": "a red car"},
        ImageQuery(data): {"image": encoded},
        IdQuery(id_of(2)): {"id": id_of(2)},
    }
    for query, body in asked.items():
        assert http.post("/api/search", json=body).status_code == 200
        assert engine.calls[-1][1] == query or ("search", query) in engine.calls
    for form in (f"data:image/jpeg;base64,{encoded}", "\n".join([encoded[:20], encoded[20:]])):
        engine.calls.clear()
        assert http.post("/api/search", json={"image": form}).json()["hits"][0]["id"] == id_of(3)
        assert ("search", ImageQuery(data)) in engine.calls


def test_null_counts_as_absent(http: Http) -> None:
    body = {"text": "a", "image": None, "id": None, "vector": None}
    assert http.post("/api/search", json=body).status_code == 200


@pytest.mark.parametrize("length", [DIM, JOINT])
@pytest.mark.parametrize("size", [5e-324, 1e-200, 1.0, 1.7e308])
def test_a_vector_reaches_the_engine_at_unit_length(http: Http, engine: FakeEngine, length: int, size: float) -> None:
    vector = [size, -size, *[0.0] * (length - 2)]
    assert http.post("/api/search", json={"vector": vector}).status_code == 200
    query = next(argument for name, argument in engine.calls if name == "search")
    assert isinstance(query, VectorQuery)
    np.testing.assert_allclose(query.vector, [0.5**0.5, -(0.5**0.5), *[0.0] * (length - 2)], rtol=1e-12)


def test_limit_and_offset_walk_through_all_hits_once(http: Http) -> None:
    whole = [hit["id"] for hit in http.post("/api/search", json={"text": "x"}).json()["hits"]]
    pages = [http.post("/api/search", json={"text": "x", "limit": 2, "offset": o}).json() for o in (0, 2, 4)]
    assert [hit["id"] for page in pages for hit in page["hits"]] == whole
    assert [(page["limit"], page["offset"], len(page["hits"])) for page in pages] == [(2, 0, 2), (2, 2, 2), (2, 4, 1)]


@pytest.mark.parametrize("how", ["raw", "image", "untyped", "curl", "multipart"])
@pytest.mark.parametrize("path", ["/api/search/image", "/api/embed/image"])
def test_a_picture_may_come_raw_or_as_a_form_field(http: Http, path: str, how: str) -> None:
    data = picture(4)
    types = {"raw": "application/octet-stream", "image": "image/webp", "curl": "application/x-www-form-urlencoded"}
    if how == "multipart":
        response = http.post(path, files={"image": ("a.jpg", data, "image/jpeg")}, data={"other": "ignored"})
    else:
        headers = {"content-type": types[how]} if how in types else {}
        response = http.post(path, content=data, headers=headers)
    answer = response.json()
    assert response.status_code == 200
    assert (answer["hits"][0]["id"] if "hits" in answer else answer["id"]) == id_of(4)


def test_the_image_search_takes_limit_and_offset_from_the_query_string(http: Http) -> None:
    answer = http.post("/api/search/image?limit=2&offset=1", content=picture(1)).json()
    assert (answer["limit"], answer["offset"], len(answer["hits"])) == (2, 1, 2)
    assert set(answer["hits"][0]) == HIT_KEYS


def test_similar_finds_the_picture_itself_first(http: Http, engine: FakeEngine) -> None:
    answer = http.get(f"/api/images/{id_of(2)}/similar?limit=3").json()
    assert answer["hits"][0]["id"] == id_of(2)
    assert len(answer["hits"]) == 3
    assert ("search", IdQuery(id_of(2))) in engine.calls


def test_an_embedded_picture_has_its_feature_and_its_joint_embedding(http: Http, engine: FakeEngine) -> None:
    answer = http.post("/api/embed/image", content=picture(0)).json()
    expected = engine.embed_images([picture(0)])[0]
    assert answer.pop("feature") == expected.feature.tolist()
    assert expected.embedding is not None
    assert answer.pop("embedding") == expected.embedding.tolist()
    assert answer == {"id": id_of(0), "model": "fake", "space": SPACE.fingerprint}


def test_texts_are_embedded_in_their_order(http: Http, engine: FakeEngine) -> None:
    many = http.post("/api/embed/text", json={"texts": ["a", "b"]}).json()
    assert many["embeddings"] == engine.embed_texts(["a", "b"]).tolist()
    assert (many["dim"], many["model"], many["space"]) == (JOINT, "fake", SPACE.fingerprint)
    one = http.post("/api/embed/text", json={"text": "b"}).json()
    assert one["embeddings"] == [many["embeddings"][1]]


def test_an_image_is_described_with_all_its_paths(http: Http) -> None:
    answer = http.get(f"/api/images/{id_of(0)}").json()
    assert set(answer) == HIT_KEYS - {"score", "relevance", "n_alike", "vector"}
    assert answer["paths"] == ["/pictures/0.jpg", "/pictures/copy-\\xff.jpg"]


def test_a_thumbnail_is_a_jpeg_to_be_kept(http: Http, engine: FakeEngine) -> None:
    response = http.get(f"/api/images/{id_of(1)}/thumbnail?side=64")
    assert response.content == JPEG
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["etag"] == f'"{id_of(1)}"'
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert ("thumbnail", (id_of(1), 64)) in engine.calls


@pytest.mark.parametrize("tags", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_a_client_that_has_the_thumbnail_gets_304(http: Http, engine: FakeEngine, tags: str) -> None:
    headers = {"if-none-match": tags.format(id_of(1))}
    response = http.get(f"/api/images/{id_of(1)}/thumbnail", headers=headers)
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == f'"{id_of(1)}"'
    assert not any(name == "thumbnail" for name, _ in engine.calls)


def test_another_tag_or_a_dead_id_does_not_give_304(http: Http) -> None:
    other = {"if-none-match": '"something"'}
    assert http.get(f"/api/images/{id_of(1)}/thumbnail", headers=other).status_code == 200
    dead = {"if-none-match": "*"}
    assert http.get(f"/api/images/{'0' * 64}/thumbnail", headers=dead).status_code == 404


def test_stats_tell_everything_that_the_engine_counts(http: Http, engine: FakeEngine) -> None:
    answer = http.get("/api/stats").json()
    assert set(answer) == {*Stats.__dataclass_fields__, "requests_waiting", "requests_rejected_total"}
    assert (answer["files"], answer["indexed"], answer["errors"], answer["pending"]) == (6, 5, 3, 2)
    assert (answer["encoded_total"], answer["cache_hits_total"]) == (11, 3)
    assert answer["started_at"] == "2025-11-22T12:00:00.500000Z"
    assert answer["progress"][0]["task"] == "rebuild"
    assert answer["watching"] == {"/pictures": "events"}


def test_refused_files_are_listed_by_page_with_their_total(http: Http) -> None:
    answer = http.get("/api/errors?limit=2&offset=2").json()
    assert (answer["limit"], answer["offset"], answer["total"], len(answer["errors"])) == (2, 2, 3, 1)
    assert answer["errors"][0] == {
        "path": "/pictures/broken-2.jpg",
        "reason": "corrupt",
        "detail": "cannot be decoded",
        "recorded": "2025-11-22T12:00:02.500000Z",
        "modified": "2025-11-22T12:00:00.500000Z",
        "size_bytes": 18,
        "retried": False,
    }


def test_without_a_gpu_the_reason_is_told(http: Http) -> None:
    assert http.get("/api/gpu/memory").json() == {
        "available": False, "reason": "no NVIDIA driver", "devices": [], "ledger": [], "process": None,
        "forecast": None, "leaks": [],
    }  # fmt: skip


def test_with_a_gpu_every_figure_is_told(http: Http, engine: FakeEngine) -> None:
    device = DeviceMemory(0, "H200", 9, 4, 5, 1, 2, 3)
    engine.memory = GpuMemory(True, "", (device,))
    answer = http.get("/api/gpu/memory").json()
    assert answer["available"] is True
    assert answer["devices"] == [
        {
            "index": 0, "name": "H200", "total_bytes": 9, "used_bytes": 4, "free_bytes": 5,
            "torch_allocated_bytes": 1, "torch_reserved_bytes": 2, "torch_peak_bytes": 3,
        }
    ]  # fmt: skip


def test_the_ledger_says_what_the_memory_is_for(http: Http, engine: FakeEngine) -> None:
    engine.memory = GpuMemory(
        True,
        ledger=(DeviceLedger("gpu0", "H200", 9, (MemoryPart("weights", 4),), (ProcessMemory(7, "x", 1),), 0.97),),
        process=ProcessLedger(5, (MemoryPart("heap", 5),)),
        forecast=Forecast(10, 100),
        leaks=(Leak("process", 2.0, 3.0, 1_763_812_800.5, "It grows."),),
    )
    answer = http.get("/api/gpu/memory").json()
    assert answer["ledger"] == [
        {
            "device": "gpu0", "name": "H200", "total_bytes": 9, "parts": [{"name": "weights", "bytes": 4}],
            "processes": [{"pid": 7, "name": "x", "bytes": 1}], "explained_share": 0.97,
        }
    ]  # fmt: skip
    assert answer["process"] == {"rss_bytes": 5, "parts": [{"name": "heap", "bytes": 5}]}
    assert answer["forecast"] == {"exact_images": 10, "compressed_images": 100}
    assert answer["leaks"] == [
        {
            "component": "process", "bytes_per_s": 2.0, "bytes_per_request": 3.0,
            "since": "2025-11-22T12:00:00.500000Z", "sentence": "It grows.",
        }
    ]  # fmt: skip


def test_the_course_of_the_memory_is_told(http: Http, engine: FakeEngine) -> None:
    answer = http.get("/api/gpu/memory/history?seconds=86400").json()
    assert answer["series"] == [{"device": "process", "name": "weights", "bytes": [None, 5]}]
    assert (answer["step_s"], len(answer["times"])) == (1, 2)
    assert engine.calls == [("memory_history", 86_400)]
    for seconds in (0, 86_401, -1):
        assert http.get(f"/api/gpu/memory/history?seconds={seconds}").status_code == 422


def test_unused_memory_is_given_back_to_our_own_page_alone(http: Http, engine: FakeEngine) -> None:
    answer = http.post("/api/gpu/memory/release")
    assert (answer.status_code, answer.json()) == (200, {"freed_bytes": 7, "devices": {"gpu0": 5, "process": 2}})
    refused = http.post("/api/gpu/memory/release", headers={"origin": "http://evil.example"})
    assert refused.status_code == 403
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("body", "asked", "n"),
    [
        (None, None, 3),
        ({"path": "/pictures/broken-1.jpg"}, b"/pictures/broken-1.jpg", 1),
        ({"path": "/pictures"}, b"/pictures", 3),
        ({"path": "/pictures/copy-\\xff.jpg"}, b"/pictures/copy-\xff.jpg", 0),
    ],
)
def test_refused_files_are_tried_again(
    http: Http, engine: FakeEngine, body: dict[str, str] | None, asked: bytes | None, n: int
) -> None:
    response = http.post("/api/errors/retry", json=body)
    assert (response.status_code, response.json()) == (202, {"n": n})
    assert engine.calls[-1] == ("retry", asked)


@pytest.mark.parametrize("path", ["broken.jpg", "/pictures/\0", ""])
def test_only_what_can_be_a_path_is_tried_again(http: Http, path: str) -> None:
    assert http.post("/api/errors/retry", json={"path": path}).status_code == 422


@pytest.mark.parametrize(("body", "confirmed"), [(None, False), ({}, False), ({"confirm_gone": True}, True)])
def test_a_rescan_is_taken(http: Http, engine: FakeEngine, body: dict[str, bool] | None, confirmed: bool) -> None:
    response = http.post("/api/index/rescan", json=body)
    assert (response.status_code, response.json()) == (202, {"status": "accepted"})
    assert engine.calls == [("rescan", confirmed)]


@pytest.mark.parametrize(("body", "reencode"), [(None, False), ({}, False), ({"reencode": True}, True)])
def test_a_rebuild_is_taken_and_tells_how_far_it_is(
    http: Http, engine: FakeEngine, body: dict[str, bool] | None, reencode: bool
) -> None:
    response = http.post("/api/index/rebuild", json=body)
    assert response.status_code == 202
    assert response.json()["n_total"] == 5
    assert engine.calls == [("rebuild", reencode)]


@pytest.mark.parametrize(
    ("body", "asked"), [(None, (0, False)), ({}, (0, False)), ({"sample": 8, "repair": True}, (8, True))]
)
def test_a_verification_is_taken_and_tells_how_far_it_is(
    http: Http, engine: FakeEngine, body: dict[str, object] | None, asked: tuple[int, bool]
) -> None:
    response = http.post("/api/index/verify", json=body)
    assert response.status_code == 202
    assert (response.json()["task"], response.json()["n_total"]) == ("verify", 12)
    assert engine.calls == [("verify", asked)]


def test_stats_tell_what_the_last_verification_found(http: Http, engine: FakeEngine) -> None:
    assert http.get("/api/stats").json()["verify"] == {
        "ok": True, "started_at": "2025-11-22T12:00:00.500000Z", "seconds": 1.5, "sample": 0, "repair": True,
        "files": 6, "contents": 5, "features": 7, "rows": 4, "kept": 2, "reencoded": 0,
        "found": {"missing": 1}, "mended": {"missing": 1},
        "examples": [
            {"flaw": "missing", "what": "the index has no row", "id": id_of(0), "vector_id": 1, "path": None,
             "mended": True}
        ],
        "notes": ["All else is well."],
    }  # fmt: skip
    engine.report = None
    assert http.get("/api/stats").json()["verify"] is None


def test_why_tells_what_is_known_of_a_path(http: Http) -> None:
    assert http.get("/api/why", params={"path": "/pictures/0.jpg"}).json() == {
        "path": "/pictures/0.jpg", "standing": "indexed", "searchable": True,
        "sentence": f"It is indexed as {id_of(0)}.",
        "rule": "", "waits_s": None, "reason": None, "detail": "", "recorded": "2025-11-22T12:00:00.500000Z",
        "id": id_of(0), "vector_id": 1, "same_content": ["/pictures/copy-\\xff.jpg"],
    }  # fmt: skip


@pytest.mark.parametrize("spelt", ["/pictures/copy-%ff.jpg", "/pictures/copy-%5Cxff.jpg", "%2Fpictures%2Fcopy-%FF.jpg"])
def test_a_path_need_not_be_text(http: Http, spelt: str) -> None:
    """Its bytes as percent-escapes, or as answers show them."""
    answer = http.get(f"/api/why?path={spelt}").json()
    assert (answer["standing"], answer["path"]) == ("indexed", "/pictures/copy-\\xff.jpg")


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"\0" not in name))
def test_every_path_reaches_the_engine_byte_for_byte(name: bytes) -> None:
    path = b"/" + name
    assert file_path(b"path=" + quote(path).encode(), "") == path
    assert file_path(b"other=1&path=" + quote_plus(path).encode(), "") == path


def test_health_tells_live_and_ready(http: Http) -> None:
    assert http.get("/health/live").json() == {"status": "ok"}
    assert http.get("/health/ready").json() == {"ready": True, "checks": {"model": "ok", "index": "ok"}}


def test_an_engine_that_does_not_tell_its_state_in_time_is_not_ready(
    http: Http, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("search_api.routes.health.READY_S", 0.05)
    monkeypatch.setattr(engine, "readiness", lambda: go_on.wait(10))
    response = http.get("/health/ready")
    go_on.set()
    assert response.status_code == 503
    assert response.json()["checks"] == {"engine": "fail: it has not told its state within 0.05 s"}


def test_not_ready_is_a_503_with_each_check(http: Http, engine: FakeEngine) -> None:
    engine.ready = Readiness(False, {"model": "fail: loading", "index": "ok"})
    response = http.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "1"
    assert response.json()["ready"] is False
    assert response.json()["checks"] == {"model": "fail: loading", "index": "ok"}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/dashboard",
        "/api/docs",
        "/favicon.ico",
        "/static/main.js",
        "/static/vendor/preact.js",
        "/static/style.css",
    ],
)
def test_pages_load_from_here_alone_and_can_be_kept(http: Http, path: str) -> None:
    response = http.get(path)
    assert response.status_code == 200
    assert re.search("script-src 'self'( 'sha256-[^']+')?;", response.headers["content-security-policy"])
    assert "unsafe" not in response.headers["content-security-policy"]
    outside = ("https:", "http://127", "<script>", ' style="', "onclick=")
    assert not any(each in response.text for each in outside)
    again = http.get(path, headers={"if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_newest_pictures_are_told_page_by_page_without_a_question(http: Http, engine: FakeEngine) -> None:
    first = http.post("/api/images/newest", json={"limit": 3, "where": {"format": ["jpeg"]}}).json()
    assert [each["id"] for each in first["images"]] == [id_of(i) for i in (4, 3, 2)]
    assert first["matching"] == 5
    rest = http.post("/api/images/newest", json={"limit": 3, "before": first["before"]}).json()
    assert [each["id"] for each in rest["images"]] == [id_of(1), id_of(0)]
    assert rest["before"] is None
    assert len(http.post("/api/images/newest", json={}).json()["images"]) == 5
    assert [call[1][2].format for call in engine.calls if call[0] == "newest"] == [("jpeg",), (), ()]  # type: ignore[index]
    assert http.post("/api/images/newest", json={"before": 0}).status_code == 422


def test_without_a_measured_batch_the_answer_is_a_problem(http: Http, engine: FakeEngine) -> None:
    engine.tuned = None
    answer = http.get("/api/tune")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:lookalike:problem:not-tuned"


def test_head_gives_the_headers_of_get(http: Http) -> None:
    assert http.head("/health/live").status_code == 200
    assert http.head("/").headers["content-type"] == "text/html; charset=utf-8"


def test_answers_decode_into_the_client_types_without_unknown_members(http: Http) -> None:
    answers = {
        "/api/stats": schemas.StatsAnswer,
        "/api/errors": schemas.ErrorsAnswer,
        "/api/gpu/memory": schemas.GpuMemoryAnswer,
        "/api/tune": schemas.TuningAnswer,
        "/api/why?path=/pictures/0.jpg": schemas.WhyAnswer,
        f"/api/images/{id_of(0)}": schemas.ImageAnswer,
        f"/api/images/{id_of(0)}/similar": schemas.SearchAnswer,
        "/health/live": schemas.LiveAnswer,
        "/health/ready": schemas.ReadyAnswer,
    }
    for path, kind in answers.items():
        body = http.get(path).content
        assert msgspec.json.decode(msgspec.json.encode(msgspec.json.decode(body, type=kind))) == msgspec.json.decode(
            body
        )


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=DIM, max_size=DIM).filter(any))
def test_a_direction_has_unit_length_and_keeps_its_sense(vector: list[float]) -> None:
    unit = direction(vector, (DIM, None))
    assert np.linalg.norm(unit) == pytest.approx(1.0, rel=1e-9)
    assert int(np.argmax(np.abs(unit))) in np.flatnonzero(np.abs(vector) == np.max(np.abs(vector)))
    assert all(u * v >= 0 for u, v in zip(unit, vector, strict=True))


@given(st.floats(min_value=-1e12, max_value=1e15))
def test_every_time_that_a_file_system_holds_can_be_told(seconds: float) -> None:
    told = datetime.fromisoformat(rfc3339(seconds))
    assert told.utcoffset() == timedelta(0)
    if -6e10 < seconds < 2e11:
        assert told.timestamp() == pytest.approx(seconds, abs=1e-3)
