"""What the HTTP service needs to know: where it listens, whom it lets in, and how much it takes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from indexer.address import is_loopback
from indexer.errors import ConfigError

LIMIT = 20
"""Hits in an answer whose request does not say."""
MAX_LIMIT = 1000
"""Most hits in one answer; part of the wire format."""
MAX_OFFSET = 10_000
"""How far paging reaches."""
MAX_TEXT_CHARS = 1000
"""A query's text is longer than any model reads well before this."""
MAX_TERMS = 16
"""Most parts of a mixture."""
MAX_WEIGHT = 1e6
"""Of one part, either way."""
MAX_IDS = 1000
"""Most pictures in one list of a question."""
MAX_SAMPLE = 10_000_000
"""Most images that one verification encodes again."""
MAX_PATH_CHARS = 8192
"""A path is at most 4,096 bytes on Linux; escapes make it longer."""
FORM_OVERHEAD_BYTES = 65_536
"""What boundaries and part headers may add to a picture."""

MIN_BODY_BYTES_PER_S = 50_000
"""A body that comes more slowly is not waited for longer than the body's time."""
RATE_PER_S = 100.0
"""Requests a second of one client, where others than this machine can reach the service."""

_KEY = re.compile(r"[\x21-\x7e]{16,}")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Settings of the service; the defaults suit one person on one machine.

    Attributes:
        host: Address or name to listen on.
        port: TCP port; 0 lets the system choose.
        api_key: Every route but /health/* asks for it as `Authorization: Bearer <key>`; None or empty: no key.
        admin_key: What changes something asks for this one instead, and it opens all the rest too; None or empty:
            `api_key` does.
        open_metrics: Whether /metrics asks for no key.
        cors_origins: Web pages of these origins, such as https://pictures.example, may use the service.
        rate_per_s: Requests a second that one client may send for long; 0: as many as it likes. None: that where only
            this machine can reach the service, else `RATE_PER_S`.
        allowed_hosts: Names, without port, by which clients may call this service besides loopback names and `host`.
        max_body_bytes: Largest picture.
        max_json_bytes: Largest JSON body, not counting a picture in it.
        max_held_bytes: All bodies in memory at one time; more are told to come back later.
        max_limit: Most hits in one answer, at most `MAX_LIMIT`; who asks for more gets so many, and is told.
        max_texts: Most texts in one request.
        max_connections: Open connections; beyond, whoever has kept the service waiting longest makes room.
        max_listeners: Streams of events at one time; more are told to come back later.
        n_threads: Engine calls at one time. Also how many queries the engine can put into one batch.
        n_waiting: Calls that may wait for a thread; more are told to come back later.
        header_timeout_s: From the first byte (or the connection) to the end of a request's headers.
        body_timeout_s: From the end of the headers to the end of the body, for as much as comes in that time at
            `MIN_BODY_BYTES_PER_S`; a body that comes at that pace may take longer.
        request_timeout_s: From the end of a request to the beginning of its answer.
        write_timeout_s: A client that takes nothing of its answer for so long is cut off.
        keep_alive_s: An idle connection is closed after this.
        stop_timeout_s: Answers under way when the service stops get this long.
        traces: Whether each request is a span of OpenTelemetry's.
        access_log: Whether each request is logged, with its id, by the logger `search_api.access` at INFO.

    Raises:
        ConfigError: A value cannot be used, or an address that others can reach has no key.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    api_key: str | None = field(default=None, repr=False)
    admin_key: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    open_metrics: bool = False
    rate_per_s: float | None = None
    max_body_bytes: int = 50_000_000
    max_json_bytes: int = 1_000_000
    max_held_bytes: int = 512_000_000
    max_limit: int = MAX_LIMIT
    max_texts: int = 256
    max_connections: int = 512
    max_listeners: int = 32
    n_threads: int = 64
    n_waiting: int = 256
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    request_timeout_s: float = 120.0
    write_timeout_s: float = 30.0
    keep_alive_s: int = 5
    stop_timeout_s: int = 8
    traces: bool = False
    access_log: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"api.port: {self.port} is not a TCP port; choose one from 1 to 65535")
        if not 1 <= self.max_limit <= MAX_LIMIT:
            raise ConfigError(f"api.max_limit: {self.max_limit} is out of range; choose 1 to {MAX_LIMIT}")
        for name, key in (("api_key", self.api_key), ("admin_key", self.admin_key)):
            if key and not _KEY.fullmatch(key):
                raise ConfigError(f"api.{name}: too weak; use 16 or more printable ASCII characters without spaces")
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"api.cors_origins: {origin!r} is no origin; write it as browsers send it, such as "
                    "https://pictures.example or http://localhost:3000"
                )
        if self.rate_per_s is not None and not 0 <= self.rate_per_s <= 1e6:
            raise ConfigError(f"api.rate_per_s: {self.rate_per_s} is out of range; choose 0 (no limit) to 1000000")
        if not self.api_key and not is_loopback(self.host):
            raise ConfigError(
                f"api.host: {self.host} can be reached by other machines; set api.api_key too, or use 127.0.0.1"
            )

    @property
    def most_per_s(self) -> float:
        """Requests a second that one client may send; 0: as many as it likes."""
        if self.rate_per_s is not None:
            return self.rate_per_s
        return 0.0 if is_loopback(self.host) else RATE_PER_S


def most_body_bytes(settings: ApiSettings) -> int:
    """The largest body that any route takes: a picture as a form field, or in base64 with JSON around it."""
    in_json = settings.max_body_bytes * 4 // 3 + settings.max_json_bytes
    return max(in_json, settings.max_body_bytes + FORM_OVERHEAD_BYTES)


def is_wildcard(host: str) -> bool:
    """Whether the address means every interface."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host == ""
