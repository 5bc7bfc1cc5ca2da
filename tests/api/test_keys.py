"""Two keys: one for asking, one for orders; where they come from, and that nobody is told them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.cli.api_settings import api_settings, key_of
from indexer.config import load
from indexer.errors import ConfigError
from search_api import keys
from search_api.client import Client
from search_api.settings import ApiSettings
from tests.api.conftest import running, serving
from tests.fakes.engine import JPEG, FakeEngine, id_of

Http = TestClient[Litestar]
READ = "for-reading-only-16"
ADMIN = "for-giving-orders-16"
QUESTIONS = {
    "/api/search", "/api/search/image", "/api/embed/image", "/api/embed/text", "/v1/embeddings", "/knn-service",
    "/metadata", "/predict", "/api/images/newest",
}  # fmt: skip
SAFE = {"GET", "HEAD", "OPTIONS"}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def every_route(http: Http) -> list[tuple[str, str]]:
    return [
        (str(method), route.path.replace("{id:str}", id_of(0)).replace("{name:str}", "app.js"))
        for route in http.app.routes
        for handler in route.route_handlers
        for method in handler.http_methods
        if "{path" not in route.path
    ]


def test_whatever_changes_something_needs_the_admin_key_and_nothing_else_does(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=READ, admin_key=ADMIN)) as http:
        orders = set()
        for method, path in every_route(http):
            if path == "/api/events":
                continue  # has no end
            status = http.request(method, path, headers=bearer(READ)).status_code
            assert status != 401, (method, path)
            if status == 403:
                orders.add((method, path))
                assert http.request(method, path).status_code == 401
                assert http.request(method, path, headers=bearer(ADMIN)).status_code not in (401, 403)
        assert {path for _, path in orders} == {
            "/api/index/rescan", "/api/index/rebuild", "/api/index/verify", "/api/errors/retry",
            "/api/gpu/memory/release", "/api/tune", "/api/standing", f"/api/standing/{id_of(0)}",
        }  # fmt: skip
        changing = {path for method, path in every_route(http) if method not in SAFE}
        assert changing - {path for _, path in orders} == QUESTIONS


def test_a_route_that_nobody_thought_of_is_taken_for_one_that_changes_something(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=READ, admin_key=ADMIN)) as http:
        for method, path in (("POST", "/nope"), ("DELETE", "/api/stats"), ("PUT", "/api/images/x"), ("BREW", "/")):
            assert http.request(method, path, headers=bearer(READ)).status_code == 403
        assert http.post("/api/search/", json={"text": "a"}, headers=bearer(READ)).status_code == 200


def test_an_admin_key_alone_leaves_reading_open(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(admin_key=ADMIN)) as http:
        assert http.get("/api/stats").status_code == 200
        assert http.post("/api/search", json={"text": "a"}).status_code == 200
        assert http.post("/api/index/rescan").status_code == 401
        assert http.post("/api/index/rescan", headers=bearer(READ)).status_code == 401
        assert http.post("/api/index/rescan", headers=bearer(ADMIN)).status_code == 202
        assert http.get("/api/openapi.json").json()["components"]["securitySchemes"]


def test_without_an_admin_key_the_key_opens_everything(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=READ)) as http:
        assert http.post("/api/index/rescan", headers=bearer(READ)).status_code == 202


def test_an_admin_key_does_not_stand_in_for_one_that_guards_reading() -> None:
    with pytest.raises(ConfigError, match=r"api\.host"):
        ApiSettings(host="0.0.0.0", admin_key=ADMIN)
    with pytest.raises(ConfigError, match=r"api\.admin_key: too weak"):
        ApiSettings(admin_key="short")


def test_the_client_says_which_key_is_wanted(engine: FakeEngine) -> None:
    with running(engine, ApiSettings(api_key=READ, admin_key=ADMIN)) as server:
        with Client(server.url, api_key=READ) as client, pytest.raises(ConfigError, match=r"api\.admin_key"):
            client.rescan()
        with Client(server.url, api_key=ADMIN) as client:
            assert client.rescan().status == "accepted"
            assert client.search_text("a").hits


@pytest.mark.parametrize(
    "where",
    [
        {"url": f"/api/stats?api_key={READ}&key={READ}&access_token={READ}"},
        {"url": "/api/stats", "cookies": {"api_key": READ, "authorization": READ}},
        {"url": "/api/stats", "headers": {"x-api-key": READ}},
        {"url": "/api/stats", "headers": {"authorization": f"Basic {READ}"}},
        {"url": "/api/stats", "headers": {"authorization": f"bearer {READ}\x00"}},
    ],
)
def test_a_key_counts_in_its_header_alone(engine: FakeEngine, where: dict[str, object]) -> None:
    with serving(engine, ApiSettings(api_key=READ)) as http:
        http.cookies.update(where.pop("cookies", {}))  # type: ignore[arg-type]
        assert http.get(**where).status_code == 401  # type: ignore[arg-type]


def test_keys_are_compared_in_constant_time_and_both_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(given: bytes, kept: bytes) -> bool:
        compared.append(kept)
        return given == kept

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    judge = keys.Keys(ApiSettings(api_key=READ, admin_key=ADMIN), QUESTIONS)
    for given in (None, b"", b"Bearer x", f"Bearer {READ}".encode(), f"Bearer {ADMIN}".encode()):
        compared.clear()
        judge.refusal("GET", "/api/stats", given)
        assert compared == [f"Bearer {ADMIN}".encode(), f"Bearer {READ}".encode()]


def test_no_key_is_ever_logged(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    engine.fail["stats"] = ZeroDivisionError("inside")
    settings = ApiSettings(api_key=READ, admin_key=ADMIN, access_log=True)
    with running(engine, settings) as server, Client(server.url, api_key=READ) as client:
        for path in ("/api/stats", f"/api/why?path=/{READ}"):
            client._http.get(path)
        client._http.post("/api/index/rescan")
        client._http.get("/api/stats", headers=bearer(READ + "x"))
    ours = [record for record in caplog.records if record.name.startswith(("search_api", "indexer", "uvicorn"))]
    assert sum(record.name == "search_api.access" for record in ours) == 4
    formatter = logging.Formatter()
    assert not any(key in formatter.format(record) for record in ours for key in (READ, ADMIN))
    assert READ not in repr(settings)
    assert ADMIN not in repr(settings)


# ---------------------------------------------------------------- where they come from


def test_keys_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    (tmp_path / "admin").write_text(f"{ADMIN}\n")
    environ = {"INDEXER_API__API_KEY": READ, "INDEXER_API__ADMIN_KEY_FILE": "admin"}
    settings = api_settings(load(environ=environ, cwd=tmp_path).config)
    assert (settings.api_key, settings.admin_key) == (READ, ADMIN)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "no text"),
        (b"short", "too weak"),
    ],
)
def test_a_file_without_a_good_key_is_refused_by_name(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    config = load(flags={"api.api_key_file": "key"}, environ={}, cwd=tmp_path).config
    with pytest.raises(ConfigError, match=rf"api\.api_key.*{told}"):
        api_settings(config)


def test_a_key_in_two_places_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(READ)
    config = load(flags={"api.api_key_file": "key", "api.api_key": READ}, environ={}, cwd=tmp_path).config
    with pytest.raises(ConfigError, match=r"api\.api_key_file: api\.api_key is set too"):
        key_of(config, "api_key")


def test_no_keys_are_no_keys(tmp_path: Path) -> None:
    settings = api_settings(load(environ={}, cwd=tmp_path).config)
    assert (settings.api_key, settings.admin_key) == (None, None)
    assert settings.rate_per_s is None


def test_a_wrong_admin_key_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[api]\nadmin_key = 987654321\n")
    with pytest.raises(ConfigError, match="hidden") as raised:
        load(environ={}, cwd=tmp_path)
    assert "987654321" not in str(raised.value)


def test_pictures_that_are_sent_need_no_more_than_the_key(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=READ, admin_key=ADMIN)) as http:
        assert http.post("/api/search/image", content=JPEG, headers=bearer(READ)).status_code == 200
