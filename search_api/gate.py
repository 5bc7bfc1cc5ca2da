"""The gate: what every request passes before any route sees it, and what every answer carries.

Plain ASGI, around the whole application: also what no route answers is checked, counted and sent with these headers.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote

import msgspec
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import ClientException, HTTPException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from indexer.errors import Overloaded
from search_api.errors import Problem, Wording, problem
from search_api.keys import Keys
from search_api.origins import Headers, Origins, host_name
from search_api.pace import Pace
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
_HOST_DETAILS = {
    400: "The request needs exactly one valid Host header.",
    421: "This name is not served here; use the address that the service prints, or add it to api.allowed_hosts.",
}
_LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Gate:
    """Checks host, pace, origin, key and memory for bodies; sends security headers and a request id with each answer.

    Args:
        app: What answers the requests that pass.
        settings: What is let through.
        wording_of: How the clients of a path expect an error.
        questions: Paths that take POST and change nothing.
        counted: Told method and status of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ApiSettings,
        wording_of: Callable[[str], Wording],
        questions: Iterable[str] = (),
        counted: Callable[[str, int], None] | None = None,
    ) -> None:
        self._app = app
        self._wording_of = wording_of
        self._counted = counted
        self._names = _names(settings)
        self._origins = Origins(settings)
        self._keys = Keys(settings, questions)
        self._pace = Pace(settings.most_per_s) if settings.most_per_s else None
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
        said = _Said(scope["headers"])
        answer = _Answer(send, request_id, self._origins.headers(said.origin), always_named=self._access_log)
        started = time.perf_counter() if self._access_log else 0.0
        if (refusal := self._refusal(scope, said)) is not None:
            await send_problem(answer, refusal, self._wording_of(scope["path"]))
        elif (allowed := self._origins.preflight(method, said.origin, said.asked_method)) is not None:
            await send_headers(answer, 204, allowed)
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
        if self._counted is not None:
            self._counted(method, answer.status)
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

    def _refusal(self, scope: HTTPScope, said: _Said) -> Problem | None:
        method, path = scope["method"], scope["path"]
        host = said.hosts[0] if len(said.hosts) == 1 else b""
        if (status := self._host_status(host)) != 200:
            return problem(status, _HOST_DETAILS[status])
        if self._pace and (wait_s := self._pace.wait_s((scope["client"] or ("", 0))[0])):
            return problem(429, "Too many requests from this address; ask more slowly.", retry_after_s=wait_s)
        if method not in _SAFE_METHODS and not self._origins.may_change(host, said.origin, said.site):
            return problem(403, "Pages of other origins may not use this service.")
        if self._origins.preflight(method, said.origin, said.asked_method) is not None:
            return None  # browsers ask without the key, and are told nothing but that they may ask
        if (missing := self._keys.refusal(method, path, said.key)) is not None:
            return missing
        if len(scope.get("raw_path", b"")) > MAX_PATH_BYTES or "\0" in path:
            return problem(404, "Nothing is served at this path.")
        if said.length is not None and int(said.length) > self._max_body_bytes:
            return problem(413, self._too_large)
        return None

    def _check_host(self, host: bytes) -> int:
        """200 for a name that is served here, 421 for another, 400 for what is no name."""
        name = host_name(host)
        if name is None:
            return 400
        return 200 if self._names is None or name in self._names else 421


class _Said:
    """What of a request's headers is judged here."""

    __slots__ = ("asked_method", "hosts", "key", "length", "origin", "site")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.hosts: list[bytes] = []
        self.origin: bytes | None = None
        self.site: bytes | None = None
        self.key: bytes | None = None
        self.length: bytes | None = None
        self.asked_method: bytes | None = None
        for name, value in headers:
            if name == b"host":
                self.hosts.append(value)
            elif name == b"content-length":
                self.length = value
            elif name == b"origin":
                self.origin = value
            elif name == b"sec-fetch-site":
                self.site = value
            elif name == b"authorization":
                self.key = value
            elif name == b"access-control-request-method":
                self.asked_method = value


class _Answer:
    """Sends an answer with the headers that every one carries."""

    __slots__ = ("_always_named", "_request_id", "_send", "_shared", "status")

    def __init__(self, send: Send, request_id: str, shared: Headers, *, always_named: bool) -> None:
        self._send = send
        self._request_id = request_id
        self._shared = shared
        self._always_named = always_named
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = message["headers"]
            message["headers"] = headers = [*given, *SECURITY_HEADERS, *self._shared]
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
    await send_headers(send, what.status, headers, body)


async def send_headers(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    """Send a whole answer."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _names(settings: ApiSettings) -> frozenset[str] | None:
    """Names that may stand in a Host header; None: any, for a key guards what listens on every interface."""
    if is_wildcard(settings.host) and not settings.allowed_hosts:
        return None
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return _LOOPBACK_NAMES | {own.lower()} | {name.lower() for name in settings.allowed_hosts}
