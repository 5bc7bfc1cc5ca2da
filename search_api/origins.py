"""Which web pages may use the service: its own, and those of origins that were named."""

from __future__ import annotations

import re
from typing import Final

from search_api.settings import ApiSettings

Headers = list[tuple[bytes, bytes]]

HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/@\[\]\\]+)(:[0-9]{1,5})?")

_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
]
_EXPOSED: Final = (b"access-control-expose-headers", b"retry-after, x-request-id")


class Origins:
    """Judges where a request comes from, by what browsers say of it. Programs say nothing, and may."""

    def __init__(self, settings: ApiSettings) -> None:
        self._trusted = frozenset(name.lower() for name in settings.allowed_hosts)
        self._shared = frozenset(origin.encode() for origin in settings.cors_origins)

    def may_change(self, host: bytes, origin: bytes | None, site: bytes | None) -> bool:
        """Whether the request comes from our own page, one that was named, or from no page at all.

        The scheme of our own is left out: behind a proxy that ends TLS it differs.
        """
        if origin is None:
            return site is None or site in (b"same-origin", b"none")
        authority = origin.partition(b"://")[2].lower()
        return authority == host.lower() or origin in self._shared or host_name(authority) in self._trusted

    def headers(self, origin: bytes | None) -> Headers:
        """What lets a page of an origin that was named read the answer; caches are told that it depends on that."""
        if not self._shared:
            return []
        if origin not in self._shared:
            return [(b"vary", b"origin")]
        assert origin is not None
        return [(b"vary", b"origin"), (b"access-control-allow-origin", origin), _EXPOSED]

    def preflight(self, method: str, origin: bytes | None, asked: bytes | None) -> Headers | None:
        """What a browser is told that asks first, which it does without the key; None if this is no such request."""
        if method == "OPTIONS" and asked is not None and origin in self._shared:
            return _PREFLIGHT
        return None


def host_name(authority: bytes) -> str | None:
    """The name in `name` or `name:port`; None if it is neither."""
    match = HOST.fullmatch(authority.decode("latin-1").lower())
    return match[1] if match else None
