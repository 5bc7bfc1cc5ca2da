"""Hand-made requests of the worst manners, byte by byte."""

from __future__ import annotations

import base64
import json
import socket

import msgspec

from search_api.dialects import wording_of
from search_api.errors import PROBLEM
from tests.fakes.engine import DIM, JPEG, id_of

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

MORE_TARGETS = [
    b"/metrics?x=" + b"y" * 1000,
    b"/metrics/",
    b"/metrics/%2e%2e/api/stats",
    b"/api/events?topics=",
    b"/api/events?topics=,,,,",
    b"/api/events?topics=" + b"index," * 30 + b"weather",
    b"/api/events?topics=" + b"a" * 201,
    b"/api/events?topics=%00",
    b"/api/events?topics=%ff%fe",
    b"/api/events?topics=index%0aevent:%20gpu",
    b"/api/events?topics=index&topics=weather",
    b"/api/gpu/memory/history?seconds=0",
    b"/api/gpu/memory/history?seconds=86401",
    b"/api/gpu/memory/history?seconds=-1",
    b"/api/gpu/memory/history?seconds=nan",
    b"/api/gpu/memory/history?seconds=1e9999",
    b"/api/gpu/memory/history?seconds=" + b"9" * 5000,
    b"/api/gpu/memory/history?seconds=1.5",
    b"/api/gpu/memory/history?seconds=",
    b"/api/gpu/memory/history?seconds[]=5",
    b"/api/gpu/memory/release",
    b"/api/errors/retry",
    b"/api/why?path=/" + b"a/" * 4000,
    b"/api/why?path=" + b"%2f" * 4000,
    b"/api/why?path=/%00",
    b"/api/why?path=/%ff%fe%fd",
    b"/api/why?path=/../../../etc/passwd",
    b"/api/why?path=//////",
    b"/api/why?path=/%",
    b"/api/why?path=/%F0%9F%92%A9",
    b"/api/why?path=relative",
    b"/api/why?path=/a&path=/b",
    b"/api/why?path=" + b"/a" * 9000,
    b"/api/images/" + ID + b"/similar?score_threshold=nan",
    b"/api/images/" + ID + b"/similar?score_threshold=inf",
    b"/api/images/" + ID + b"/similar?score_threshold=-1e309",
    b"/api/images/" + ID + b"/similar?diversity=nan",
    b"/api/images/" + ID + b"/similar?diversity=-0.0",
    b"/api/images/" + ID + b"/similar?diversity=1.0000001",
    b"/api/images/" + ID + b"/similar?collapse=far",
    b"/api/images/" + ID + b"/similar?cut=",
    b"/api/images/" + ID + b"/similar?cut=none&cut=auto",
    b"/api/images/" + ID + b"/similar/similar/similar",
    b"/api/images/" + ID.upper(),
    b"/api/images/" + ID + b"?" + b"&".join([b"side=16"] * 2000),
    b"/api/tune?" + b"x" * 5000,
    b"/v1/models/..%2f..%2fetc",
    b"/v1/models/ViT-H-14",
    b"/v1/",
    b"/v1/embeddings",
    b"/predict?entries={}",
    b"/ping/ping",
    b"/health/ready?verbose=%00",
    b"/health/live/..",
    b"/favicon.ico/x",
    b"/.git/config",
    b"/.env",
    b"/server-status",
    b"/wp-login.php",
    b"/actuator/heapdump",
    b"/debug/pprof/",
    b"/openapi.json",
    b"/schema",
    b"/schema/swagger",
    b"/docs",
    b"/api",
    b"/api/",
    b"/api/v2/search",
    b"/api/openapi.json/",
    b"/api/openapi.yaml",
]

WHERES = [
    b'"holiday"',
    b"[]",
    b'{"path":5}',
    b'{"path":""}',
    b'{"path":[]}',
    b'{"path":["' + b'a","' * 20 + b'a"]}',
    b'{"path":"' + b"*" * 5000 + b'"}',
    b'{"path":"' + b"**/" * 300 + b'a"}',
    b'{"path":"' + b"a*" * 400 + b'b"}',
    b'{"path":"[a-"}',
    b'{"path":"[]"}',
    b'{"path":"/../../etc/**"}',
    b'{"path":"\\u0000"}',
    b'{"path":"\\ud800"}',
    b'{"not_path":"**"}',
    b'{"modified_from":"yesterday"}',
    b'{"modified_from":"9999-99-99"}',
    b'{"modified_from":"0000-01-01"}',
    b'{"modified_from":"2025-01-01T00:00:00+99:99"}',
    b'{"modified_from":"2025-02-30"}',
    b'{"modified_from":5e300}',
    b'{"modified_from":"2026-01-01","modified_to":"2025-01-01"}',
    b'{"width_min":-1}',
    b'{"width_min":1e3}',
    b'{"width_min":99999999999999999999}',
    b'{"width_min":9,"width_max":1}',
    b'{"megapixels_min":1e400}',
    b'{"aspect_min":0}',
    b'{"aspect_max":-1}',
    b'{"format":"jpeg"}',
    b'{"format":[]}',
    b'{"format":["' + b"x" * 5000 + b'"]}',
    b'{"format":[null]}',
    b'{"size_min_bytes":true}',
    b'{"colour":"red"}',
]

QUESTIONS = [
    b'{"query":[]}',
    b'{"query":{}}',
    b'{"query":[{}]}',
    b'{"query":[{"text":"a","id":"b"}]}',
    b'{"query":[{"text":"a","weight":1e7}]}',
    b'{"query":[{"text":"a","weight":1e400}]}',
    b'{"query":[{"text":"a","weight":0}]}',
    b'{"query":[{"text":"a","weight":null}]}',
    b'{"query":[{"text":"a"},{"text":"a","weight":-1}]}',
    b'{"query":[' + b'{"text":"a"},' * 16 + b'{"text":"a"}]}',
    b'{"query":[' + b'{"text":"a"},' * 50_000 + b'{"text":"a"}]}',
    b'{"query":[{"query":[{"text":"a"}]}]}',
    b'{"query":[{"vector":[1,2,3]}]}',
    b'{"query":[{"image":"http://127.0.0.1/"}]}',
    b'{"query":[{"text":"a"}],"text":"b"}',
    b'{"query":' + b"[" * DEEP,
    b'{"liked":[]}',
    b'{"liked":["x"]}',
    b'{"liked":["' + b"0" * 64 + b'"]}',
    b'{"liked":[' + b'"a",' * 1001 + b'"a"]}',
    b'{"liked":"a"}',
    b'{"liked":["' + ID + b'"],"disliked":["' + ID + b'"]}',
    b'{"disliked":["' + ID + b'"]}',
    b'{"text":"a","exclude_ids":["../x"]}',
    b'{"text":"a","exclude_ids":[' + b'"' + ID + b'",' * 1000 + b'"' + ID + b'"]}',
    b'{"text":"a","diversity":2}',
    b'{"text":"a","diversity":NaN}',
    b'{"text":"a","diversity":"1"}',
    b'{"text":"a","collapse":"all"}',
    b'{"text":"a","cut":true}',
    b'{"text":"a","with_vector":1}',
    b'{"text":"a","score_threshold":1e400}',
    b'{"text":"a","cursor":"x"}',
    b'{"text":"a","cursor":"' + b"A" * 5000 + b'"}',
    b'{"text":"a","cursor":"\\u0000"}',
    b'{"text":"a","cursor":"eyJhIjoxfQ==","offset":5}',
    b'{"text":"a","limit":1000,"offset":10000,"diversity":1}',
    b'{"where":{"path":"a"}}',
    *(b'{"text":"a","where":' + where + b"}" for where in WHERES),
]

ORDERS = [
    post(path, body)
    for path, bodies in {
        b"/api/errors/retry": [
            b'{"path":""}',
            b'{"path":"relative"}',
            b'{"path":"/\\u0000"}',
            b'{"path":"/' + b"a" * 9000 + b'"}',
            b'{"path":["/a"]}',
            b'{"all":true}',
            b"[" * DEEP,
        ],
        b"/api/gpu/memory/release": [b"", b"{}", b"[" * DEEP, b"\xff"],
        b"/api/index/verify": [b'{"sample":1e400}', b'{"sample":99999999999}', b'{"repair":"yes"}', b"null", b"7"],
        b"/api/index/rebuild": [b'{"reencode":null}', b'{"reencode":[]}', b"[{}]"],
        b"/v1/embeddings": [
            b'{"input":[]}',
            b'{"input":[1,2,3]}',
            b'{"input":"a","encoding_format":"hex"}',
            b'{"input":"a","dimensions":1}',
            b'{"input":["' + b'a","' * 3000 + b'a"]}',
            b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}',
        ],
        b"/knn-service": [
            b'{"num_images":-1,"text":"a"}',
            b'{"image_url":"http://127.0.0.1/"}',
            b'{"text":"a","modality":"x"}',
        ],
        b"/metadata": [b'{"ids":["../../x"]}', b'{"ids":{}}', b'{"ids":[' + b'"a",' * 5000 + b'"a"]}'],
    }.items()
    for body in bodies
]

REQUESTS = [
    *map(get, TARGETS),
    *map(search, BODIES),
    *FORMS,
    *HEADERS,
    *map(get, MORE_TARGETS),
    *map(search, QUESTIONS),
    *ORDERS,
]


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    """What the server sends before it closes the connection."""
    with socket.create_connection(address, timeout=30) as connection:
        answer = b""
        try:
            connection.sendall(request)
            while data := connection.recv(65_536):
                answer += data
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return answer


def fault_of(request: bytes, answer: bytes) -> str | None:
    """What is wrong with the answer: a failure of the server, or a refusal of another shape than is documented."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        return None  # cut off without a word
    status = int(head.split(b" ", 2)[1])
    if status >= 500 and status != 503:
        return f"status {status}"
    if b"x-content-type-options: nosniff" not in head:
        return "no security headers"
    if status < 400:
        return None
    path = request.split(b" ", 2)[1].partition(b"?")[0].decode("latin-1") if b" /" in request[:16] else ""
    for wording in (PROBLEM, wording_of(path)):
        if b"content-type: " + wording.media_type.encode() + b"\r\n" in head:
            break
    else:
        return f"an error as {head!r}"
    if not body or request.startswith((b"HEAD", b"CONNECT")):
        return None
    document = json.JSONDecoder().raw_decode(body.decode())[0]
    try:
        msgspec.convert(document, wording.kind)
    except msgspec.ValidationError as e:
        return f"an error that does not fit: {e}"
    inside = [word for word in ("Traceback", "/tmp", ".py", "site-packages") if word in body.decode()]
    return f"tells {inside}" if inside else None
