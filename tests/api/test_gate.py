"""Who is let in, and what every answer carries."""

from __future__ import annotations

import logging

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.errors import ConfigError
from indexer.types import Readiness
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import JPEG, FakeEngine, id_of

Http = TestClient[Litestar]
KEY = "a-key-of-enough-characters"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:7860", "localhost", "LOCALHOST:7860", "[::1]", "[::1]:7860", "localhost:1"]
)
def test_loopback_names_are_served_with_and_without_port(http: Http, host: str) -> None:
    assert http.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:7860", "localhost.", "0.0.0.0"]
)
def test_other_names_are_refused(http: Http, host: str) -> None:
    response = http.get("/health/live", headers={"host": host})
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "host", ["", "user@localhost", "localhost:x", "localhost:123456", "a b", "localhost/x", "[::1"]
)
def test_what_is_no_host_is_400(http: Http, host: str) -> None:
    assert http.get("/health/live", headers={"host": host}).status_code == 400


def test_allowed_hosts_are_served_besides(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(allowed_hosts=("Pictures.example",))) as http:
        assert http.get("/health/live", headers={"host": "pictures.example:443"}).status_code == 200
        assert http.get("/health/live", headers={"host": "localhost"}).status_code == 200
        assert http.get("/health/live", headers={"host": "other.example"}).status_code == 421


def test_listening_everywhere_any_name_is_served_for_the_key_guards(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(host="0.0.0.0", api_key=KEY)) as http:
        assert http.get("/health/live", headers={"host": "nas.home:7860"}).status_code == 200
        assert http.get("/api/stats", headers={"host": "nas.home:7860"}).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:7860"},
        {"origin": "https://127.0.0.1:7860"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_our_own_page_and_programs_may_post(http: Http, headers: dict[str, str]) -> None:
    assert http.post("/api/index/rescan", headers=headers).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:7860.evil.example"},
        {"origin": "http://localhost:7860"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_origins_may_not_post(http: Http, engine: FakeEngine, headers: dict[str, str]) -> None:
    response = http.post("/api/index/rescan", headers=headers)
    assert response.status_code == 403
    assert http.post("/api/embed/image", content=JPEG, headers=headers).status_code == 403
    assert engine.calls == []


def test_a_page_of_an_allowed_host_may_post(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(allowed_hosts=("pictures.example",))) as http:
        headers = {"origin": "https://pictures.example", "host": "127.0.0.1:7860"}
        assert http.post("/api/index/rescan", headers=headers).status_code == 202


def test_other_pages_get_no_cors_headers(http: Http) -> None:
    response = http.options(
        "/api/search", headers={"origin": "http://evil.example", "access-control-request-method": "POST"}
    )
    assert not any(name.startswith("access-control") for name in response.headers)


# ---------------------------------------------------------------- the key


def every_route(http: Http) -> list[tuple[str, str]]:
    return [
        (str(method), route.path.replace("{id:str}", id_of(0)).replace("{name:str}", "main.js"))
        for route in http.app.routes
        for handler in route.route_handlers
        for method in handler.http_methods
        if "{path" not in route.path
    ]


PAGES = {"/", "/dashboard", "/duplicates", "/errors", "/api/docs", "/favicon.ico", "/static/main.js"}
"""They hold nothing of anybody's, and the page is what asks a person for the key."""


def test_with_a_key_every_route_but_health_and_pages_asks_for_it(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=KEY)) as http:
        routes = every_route(http)
        assert len(routes) > 25
        for method, path in [*routes, ("GET", "/nope"), ("GET", "//health/live"), ("GET", "/health/live/")]:
            for headers in (
                {},
                {"authorization": f"Bearer {KEY}x"},
                {"authorization": KEY},
                {"authorization": "Bearer "},
            ):
                response = http.request(method, path, headers=headers)
                if method in ("GET", "HEAD", "OPTIONS") and (path in PAGES or path.startswith("/static/")):
                    assert response.status_code in (200, 204, 404), (method, path)
                elif path in ("/health/live", "/health/ready"):
                    assert response.status_code in (200, 204), (method, path)
                else:
                    assert response.status_code == 401, (method, path)
                    assert response.headers["www-authenticate"] == "Bearer"
        assert {name for name, _ in engine.calls} == {"readiness"}


def test_the_key_opens(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=KEY)) as http:
        http.headers["authorization"] = f"Bearer {KEY}"
        assert http.get("/api/stats").status_code == 200
        assert http.post("/api/search", json={"text": "a"}).status_code == 200
        assert http.get("/api/openapi.json").json()["components"]["securitySchemes"]


def test_strangers_learn_no_details_from_health(engine: FakeEngine) -> None:
    engine.ready = Readiness(True, {"disk": "warn: /secret is nearly full"})
    with serving(engine, ApiSettings(api_key=KEY)) as http:
        assert http.get("/health/ready").json()["checks"] == {"disk": "warn"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "pictures.example", ""])
def test_an_address_that_others_reach_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.host: .*api_key"):
        ApiSettings(host=host)
    assert ApiSettings(host=host, api_key=KEY).api_key == KEY


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert ApiSettings(host=host).api_key is None


@pytest.mark.parametrize("key", ["short", "with spaces in the key", "ümlauts-in-the-key", "line\nbreaks-in-the-key"])
def test_a_weak_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.api_key"):
        ApiSettings(api_key=key)


@pytest.mark.parametrize(("setting", "value"), [("port", 70_000), ("port", -1), ("max_limit", 0), ("max_limit", 1001)])
def test_settings_out_of_range_are_refused_by_name(setting: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"api\.{setting}"):
        ApiSettings(**{setting: value})  # type: ignore[arg-type]


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(ApiSettings(api_key=KEY))


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/api/stats", {}),
        ("GET", f"/api/images/{id_of(0)}/thumbnail", {}),
        ("GET", "/nope", {}),
        ("PUT", "/api/search", {}),
        ("GET", "/health/live", {"host": "evil.example"}),
        ("POST", "/api/index/rescan", {"origin": "null"}),
        ("POST", "/api/search", {}),
        ("OPTIONS", "/api/search", {}),
    ],
)
def test_every_answer_carries_the_security_headers(http: Http, method: str, path: str, headers: dict[str, str]) -> None:
    sent = http.request(method, path, headers=headers).headers
    assert sent["x-content-type-options"] == "nosniff"
    assert sent["x-frame-options"] == "DENY"
    assert sent["referrer-policy"] == "no-referrer"
    assert sent["cross-origin-resource-policy"] == "same-origin"
    assert sent["content-security-policy"].startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in sent["content-security-policy"]
    assert "server" not in sent
    assert sent.get_list("content-security-policy") == [sent["content-security-policy"]]


def test_request_ids_differ(http: Http) -> None:
    ids = {http.get("/nope").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_requests_are_logged_only_if_asked_for(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serving(engine, ApiSettings()) as http:
        http.get("/health/live")
    assert [record for record in caplog.records if record.name.startswith("search_api")] == []
    with serving(engine, ApiSettings(access_log=True)) as http:
        response = http.get("/api/images/abc?x=secret")
    [record] = [record for record in caplog.records if record.name == "search_api.access"]
    assert record.getMessage().startswith("GET /api/images/abc 404 ")
    assert record.getMessage().endswith(response.headers["x-request-id"])
    assert "secret" not in record.getMessage()
    with serving(engine, ApiSettings(access_log=True)) as http:
        http.get("/a%0aGET /forged 200")
    assert "\n" not in caplog.records[-1].getMessage()


def test_bodies_together_stay_within_their_memory(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(max_held_bytes=1000)) as http:
        response = http.post("/api/embed/image", content=JPEG + bytes(1000))
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        for _ in range(5):  # what was held is given back, whatever became of it
            assert http.post("/api/embed/image", content=JPEG + bytes(900)).status_code == 200
            assert http.post("/api/embed/image", content=bytes(900)).status_code == 422


def test_debugging_cannot_be_switched_on_from_outside(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITESTAR_DEBUG", "1")
    monkeypatch.setenv("LITESTAR_PDB", "1")
    engine.fail["stats"] = ZeroDivisionError("inside")
    with serving(engine, ApiSettings()) as http:
        response = http.get("/api/stats", headers={"accept": "text/html"})
    assert "inside" not in response.text
    assert response.headers["content-type"] == "application/problem+json"
