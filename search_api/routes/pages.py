"""Pages for people."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath

from search_api.assets import respond


@get("/", include_in_schema=False, sync_to_thread=False)
def start(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The search page."""
    return respond(request, "index.html")


@get("/api/docs", include_in_schema=False, sync_to_thread=False)
def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The reference, drawn from the OpenAPI document."""
    return respond(request, "docs.html")


@get("/favicon.ico", include_in_schema=False, sync_to_thread=False)
def favicon(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The icon that browsers ask for unbidden."""
    return respond(request, "favicon.svg")


@get("/static/{name:str}", include_in_schema=False, sync_to_thread=False)
def static(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """What the pages load."""
    return respond(request, name)


ROUTES = [start, docs, favicon, static]
