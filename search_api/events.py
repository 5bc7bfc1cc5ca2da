"""Server-sent events: from the engine's thread to one client, for as long as it listens and keeps up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from indexer.types import Event
from search_api.answers import event_frame
from search_api.openapi import EVENT_STREAM
from search_api.service import Service

HEARTBEAT_S: Final = 15.0
"""After so long without an event a comment is sent, lest something on the way take the connection for dead."""

N_BEHIND: Final = 256
"""Events that may wait for a client: a minute and more of all topics. Who is further behind is let go."""

_HEADERS: Final = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep the events back
]


class EventStream(Response[Any]):
    """The answer that ends when the client goes, falls behind, or the service stops."""

    def __init__(self, service: Service, topics: list[str], stopping: asyncio.Event) -> None:
        self._asked = (service, topics, stopping)

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        """Nothing is left to be made."""
        return _Streaming(*self._asked)


class _Streaming(ASGIResponse):
    def __init__(self, service: Service, topics: list[str], stopping: asyncio.Event) -> None:
        self._service = service
        self._topics = topics
        self._stopping = stopping
        self.status_code = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mailbox = Mailbox(asyncio.get_running_loop())
        with ExitStack() as stack:
            stack.enter_context(self._counted())
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            if not scope["state"].get("bodiless"):
                for end in (_gone(receive), self._stopping.wait()):
                    task = asyncio.ensure_future(end)
                    task.add_done_callback(mailbox.end)
                    stack.callback(task.cancel)
                stack.callback(self._service.engine.listen(self._topics, mailbox.tell))
                while (body := await mailbox.take()) is not None:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._service.n_listeners += 1
        try:
            yield
        finally:
            self._service.n_listeners -= 1


class Mailbox:
    """Frames on their way to one client. All but `tell` belongs to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = False

    def tell(self, event: Event) -> None:
        """Put an event in; from any thread. Raises `RuntimeError` when the client is gone or too far behind."""
        if self._ended:
            raise RuntimeError("nobody listens any more")
        self._loop.call_soon_threadsafe(self._put, event_frame(event))

    def end(self, *_: object) -> None:
        """Nothing more is wanted, or to come."""
        self._ended = True
        self._news.set()

    async def take(self) -> bytes | None:
        """What has come in, waiting for it; a comment where nothing does; None at the end."""
        if not self._frames and not self._ended:
            self._news.clear()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
            except TimeoutError:
                return b":\n\n"
        if self._ended:
            return None
        body = b"".join(self._frames)
        self._frames.clear()
        return body

    def _put(self, frame: bytes) -> None:
        if len(self._frames) >= N_BEHIND:
            self._frames.clear()
            self.end()
        if not self._ended:
            self._frames.append(frame)
            self._news.set()


async def _gone(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
