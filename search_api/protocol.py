"""HTTP/1.1 with a deadline on everything that waits for the client.

uvicorn waits for ever for the rest of a header, of a body, and for a client that reads nothing. Here each connection
keeps the times by which its client must have moved, and one sweep over all of them cuts off who has not: a request
costs two assignments, not timers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from search_api.errors import PROBLEM_TYPE, problem
from search_api.gate import CLOSED_POLICY, SECURITY_HEADERS
from search_api.settings import MIN_BODY_BYTES_PER_S, ApiSettings

if TYPE_CHECKING:
    from litestar import Litestar
    from uvicorn._types import ASGI3Application
    from uvicorn.server import ServerState

NEVER = float("inf")
MAX_HEADER_BYTES = 65_536
MAX_OVERHEAD = 8
"""Bytes of chunk framing and trailers that a body may bring for each of its own; chunks of one byte bring five."""
READ_AHEAD_BYTES = 131_072
"""How much of a body one connection may hold before the application takes it."""
STOP_S = 1.0
"""How long a client may still take, when the service stops, to send a body or to read some of an answer."""


class ServerConfig(uvicorn.Config):
    """uvicorn's settings and ours."""

    def __init__(self, app: Litestar, settings: ApiSettings) -> None:
        super().__init__(
            app,
            http=DeadlineProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            workers=1,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=settings.stop_timeout_s,
        )
        self.settings = settings
        self.awaited: deque[tuple[float, DeadlineProtocol]] = deque()
        """Connections in the order in which they came to be awaited; some may be awaited no more."""


class DeadlineProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        read_due: When the client must have sent what is awaited, on the loop's clock.
        write_due: When it must have read some of what was sent.
        answer_due: When the application must have begun its answer.
        waiting_since: Since when the client has been awaited.
    """

    def __init__(
        self,
        config: ServerConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._task: asyncio.Task[Any] | None = None
        self._answer = self.app
        self.app = self._answered
        self._settings = config.settings
        self._awaited = config.awaited
        self._running: RequestResponseCycle | None = None  # `cycle` is the last that came, and may wait for its turn
        self._in_body = False
        self._holds_next = False
        self._n_bytes = 0  # of this message
        self._n_body_bytes = 0
        self.read_due = NEVER
        self.write_due = NEVER
        self.answer_due = NEVER
        self.waiting_since = NEVER

    # ------------------------------------------------------------ what uvicorn calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_header()
        if len(self.connections) > self._settings.max_connections and not self._make_room():
            self._refuse(503, "Too many connections; try again shortly.")

    def connection_lost(self, exc: Exception | None) -> None:
        running = self._running
        if running is not None:  # uvicorn tells the last one only
            running.disconnected = True
            running.message_event.set()
        super().connection_lost(exc)
        if self._task is not None and running is not None and not running.response_started:
            self._task.cancel()  # whoever asked has gone

    async def _answered(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, as far as somebody waits for what it says."""
        self._task = task = asyncio.current_task()
        try:
            await self._answer(scope, receive, send)
        except asyncio.CancelledError:
            if self._running is None or not self._running.disconnected:
                raise
        finally:
            if self._task is task:  # an answer that is out lets the next request begin
                self._task = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.read_due == NEVER:
            self._await_header()
        self._n_bytes += len(data)
        super().data_received(data)
        if self._n_bytes > MAX_HEADER_BYTES + (1 + MAX_OVERHEAD) * self._n_body_bytes:
            self._refuse(431, f"A request's headers may have {MAX_HEADER_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._in_body = True
        self.waiting_since = self.loop.time()
        self.read_due = self.waiting_since + self._settings.body_timeout_s
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep what comes, and wake the application when the body is whole or much of it is here.

        uvicorn wakes it for every piece and stops reading at 64 KiB, which costs an upload more than its parsing.
        """
        self._n_body_bytes += len(body)
        self.read_due += len(body) / MIN_BODY_BYTES_PER_S
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) >= READ_AHEAD_BYTES:
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._n_bytes = self._n_body_bytes = 0
        # An answer that was out before its request was in: the keep-alive clock has been stopped by the late bytes.
        late = self.cycle.response_complete
        now = self.loop.time()
        self.read_due = now + self._settings.keep_alive_s if late else NEVER
        self.waiting_since = now if late else NEVER
        self.answer_due = now + self._settings.request_timeout_s
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if cycle is not self.cycle or not self._in_body:  # it has waited for its turn
            self.answer_due = self.loop.time() + self._settings.request_timeout_s
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Begin the next request that came along, but do no work for a client that has not read the answer before."""
        self._holds_next = self.flow.write_paused and bool(self.pipeline)
        if not self._holds_next:
            super().on_response_complete()

    def pause_writing(self) -> None:
        self.waiting_since = self.loop.time()
        self.write_due = self.waiting_since + self._settings.write_timeout_s
        super().pause_writing()

    def resume_writing(self) -> None:
        self.waiting_since = self.write_due = NEVER
        super().resume_writing()
        if self._holds_next:
            self.on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's
        self._refuse(400, "This is not a valid HTTP request.")

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for an upgrade gets a plain answer; that is nothing to log."""

    def shutdown(self) -> None:
        super().shutdown()
        soon = self.loop.time() + STOP_S
        self.read_due = min(self.read_due, soon)
        if self.write_due != NEVER:
            self.write_due = min(self.write_due, soon)

    # ------------------------------------------------------------ deadlines

    def sweep(self, now: float) -> None:
        """Cut off a client whose time is up."""
        if self.transport.is_closing() and self.write_due == NEVER:
            self.write_due = now + self._settings.write_timeout_s  # closing waits for what is still unread
        if now >= self.write_due:
            self.transport.abort()
        elif self.transport.is_closing():
            return
        elif now >= self.read_due:
            self._read_too_slow(now)
        elif now >= self.answer_due and self.answering and not self._has_begun:
            self._refuse(503, "The answer takes too long; try again later.")

    def _await_header(self) -> None:
        self.waiting_since = self.loop.time()
        self.read_due = self.waiting_since + self._settings.header_timeout_s

    def _make_room(self) -> bool:
        """Close the connection that has kept us waiting longest, else an idle one; who waits for us is safe."""
        oldest = self._longest_awaited() or next((each for each in self._others() if not each.answering), None)
        if oldest is None:
            return False
        oldest.transport.abort()
        self.connections.discard(oldest)
        return True

    def _longest_awaited(self) -> DeadlineProtocol | None:
        """Who is awaited is put in order once for many newcomers; whoever comes to be awaited later comes after."""
        if (oldest := self._next_awaited()) is None:
            awaited = [each for each in self._others() if each.waiting_since != NEVER]
            self._awaited.extend(sorted(((each.waiting_since, each) for each in awaited), key=itemgetter(0)))
            oldest = self._next_awaited()
        return oldest

    def _next_awaited(self) -> DeadlineProtocol | None:
        while self._awaited:
            since, connection = self._awaited.popleft()
            if connection.waiting_since == since and connection in self.connections:
                return connection
        return None

    def _others(self) -> Iterator[DeadlineProtocol]:
        return (each for each in self.connections if isinstance(each, DeadlineProtocol) and each is not self)

    def _read_too_slow(self, now: float) -> None:
        if not self.answering:
            self.transport.close()
        elif self._in_body and self.cycle is self._running:
            self._refuse(408, "The body did not arrive in time.")
        else:  # an answer is under way; the next request, half sent, waits for it
            self.read_due = now + self._settings.header_timeout_s

    @property
    def answering(self) -> bool:
        """Whether a request has come whose answer is not out yet."""
        return self._running is not None and not self._running.response_complete

    @property
    def _has_begun(self) -> bool:
        return self._running is not None and self._running.response_started

    def _refuse(self, status: int, detail: str) -> None:
        """Answer from here, unless an answer has begun already, and close."""
        if not (self.answering and self._has_begun):
            self.transport.write(_refusal(status, detail))
        self.transport.close()
        if self._running is not None and self.answering:
            self._running.disconnected = True
            self._running.message_event.set()


def _refusal(status: int, detail: str) -> bytes:
    what = problem(status, detail)
    body = msgspec.json.encode(what)
    headers = [
        *((name.encode(), value.encode()) for name, value in what.headers.items()),
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *SECURITY_HEADERS,
        CLOSED_POLICY,
    ]
    return b"".join([STATUS_LINE[status], *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n", body])
