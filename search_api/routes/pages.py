"""Pages for people. Their files hold nothing of anybody's, so no key is asked for them."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from search_api.assets import respond
from search_api.bodies import ApiRequest
from search_api.dialects.immich import Greeting, asks_for_no_page


@get("/", include_in_schema=False, sync_to_thread=False)
def start(request: ApiRequest) -> Response[Any]:
    """The search page; to a program that takes no pages, what immich expects."""
    if asks_for_no_page(request.headers.get("accept")):
        return Response(Greeting(), headers={"vary": "accept"})
    page = respond(request, "index.html")
    page.headers["vary"] = "accept"
    return page


@get(["/dashboard", "/duplicates", "/errors"], include_in_schema=False, sync_to_thread=False)
def page(request: ApiRequest) -> Response[bytes]:
    """The other pages: the same document, which looks at its address."""
    return respond(request, "index.html")


@get("/api/docs", include_in_schema=False, sync_to_thread=False)
def docs(request: ApiRequest) -> Response[bytes]:
    """The reference, drawn from the OpenAPI document."""
    return respond(request, "docs.html")


@get("/favicon.ico", include_in_schema=False, sync_to_thread=False)
def favicon(request: ApiRequest) -> Response[bytes]:
    """The icon that browsers ask for unbidden."""
    return respond(request, "favicon.svg")


@get(["/static/{name:str}", "/static/{folder:str}/{name:str}"], include_in_schema=False, sync_to_thread=False)
def static(request: ApiRequest, name: FromPath[str], folder: FromPath[str] = "") -> Response[bytes]:
    """What the pages load."""
    return respond(request, f"{folder}/{name}" if folder else name)


ROUTES = [start, page, docs, favicon, static]
