"""Web pages of origins that were named, and of those that were not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.errors import ConfigError
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import FakeEngine

Http = TestClient[Litestar]
PAGE = "https://pictures.example"
KEY = "a-key-of-enough-characters"
ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture
def shared_http(engine: FakeEngine) -> Iterator[Http]:
    with serving(engine, ApiSettings(cors_origins=(PAGE,), api_key=KEY)) as http:
        yield http


def test_a_browser_that_asks_first_is_told_without_a_key(shared_http: Http, engine: FakeEngine) -> None:
    answer = shared_http.options("/api/search", headers={"origin": PAGE, **ASKS})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert engine.calls == []


def test_its_page_may_ask_and_read_the_answer(shared_http: Http) -> None:
    headers = {"origin": PAGE, "sec-fetch-site": "cross-site", "authorization": f"Bearer {KEY}"}
    answer = shared_http.post("/api/search", json={"text": "a"}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "origin"


def test_it_reads_refusals_too_but_needs_the_key(shared_http: Http) -> None:
    answer = shared_http.get("/api/stats", headers={"origin": PAGE})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://pictures.example", f"{PAGE}.evil.example"])
def test_others_get_nothing(shared_http: Http, origin: str) -> None:
    headers = {"origin": origin, "authorization": f"Bearer {KEY}"}
    assert shared_http.post("/api/search", json={"text": "a"}, headers=headers).status_code == 403
    for answer in (
        shared_http.options("/api/search", headers={"origin": origin, **ASKS}),
        shared_http.get("/api/stats", headers=headers),
    ):
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_asking_first_is_for_browsers_only(shared_http: Http) -> None:
    assert shared_http.options("/api/search", headers={"origin": PAGE}).status_code == 401
    assert shared_http.options("/api/search", headers=ASKS).status_code == 401


@pytest.mark.parametrize("origin", ["*", "null", "pictures.example", f"{PAGE}/", "ftp://a", "https://*.example", ""])
def test_what_is_no_origin_is_refused_by_name(origin: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.cors_origins"):
        ApiSettings(cors_origins=(origin,))
