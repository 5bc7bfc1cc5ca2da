"""The pages and what they load: a fixed set of files, read once; no path of a request ever meets the file system."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from litestar import Request, Response
from litestar.exceptions import NotFoundException

_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_PAGE_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a page, and what a browser may do with it."""

    data: bytes
    media_type: str
    etag: str
    policy: str


def load() -> dict[str, Asset]:
    """Every file by its name below the folder, as `vendor/preact.js`."""
    return {name: _asset(name, entry.read_bytes()) for name, entry in _walk(files("search_api").joinpath("static"), "")}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in _TYPES:
            yield prefix + entry.name, entry


def _asset(name: str, data: bytes) -> Asset:
    tag = hashlib.sha256(data).hexdigest()[:16]
    return Asset(data, _TYPES[_suffix(name)], f'"{tag}"', _PAGE_POLICY.format(scripts=_scripts(data)))


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _scripts(data: bytes) -> str:
    """Our own files, and of what is inline the import map alone, by its hash: browsers take it from no file."""
    hashes = [b64encode(hashlib.sha256(each).digest()).decode() for each in _IMPORT_MAP.findall(data)]
    return " ".join(["'self'", *(f"'sha256-{each}'" for each in hashes)])


def respond(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    """The file, or that the client's copy is still the same."""
    asset: Asset | None = request.app.state.assets.get(name)
    if asset is None:
        raise NotFoundException
    headers = {"etag": asset.etag, "cache-control": "no-cache", "content-security-policy": asset.policy}
    if matches(request.headers.get("if-none-match"), asset.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(asset.data, media_type=asset.media_type, headers=headers)


def matches(if_none_match: str | None, etag: str) -> bool:
    """Whether a client's If-None-Match names this tag (RFC 9110, weak comparison)."""
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags
