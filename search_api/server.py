"""The server: uvicorn inside this process, one worker, stopping in time whatever its clients do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import threading
from types import FrameType
from typing import cast

import uvicorn
from litestar import Litestar

from indexer.errors import ConfigError, IndexerError
from search_api.protocol import DeadlineProtocol, ServerConfig
from search_api.service import Service
from search_api.settings import is_wildcard

log = logging.getLogger(__name__)

BACKLOG = 1024
SWEEP_S = 0.1
SEND_BUFFER_BYTES = 131_072
"""Of each connection. The kernel would keep 4 MB for each client that asks for much and reads nothing."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything dear is started; its backlog holds early clients.

    Raises:
        ConfigError: The address or port can never be had by this process.
        IndexerError: The port is in use.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = _resolve(host, port)
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Two sockets may be bound to one port while none of them listens: listening is what takes it.
        listener.listen(BACKLOG)
    except OSError as e:
        if listener is not None:
            listener.close()
        raise _explain(e, host, port) from e
    return listener


def _resolve(host: str, port: int) -> tuple[int, int, int, str, tuple[object, ...]]:
    """The address to bind; IPv4 first, for `localhost` means 127.0.0.1 to most who type it."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return min(found, key=lambda each: each[0] != socket.AF_INET)


def _explain(error: OSError, host: str, port: int) -> IndexerError:
    if error.errno == errno.EADDRINUSE:
        return IndexerError(
            f"api.port: port {port} on {host} is in use, perhaps by another `indexer serve`; "
            "stop that (`indexer stop`), or choose another port (--port, or port under [api])"
        )
    if error.errno == errno.EACCES:
        return ConfigError(f"api.port: port {port} is reserved for the administrator; choose one from 1024 to 65535")
    return ConfigError(f"api.host: cannot listen on {host}: {error.strerror or error}; use an address of this machine")


class Server:
    """The application behind a listening socket.

    `run` blocks and, in the main thread, ends at SIGINT or SIGTERM; `stop` ends it from any thread. It returns when
    every answer under way is out, or after `stop_timeout_s`.

    Attributes:
        url: Where clients on this machine find it.
    """

    def __init__(self, app: Litestar, listener: socket.socket) -> None:
        service: Service = app.state.service
        self._settings = service.settings
        self._listener = listener
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # connections inherit it
        self.url = _url(listener)
        self._started = threading.Event()
        self._uvicorn = _Uvicorn(ServerConfig(app, self._settings), self._started)

    def run(self) -> None:
        """Serve until stopped."""
        try:
            self._uvicorn.run(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        """End `run`, soon. Safe from any thread and from signal handlers; more than once is no error."""
        self._uvicorn.should_exit = True

    def wait_started(self, timeout_s: float) -> bool:
        """Whether requests are being answered, waiting for it up to `timeout_s`."""
        return self._started.wait(timeout_s)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if is_wildcard(host):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class _Uvicorn(uvicorn.Server):
    """uvicorn's server with a sweep over its connections, and an end that is no failure."""

    def __init__(self, config: ServerConfig, started: threading.Event) -> None:
        super().__init__(config)
        self._app: Litestar = config.app  # type: ignore[assignment]  # what ServerConfig was given
        self._is_started = started
        self._sweeper: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sweeper = asyncio.create_task(self._sweep())
        self._is_started.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.stopping.set()  # first, so that answers without an end come to one
        try:
            await super().shutdown(sockets)
        finally:
            if self._sweeper is not None:
                self._sweeper.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._sweeper
            for connection in self._connections():
                connection.transport.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        # uvicorn would raise the signal again afterwards, and the process would end as if killed by it.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    def _connections(self) -> list[DeadlineProtocol]:
        return cast("list[DeadlineProtocol]", list(self.server_state.connections))

    async def _sweep(self) -> None:
        clock = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = clock.time()
            for connection in self._connections():
                connection.sweep(now)
