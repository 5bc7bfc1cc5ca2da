"""Running until told to stop: an engine, and HTTP in front of it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from indexer.cli.api_settings import api_settings
from indexer.config import Config
from indexer.errors import ConfigError, IndexerError
from indexer.ports import Engine
from search_api.app import create_app
from search_api.server import Server, bind
from search_api.settings import ApiSettings

logger = logging.getLogger(__name__)

START_S: Final = 30.0

N_PORTS: Final = 50
"""How many ports are tried after the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Front:
    """HTTP before it is answered: settings that were checked, and a port that is held already.

    Made before the engine, so that what is wrong here is told before a model is loaded.
    """

    settings: ApiSettings
    listener: socket.socket

    @classmethod
    def at(cls, config: Config, *, or_next: bool = False) -> Front:
        """Take the configured port; with `or_next`, the next one that is free.

        Raises:
            ConfigError: The address cannot be had, or others could reach it without a good key.
            IndexerError: The port is in use.
        """
        settings = api_settings(config)
        listener = _bind_next(settings.host, settings.port) if or_next else bind(settings.host, settings.port)
        return cls(settings, listener)

    @property
    def port(self) -> int:
        """The port that is held."""
        return int(self.listener.getsockname()[1])

    @contextmanager
    def answering(self, engine: Engine, stopped: threading.Event) -> Iterator[str]:
        """Answer requests in a thread while the block lasts; yields the URL once it does.

        The main thread stays free for signals. `stopped` is set when the server ends, whoever ended it.
        """
        server = Server(create_app(engine, self.settings), self.listener)

        def serve() -> None:
            try:
                server.run()
            finally:
                stopped.set()

        thread = threading.Thread(target=serve, name="http")
        thread.start()
        try:
            if not server.wait_started(START_S):
                raise IndexerError(f"the HTTP service has not started after {START_S:.0f} s; the log tells why")
            yield server.url
        finally:
            server.stop()
            thread.join()


def _bind_next(host: str, port: int) -> socket.socket:
    last = min(port + N_PORTS, 65_535)
    for candidate in range(port, last):
        try:
            return bind(host, candidate)
        except ConfigError:
            raise
        except IndexerError:
            logger.debug("port %d is in use", candidate)
    return bind(host, last)
