"""Hand-made requests of the worst manners, byte by byte over a real connection."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from search_api.client import Client
from search_api.server import Server
from search_api.settings import ApiSettings
from tests.api.conftest import running
from tests.fakes.engine import DIM, JPEG, FakeEngine, id_of

HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"


def get(target: bytes, headers: bytes = b"", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n" + HOST + headers + b"Connection: close\r\n\r\n"


def post(target: bytes, body: bytes, headers: bytes = JSON, length: bytes | None = None) -> bytes:
    size = b"%d" % len(body) if length is None else length
    return get(target, headers + b"Content-Length: " + size + b"\r\n", b"POST") + body


def search(body: bytes, headers: bytes = JSON) -> bytes:
    return post(b"/api/search", body, headers)


def form(body: bytes, kind: bytes = b"multipart/form-data; boundary=b") -> bytes:
    return post(b"/api/embed/image", body, b"Content-Type: " + kind + b"\r\n")


def chunked(target: bytes, body: bytes, headers: bytes = JSON) -> bytes:
    return get(target, headers + b"Transfer-Encoding: chunked\r\n", b"POST") + body


ID = id_of(0).encode()
DEEP = 200_000

TARGETS = [
    b"/%00",
    b"/api/images/%00",
    b"/api/images/" + b"a" * 5000,
    b"/api/images/" + ID + b"%00",
    b"/api/images/" + ID + b"%0a",
    b"/api/images/" + ID + b"/thumbnail?side=0",
    b"/api/images/" + ID + b"/thumbnail?side=99999999999999999999",
    b"/api/images/" + ID + b"/thumbnail?side=-1&side=5",
    b"/api/images/" + ID + b"/thumbnail?side=%00",
    b"/api/images/" + ID + b"/similar?limit=nan",
    b"/api/images/" + ID + b"/similar?limit=1e999",
    b"/api/images/" + ID + b"/similar?limit=%EF%BC%91",
    b"/api/images/" + ID + b"/similar?limit=1&limit=2&limit=x",
    b"/api/images/" + ID + b"/similar?offset=" + b"9" * 400,
    b"/api/images/" + ID + b"/similar?" + b"a=b&" * 5000,
    b"/api/images/" + ID + b"/similar?=&=&&&;",
    b"/api/images/" + ID + b"/similar?%=%%&limit=%2",
    b"/api/images/" + ID + b"?%ff=%fe",
    b"/api/errors?limit=true",
    b"/api/errors?limit[]=1",
    b"/api/errors?offset=" + b"9" * 30,
    b"/api/errors?limit=0x10",
    b"/../../etc/passwd",
    b"/static/../../etc/passwd",
    b"/static/..%2f..%2fapp.py",
    b"/static/%2e%2e/%2e%2e/app.py",
    b"/static/....//app.py",
    b"/static//etc/passwd",
    b"/static/\\..\\app.py",
    b"/static/app.js%00.html",
    b"/static/" + b"x" * 3000,
    b"/static/.",
    b"/static/",
    b"//",
    b"/" * 3000,
    b"/api/docs/../../x",
    b"/API/STATS",
    b"/api/stats/",
    b"/api/openapi.json/%2e%2e",
    b"/%c0%ae%c0%ae/",
    b"/%ff%fe",
    b"/%",
    b"/%zz",
    b"/?" + b"q" * 60_000,
    b"/api/images/{id}",
    b"/api/images/" + b"%F0%9F%92%A9" * 20,
    b"*",
    b"http://evil.example/api/stats",
    b"/#fragment",
    b"/api/stats;a=b",
    b"/api/stats?__class__=1",
]

BODIES = [
    b"",
    b" ",
    b"null",
    b"true",
    b"0",
    b'"a"',
    b"[]",
    b"{}",
    b"[[[]]]",
    b"{",
    b'{"',
    b'{"text"',
    b'{"text":"a"} x',
    b'{"text":"a"}{"text":"b"}',
    b"[" * DEEP,
    b"]" * DEEP,
    b'{"a":' * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"text":' + b"[" * DEEP,
    b'{"vector":' + b"[" * DEEP,
    b'{"text":"a","\\u0000":1}',
    b'{"text":"\\u0000"}',
    b'{"text":"\\udfff\\ud800"}',
    b'{"text":"\xc3\x28"}',
    b'\xef\xbb\xbf{"text":"a"}',
    '{"text":"a"}'.encode("utf-16"),
    '{"text":"a"}'.encode("utf-32"),
    b'{"text":"' + "ﷺ".encode() * 1000 + b'"}',
    b'{"text":"' + b"a" * 900_000 + b'"}',
    b'{"vector":[' + b"1," * 500_000 + b"1]}",
    b'{"vector":[1e-400]}',
    b'{"vector":[-0.0]}',
    b'{"vector":[1e400]}',
    b'{"vector":[NaN]}',
    b'{"vector":[' + b"1" * 5000 + b"]}",
    b'{"vector":[0.' + b"1" * 100_000 + b"]}",
    json.dumps({"vector": [1.7e308] * DIM}).encode(),
    json.dumps({"vector": [5e-324] * DIM}).encode(),
    json.dumps({"vector": [0] * DIM}).encode(),
    b'{"vector":[null]}',
    b'{"vector":{"0":1}}',
    b'{"text":"a","limit":-9223372036854775809}',
    b'{"text":"a","limit":1e3}',
    b'{"text":"a","limit":1.5}',
    b'{"text":"a","limit":null}',
    b'{"text":"a","offset":18446744073709551616}',
    b'{"id":"../../etc/passwd"}',
    b'{"id":""}',
    b'{"id":["a"]}',
    b'{"__proto__":{"text":"a"}}',
    b'{"text":{"$ne":1}}',
    b'{"image":"http://169.254.169.254/latest/meta-data"}',
    b'{"image":"file:///etc/passwd"}',
    b'{"image":"data:,"}',
    b'{"image":"data:;base64,"}',
    b'{"image":"data:image/png;base64,' + b"A" * 1_000_001 + b'"}',
    b'{"image":"' + b"=" * 1000 + b'"}',
    b'{"image":"' + base64.b64encode(JPEG) + b'\\u0000"}',
    b'{"text":"a","text":1}',
]

FORMS = [
    form(b"--b\r\n"),
    form(b"--b--"),
    form(b"--b\r\nContent-Disposition: form-data; name=image\r\n\r\n\r\n--b--"),
    form(b"x", b"multipart/form-data"),
    form(b"x", b"multipart/form-data; boundary="),
    form(b"x", b'multipart/form-data; boundary="\r"'),
    form(b"--\xff\r\n\r\n", b"multipart/form-data; boundary=\xff"),
    form(b"--b\r\n" + b"A: b\r\n" * 1000 + b"\r\n"),
    form(b"--b\r\nContent-Disposition: form-data; name=image; filename*=utf-9''%zz\r\n\r\nx\r\n--b--"),
    form(b"--b\r\nContent-Disposition: form-data; name=image\r\nContent-Type: a/b; charset=no\r\n\r\n\xff\r\n--b--"),
    form(b'--b\r\nContent-Disposition: form-data; name="image"\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--b--'),
    form((b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + JPEG + b"\r\n") * 100 + b"--b--"),
]

HEADERS = [
    get(b"/health/live", b"Host: evil\r\n"),
    get(b"/health/live", b"Content-Length: 5\r\n") + b"abcde",
    get(b"/", b"Range: bytes=0-\r\n"),
    get(b"/", b"Accept: */*;q=nan, text/html;level\r\n"),
    get(b"/", b'If-None-Match: "\r\n'),
    get(b"/", b"If-None-Match: " + b"W/," * 5000 + b"\r\n"),
    get(b"/", b"Cookie: " + b"a=b; " * 5000 + b"\r\n"),
    get(b"/", b"X: \xff\xfe\r\n"),
    get(b"/", b"X-Forwarded-Host: evil\r\nX-Forwarded-For: 1\r\n"),
    get(b"/", b"Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\n"),
    get(b"/", b"Expect: 100-continue\r\n"),
    get(b"/", b"Authorization: Bearer \xff\r\n"),
    search(b'{"text":"a"}', b"Content-Type: application/json\r\nContent-Type: text/plain\r\n"),
    search(b'{"text":"a"}', b"Content-Type: \r\n"),
    search(b'{"text":"a"}', b"Content-Type: application/json; charset=\xff\r\n"),
    search(b'{"text":"a"}', b'Content-Type: application/json; a="\r\n'),
    search(b"\x1f\x8b\x08\x00", JSON + b"Content-Encoding: gzip\r\n"),
    search(b'{"text":"a"}', JSON + b"Origin: \xff\r\n"),
    get(b"/api/stats", method=b"TRACE"),
    get(b"/api/stats", method=b"DELETE"),
    get(b"/api/search", method=b"OPTIONS"),
    get(b"/", method=b"BREW"),
    get(b"/", method=b"CONNECT"),
    b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"get / http/1.1\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n Folded: x\r\n" + HOST + b"\r\n",
    get(b"/", b"A" * 70_000 + b": b\r\n"),
    post(b"/api/search", b"{}", length=b"-1"),
    post(b"/api/search", b"{}", length=b"1e3"),
    post(b"/api/search", b"{}", length=b"9" * 30),
    post(b"/api/search", b"", length=b"99999999999"),
    post(b"/api/embed/image", b"", b"", length=b"60000000"),
    chunked(b"/api/search", b"0\r\n\r\n"),
    chunked(b"/api/search", b'c\r\n{"text":"a"}\r\n0\r\n\r\n'),
    chunked(b"/api/search", b"zz\r\n"),
    chunked(b"/api/search", b"ffffffffffffffffff\r\n"),
    chunked(b"/api/search", b"1;" + b"x" * 100_000),
    chunked(b"/api/search", b"0\r\n" + b"t: x\r\n" * 20_000),
    chunked(b"/api/search", b"0\r\n\r\n", JSON + b"Content-Length: 3\r\n"),
    get(b"/") * 3,
    get(b"/nope") + search(b"{"),
]

REQUESTS = [*map(get, TARGETS), *map(search, BODIES), *FORMS, *HEADERS]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(FakeEngine(), ApiSettings(header_timeout_s=1.0, body_timeout_s=1.0)) as server:
        yield server


def exchange(server: Server, request: bytes) -> bytes:
    """What the server sends before it closes the connection."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while data := connection.recv(65_536):
                answer += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return answer


def test_the_table_is_long_enough() -> None:
    assert len(REQUESTS) >= 160


@pytest.mark.parametrize("request_bytes", REQUESTS, ids=lambda request: repr(request[:60]))
def test_no_request_is_the_fault_of_the_server(server: Server, request_bytes: bytes) -> None:
    head, _, body = exchange(server, request_bytes).partition(b"\r\n\r\n")
    if not head:
        return  # cut off without a word
    status = int(head.split(b" ", 2)[1])
    assert status < 500 or status == 503, head
    assert b"x-content-type-options: nosniff" in head
    if status >= 400:
        assert b"content-type: application/problem+json" in head
        if body and b"CONNECT" not in request_bytes[:7]:
            document = json.JSONDecoder().raw_decode(body.decode())[0]
            assert document["status"] == status


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
