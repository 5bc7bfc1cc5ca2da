"""The gate: what every request passes before any route sees it, and what every answer carries.

Plain ASGI, around the whole application: also what no route answers is checked, counted and sent with these headers.
"""

from __future__ import annotations

import hmac
import itertools
import logging
import re
import secrets
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote

import msgspec
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import ClientException, HTTPException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from indexer.errors import Overloaded
from search_api.errors import Problem, Wording, problem
from search_api.settings import ApiSettings, is_wildcard, most_body_bytes

access = logging.getLogger("search_api.access")

SECURITY_HEADERS: list[tuple[bytes, bytes]] = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
CLOSED_POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For answers that are no page: a browser that shows one loads nothing for it."""

MAX_PATH_BYTES = 2048

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
_OPEN_PAGES = re.compile(r"/(?:dashboard|duplicates|errors|api/docs|favicon\.ico|static/.*)?")
"""The pages' own files: they hold nothing of anybody's, and the page is what asks a person for the key."""
_HOST_DETAILS = {
    400: "The request needs exactly one valid Host header.",
    421: "This name is not served here; use the address that the service prints, or add it to api.allowed_hosts.",
}
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]\\]+)(:[0-9]{1,5})?")


class Gate:
    """Host, origin, key and memory for bodies are checked here; security headers and a request id go out from here.

    `wording_of` says how the clients of a path expect an error.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings, wording_of: Callable[[str], Wording]) -> None:
        self._app = app
        self._wording_of = wording_of
        self._names = _names(settings)
        self._trusted = frozenset(name.lower() for name in settings.allowed_hosts)
        self._authorization = f"Bearer {settings.api_key}".encode() if settings.api_key else None
        self._host_status = lru_cache(256)(self._check_host)
        self._max_body_bytes = most_body_bytes(settings)
        self._max_held_bytes = settings.max_held_bytes
        self._n_held_bytes = 0
        self._too_large = f"A body may have {self._max_body_bytes} bytes."
        self._access_log = settings.access_log
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with a problem."""
        if scope["type"] == ScopeType.WEBSOCKET:
            await send({"type": "websocket.close", "code": 1000, "reason": "no WebSocket here"})
            return
        method = scope["method"]
        request_id = f"{self._run}-{next(self._numbers)}"
        scope["state"]["request_id"] = request_id
        answer = _Answer(send, request_id, always_named=self._access_log)
        started = time.perf_counter() if self._access_log else 0.0
        refusal = self._refusal(scope)
        if refusal is not None:
            await send_problem(answer, refusal, self._wording_of(scope["path"]))
        elif method == HttpMethod.HEAD:
            # The server leaves the body out by the method in its own scope; routes know GET only.
            scope["state"]["bodiless"] = True
            await self._app(cast("HTTPScope", {**scope, "method": HttpMethod.GET}), receive, answer)
        elif method == HttpMethod.GET:
            await self._app(scope, receive, answer)
        else:
            body = _Body(self, receive)
            try:
                await self._app(scope, body, answer)
            finally:
                self._n_held_bytes -= body.n_bytes
        if self._access_log:
            took_ms = (time.perf_counter() - started) * 1e3
            access.info("%s %s %d %.1f ms %s", method, quote(scope["path"]), answer.status, took_ms, request_id)

    def hold(self, n_bytes: int, n_of_body: int) -> None:
        """Count bytes of a body that are in memory from now on.

        Raises:
            HTTPException: This body is too large.
            Overloaded: All bodies together would need more than is allowed.
        """
        self._n_held_bytes += n_bytes
        if n_of_body > self._max_body_bytes:
            raise HTTPException(status_code=413, detail=self._too_large)
        if self._n_held_bytes > self._max_held_bytes:
            raise Overloaded("Too many bytes are being uploaded at once; try again shortly.", retry_after_s=5.0)

    def _refusal(self, scope: HTTPScope) -> Problem | None:
        hosts = []
        origin = site = key = length = None
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"content-length":
                length = value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
            elif name == b"authorization":
                key = value
        host = hosts[0] if len(hosts) == 1 else b""
        path = scope["path"]
        if (status := self._host_status(host)) != 200:
            return problem(status, _HOST_DETAILS[status])
        if scope["method"] not in _SAFE_METHODS and not self._same_origin(host, origin, site):
            return problem(403, "Pages of other origins may not use this service.")
        if not self._authorised(key) and path not in _OPEN_PATHS and not self._is_page(scope["method"], path):
            return problem(401, "Send the service's key as Authorization: Bearer <key>.")
        if len(scope.get("raw_path", b"")) > MAX_PATH_BYTES or "\0" in path:
            return problem(404, "Nothing is served at this path.")
        if length is not None and int(length) > self._max_body_bytes:
            return problem(413, self._too_large)
        return None

    def _check_host(self, host: bytes) -> int:
        """200 for a name that is served here, 421 for another, 400 for what is no name."""
        name = _host_name(host)
        if name is None:
            return 400
        return 200 if self._names is None or name in self._names else 421

    def _is_page(self, method: str, path: str) -> bool:
        return method in _SAFE_METHODS and _OPEN_PAGES.fullmatch(path) is not None

    def _authorised(self, key: bytes | None) -> bool:
        return self._authorization is None or (key is not None and hmac.compare_digest(key, self._authorization))

    def _same_origin(self, host: bytes, origin: bytes | None, site: bytes | None) -> bool:
        """Whether the request comes from our own page, or from no page at all.

        The scheme is left out: behind a proxy that ends TLS it differs.
        """
        if origin is None:
            return site is None or site in (b"same-origin", b"none")
        authority = origin.partition(b"://")[2].lower()
        return authority == host.lower() or _host_name(authority) in self._trusted


class _Answer:
    """Sends an answer with the headers that every one carries."""

    __slots__ = ("_always_named", "_request_id", "_send", "status")

    def __init__(self, send: Send, request_id: str, *, always_named: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._always_named = always_named
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message["headers"]
            message["headers"] = headers = [*given, *SECURITY_HEADERS]
            if self._always_named or self.status >= 400:  # the server checks every header, at a microsecond each
                headers.append((b"x-request-id", self._request_id.encode()))
            for name, _ in given:
                if name == b"content-security-policy":
                    break
            else:
                headers.append(CLOSED_POLICY)
        await self._send(message)


class _Body:
    """Receives a body and counts what of it is held in memory."""

    __slots__ = ("_gate", "_receive", "n_bytes")

    def __init__(self, gate: Gate, receive: Receive) -> None:
        self._gate = gate
        self._receive = receive
        self.n_bytes = 0

    async def __call__(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientException("The connection ended before the body did.")
        if message["type"] == "http.request":
            n_bytes = len(message.get("body", b""))
            self.n_bytes += n_bytes
            self._gate.hold(n_bytes, self.n_bytes)
        return message


async def send_problem(send: Send, what: Problem, wording: Wording) -> None:
    """Send a problem without any framework's help."""
    body = msgspec.json.encode(wording.of(what))
    headers = [(b"content-type", wording.media_type.encode()), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in what.headers.items()]
    if what.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": what.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _names(settings: ApiSettings) -> frozenset[str] | None:
    """Names that may stand in a Host header; None: any, for a key guards what listens on every interface."""
    if is_wildcard(settings.host) and not settings.allowed_hosts:
        return None
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return _LOOPBACK_NAMES | {own.lower()} | {name.lower() for name in settings.allowed_hosts}


def _host_name(authority: bytes) -> str | None:
    """The name in `name` or `name:port`; None if it is neither."""
    match = _HOST.fullmatch(authority.decode("latin-1").lower())
    return match[1] if match else None
