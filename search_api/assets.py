"""The pages and what they load: a fixed set of files, read once; no path of a request ever meets the file system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from litestar import Request, Response
from litestar.exceptions import NotFoundException

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a page."""

    data: bytes
    media_type: str
    etag: str


def load() -> dict[str, Asset]:
    """Every file by name."""
    found = {}
    for entry in files("search_api").joinpath("static").iterdir():
        media_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type:
            data = entry.read_bytes()
            found[entry.name] = Asset(data, media_type, f'"{hashlib.sha256(data).hexdigest()[:16]}"')
    return found


def respond(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """The file, or that the client's copy is still the same."""
    asset: Asset | None = request.app.state.assets.get(name)
    if asset is None:
        raise NotFoundException
    headers = {"etag": asset.etag, "cache-control": "no-cache", "content-security-policy": _PAGE_POLICY}
    if matches(request.headers.get("if-none-match"), asset.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(asset.data, media_type=asset.media_type, headers=headers)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client's If-None-Match names this tag (RFC 9110, weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
