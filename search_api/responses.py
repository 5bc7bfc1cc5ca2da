"""Answers as JSON, made as cheaply as they can be: msgspec's bytes and two messages."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from search_api.errors import PROBLEM, Problem, Wording

T = TypeVar("T")


class Json(Response[T]):
    """An answer, encoded when it is made: make a long one in a thread. The type is there for the OpenAPI document."""

    __slots__ = ("_body", "_status")

    def __init__(self, content: T, status: int | None = None) -> None:
        # Nothing of the base's: it would cost more than all the rest.
        self._body = msgspec.json.encode(content)
        self._status = status

    def to_asgi_response(self, *_: Any, status_code: int | None = None, **__: Any) -> ASGIResponse:
        """The answer with its own status, or its route's."""
        return _Encoded(self._body, self._status or status_code or 200)


class _Encoded(ASGIResponse):
    def __init__(self, body: bytes, status_code: int) -> None:
        self.body = body
        self.status_code = status_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        await send_json(send, self.body, self.status_code)


async def send_json(send: Send, body: bytes, status_code: int = 200) -> None:
    """Send JSON that is encoded already."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def problem_response(what: Problem, headers: dict[str, str] | None = None, wording: Wording = PROBLEM) -> Response[Any]:
    """A problem with its status and headers."""
    return Response(
        msgspec.json.encode(wording.of(what)),
        status_code=what.status,
        media_type=wording.media_type,
        headers={**(headers or {}), **what.headers},
    )
