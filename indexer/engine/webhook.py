"""Webhooks: a match as a signed POST, tried again while it fails, in a thread of its own."""

from __future__ import annotations

import hashlib
import heapq
import hmac
import http.client
import itertools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from indexer.address import is_loopback
from indexer.errors import InputError

logger = logging.getLogger(__name__)

SIGNATURE: Final = "X-Lookalike-Signature"
"""The header that holds `sha256=` and the HMAC-SHA256 of the body in hex, under the standing query's secret."""

WAITS_S: Final = (1.0, 4.0, 16.0, 64.0, 256.0)
"""After each failure; after the last there is no more."""

MOST_WAITING: Final = 1000
_TIMEOUT_S: Final = 3.0  # a stop waits for one try


@dataclass(frozen=True, slots=True)
class Delivery:
    """One body for one address."""

    url: str
    secret: str
    body: bytes


Post = Callable[[Delivery], None]


class Webhooks:
    """Delivers at least once what is offered, or tells in the log that it could not. Never blocks who offers.

    Args:
        post: Delivers, or raises `OSError` or `http.client.HTTPException`.
        waits_s: See `WAITS_S`.
    """

    def __init__(self, post: Post | None = None, waits_s: tuple[float, ...] = WAITS_S) -> None:
        self._post = post or send
        self._waits_s = waits_s
        self._due: list[tuple[float, int, int, Delivery]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self.n_failed = 0
        """Deliveries given up since the start."""

    def offer(self, delivery: Delivery) -> None:
        """Have it delivered; given up at once where too many wait."""
        with self._changed:
            if len(self._due) >= MOST_WAITING:
                self._give_up(delivery, "too many wait")
                return
            if self._thread.ident is None:
                self._thread.start()
            self._put(time.monotonic(), 0, delivery)

    def close(self) -> None:
        """End; what has not been delivered is not."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        if self._due:
            logger.warning("%d webhooks were not delivered before the end", len(self._due))

    def _run(self) -> None:
        while (due := self._next()) is not None:
            n_tries, delivery = due
            try:
                self._post(delivery)
            except Exception as e:  # noqa: BLE001  a worker's loop: what strangers answer ends nothing
                with self._changed:
                    if n_tries < len(self._waits_s):
                        self._put(time.monotonic() + self._waits_s[n_tries], n_tries + 1, delivery)
                    else:
                        self._give_up(delivery, str(e) or type(e).__name__)

    def _next(self) -> tuple[int, Delivery] | None:
        with self._changed:
            while not self._closed:
                wait_s = self._due[0][0] - time.monotonic() if self._due else None
                if wait_s is not None and wait_s <= 0:
                    _, _, n_tries, delivery = heapq.heappop(self._due)
                    return n_tries, delivery
                self._changed.wait(wait_s)
        return None

    def _put(self, at: float, n_tries: int, delivery: Delivery) -> None:
        heapq.heappush(self._due, (at, next(self._order), n_tries, delivery))
        self._changed.notify()

    def _give_up(self, delivery: Delivery, why: str) -> None:
        self.n_failed += 1
        logger.warning("the webhook at %s was given up: %s", urlsplit(delivery.url).hostname, why)


def signature(secret: str, body: bytes) -> str:
    """What the receiver should find in the header `SIGNATURE`."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def check_url(url: str, *, plain: bool = False) -> None:
    """Raises `InputError` unless it is https, or http to this machine (to any, with `plain`)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as e:
        raise InputError("webhook: this is no address") from e
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or not url.isprintable():
        raise InputError("webhook: it must begin with https://, name a host, and hold no password")
    if parts.scheme == "http" and not plain and not is_loopback(host):
        raise InputError("webhook: http is for this machine alone; use https, or set api.plain_webhooks")


def send(delivery: Delivery) -> None:
    """One POST. Any answer but 2xx, a redirect too, raises `OSError`; so does no answer."""
    parts = urlsplit(delivery.url)
    assert parts.hostname is not None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    try:
        headers = {"Content-Type": "application/json", SIGNATURE: signature(delivery.secret, delivery.body)}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, delivery.body, headers)
        status = connection.getresponse().status
    except (http.client.HTTPException, socket.gaierror, ValueError) as e:
        raise OSError(str(e) or type(e).__name__) from e
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise OSError(f"it answered {status}")
