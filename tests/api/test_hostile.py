"""Hand-made requests of the worst manners over a real connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from search_api.client import Client
from search_api.server import Server
from search_api.settings import ApiSettings
from tests.api.conftest import running
from tests.api.hostile import BODIES, REQUESTS, exchange, fault_of
from tests.fakes.engine import FakeEngine


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(FakeEngine(), ApiSettings(header_timeout_s=1.0, body_timeout_s=1.0)) as server:
        yield server


def test_the_table_is_long_enough() -> None:
    assert len(REQUESTS) >= 300


@pytest.mark.parametrize("request_bytes", REQUESTS, ids=lambda request: repr(request[:60]))
def test_no_request_is_the_fault_of_the_server(server: Server, request_bytes: bytes) -> None:
    host, _, port = server.url.removeprefix("http://").partition(":")
    assert fault_of(request_bytes, exchange((host, int(port)), request_bytes)) is None


@pytest.mark.parametrize("path", ["/v1/embeddings", "/knn-service", "/metadata", "/predict"])
def test_no_body_is_the_fault_of_a_dialect(http: TestClient[Litestar], path: str) -> None:
    multipart = {"content-type": "multipart/form-data; boundary=b"}
    for body in BODIES:
        entries = b'--b\r\nContent-Disposition: form-data; name="entries"\r\n\r\n' + body + b"\r\n--b--"
        content, headers = (entries, multipart) if path == "/predict" else (body, {"content-type": "application/json"})
        response = http.post(path, content=content, headers=headers)
        assert response.status_code in (200, 400, 413, 422), body[:60]
        assert response.headers["content-type"] == "application/json"


def test_afterwards_the_server_is_well(server: Server) -> None:
    with Client(server.url) as client:
        assert client.search_text("a red car").index.count == 5
