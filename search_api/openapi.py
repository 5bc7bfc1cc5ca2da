"""The OpenAPI document: what Litestar cannot read off the handlers is said here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
    Tag,
)
from litestar.params import PathParameter
from litestar.router import Router
from litestar.types import ASGIApp, Receive, Scope, Send

from search_api import schemas
from search_api.errors import PROBLEM, Problem, Wording, problem
from search_api.responses import send_json
from search_api.schemas import EXAMPLE_ID

Records = Mapping[type[msgspec.Struct], Sequence[Mapping[str, Any]]]
"""Types of bodies, each with examples of it, if it is one that clients send."""

EVENT_STREAM = "text/event-stream"

DOCUMENT_PATH = "/api/openapi.json"

ImageIdPath = Annotated[
    str,
    PathParameter(
        description="SHA-256 of the picture's file, as `sha256sum` prints it.",
        schema_extra={"pattern": "^[0-9a-f]{64}$", "examples": [EXAMPLE_ID]},
    ),
]

_DESCRIPTION = """Search by words, by a picture, by the id of an indexed picture, by a vector or by a mixture of them.

An image's `id` is the SHA-256 of its file. Scores are cosines; higher is better. Times are RFC 3339 in UTC.
Errors are `application/problem+json` (RFC 9457), except that each dialect words them as its clients expect. A request
needs a Host header that the service knows (else 421), and one from a web page must come from the service's own pages
(else 403) unless its origin was allowed. Where a key is set, every route but /health/* needs it; where an admin key is
set, what changes something (`index`, `errors/retry`, `release`) needs that one.
"""

_WHY = {
    400: "The request is malformed",
    401: "A key is set, and the request does not carry it",
    403: "A page of another origin asks, or the key is not the admin key that is set",
    404: "No live image has this id",
    413: "The body, or the picture, is too large",
    415: "The content type, or the picture's format, is not supported",
    422: "Understood, but it cannot be answered as it was put; `errors` or `reason` says why",
    429: "The client asks faster than it may; Retry-After says when to come back",
    503: "Too busy, or not able to answer at present",
}


def refusals(
    *statuses: int,
    open_to_all: bool = False,
    wording: Wording = PROBLEM,
    why: Mapping[int, str] = MappingProxyType({}),
) -> dict[int, ResponseSpec]:
    """How a route may refuse, besides the ways that every route has; `why` says it in other words than usual."""
    reasons = {**_WHY, **why}
    return {
        status: ResponseSpec(
            wording.kind,
            description=reasons[status],
            media_type=wording.media_type,
            generate_examples=False,
            examples=[Example(value=msgspec.to_builtins(wording.of(problem(status, reasons[status] + "."))))],
        )
        for status in sorted({400, 429, 503, *statuses} | (set() if open_to_all else {401}))
    }


@dataclass
class ImageUpload(Operation):
    """An operation whose body is a picture."""

    def __post_init__(self) -> None:
        binary = Schema(
            type=OpenAPIType.STRING, content_media_type="application/octet-stream", description="The picture's file."
        )
        form = Schema(type=OpenAPIType.OBJECT, properties={"image": binary}, required=["image"])
        raw = Schema(
            type=OpenAPIType.STRING,
            content_media_type="application/octet-stream",
            description="The picture's file, as it is.",
            min_length=1,
        )
        self.request_body = RequestBody(
            description="The picture's file: as the body itself (fastest), or as the form field `image`.",
            content={
                "image/*": OpenAPIMediaType(schema=raw),
                "application/octet-stream": OpenAPIMediaType(schema=raw),
                "multipart/form-data": OpenAPIMediaType(schema=form),
            },
            required=True,
        )


@dataclass
class EventFeed(Operation):
    """An operation that answers with server-sent events for as long as the client listens."""

    def __post_init__(self) -> None:
        kinds = (schemas.IndexEvent, schemas.QueueEvent, schemas.GpuMemoryAnswer, schemas.MatchEvent)
        feed = Schema(one_of=[Reference(f"#/components/schemas/{kind.__name__}") for kind in kinds])
        self.responses = {
            **(self.responses or {}),
            "200": OpenAPIResponse(
                description="Events as they happen: `event:` names the topic, `data:` is one line of JSON",
                content={EVENT_STREAM: OpenAPIMediaType(schema=feed)},
            ),
        }


@dataclass
class MetricsPage(Operation):
    """An operation that answers in Prometheus' text format."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING, examples=["# TYPE lookalike_images gauge\nlookalike_images 1024\n"])
        self.responses = {
            **(self.responses or {}),
            "200": OpenAPIResponse(
                description="Prometheus' text format, 0.0.4", content={"text/plain": OpenAPIMediaType(schema=text)}
            ),
        }


@dataclass
class Thumbnail(Operation):
    """An operation that answers with a picture, or with nothing when the client has it."""

    def __post_init__(self) -> None:
        picture = Schema(type=OpenAPIType.STRING, content_media_type="image/jpeg")
        self.responses = {
            **(self.responses or {}),
            "200": OpenAPIResponse(
                description="The thumbnail", content={"image/jpeg": OpenAPIMediaType(schema=picture)}
            ),
            "304": OpenAPIResponse(description="The client's copy (If-None-Match) is the same"),
        }


def document(records: Records) -> Callable[[ASGIApp], ASGIApp]:
    """Middleware that answers with the document, completed by what types cannot say; it is made once.

    Litestar would send each request through a thread, and serve pages of its own below; here there are none.
    """
    rendered: list[bytes] = []

    def wrap(app: ASGIApp) -> ASGIApp:  # noqa: ARG001 - nobody else answers
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's
            if scope["path"] != DOCUMENT_PATH:
                raise NotFoundException
            if not rendered:
                told = scope["litestar_app"].openapi_schema.to_schema()
                rendered.append(msgspec.json.encode(complete(told, records)))
            await send_json(send, rendered[0])

        return answer

    return wrap


def complete(document: dict[str, Any], records: Records) -> dict[str, Any]:
    """Put in what is lost on the way through Litestar: exact schemas, summaries, and what excludes what.

    `records` are types of bodies besides those of `schemas`.
    """
    own = [each for each in vars(schemas).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    _, components = msgspec.json.schema_components(
        [each for each in (*own, *records, Problem) if each is not msgspec.Struct],
        ref_template="#/components/schemas/{name}",
    )
    for name, ways in _WAYS.items():
        # A member that is null counts as absent.
        components[name]["oneOf"] = [_given(way) for way in ways]
        components[name]["examples"] = [{way: example} for way, example in ways.items()]
    examples_alone = {
        "anyOf": [_given("liked"), _given("disliked")],
        "not": {"anyOf": components["SearchRequest"]["oneOf"]},
    }
    components["SearchRequest"]["oneOf"] = [*components["SearchRequest"]["oneOf"], examples_alone]
    components["SearchRequest"]["examples"] += _SEARCHES
    for record, examples in records.items():
        if examples:
            components[record.__name__]["examples"] = examples
    for component in components.values():
        component["description"] = cleandoc(component["description"])
    document["components"]["schemas"] = components
    for item in document["paths"].values():
        for operation in item.values():
            summary, *rest = re.split(r"\.(?:\s+|$)", operation["description"], maxsplit=1)
            operation["summary"], operation["description"] = summary, "".join(rest)
            for status, answer in operation["responses"].items():
                if status >= "4":
                    continue
                schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
                if "$ref" in schema:
                    answer["description"] = components[schema["$ref"].rpartition("/")[2]]["description"]
            _say_what_may_be_left_out(operation)
            for parameter in operation.get("parameters", []):
                bounds = parameter["schema"]
                bounds.update({key: int(bounds[key]) for key in ("minimum", "maximum") if key in bounds})
    return document


def _given(member: str) -> dict[str, Any]:
    return {"required": [member], "properties": {member: {"not": {"type": "null"}}}}


def _say_what_may_be_left_out(operation: dict[str, Any]) -> None:
    """Litestar calls every body required; one that may be null may be left out."""
    body = operation.get("requestBody", {})
    schema = body.get("content", {}).get("application/json", {}).get("schema", {})
    if {"type": "null"} in schema.get("oneOf", []):
        body["required"] = False


_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""

_WAYS: dict[str, dict[str, Any]] = {
    "SearchRequest": {
        "text": "a red car",
        "image": f"data:image/png;base64,{_DOT}",
        "id": EXAMPLE_ID,
        "vector": [0.6, 0.8],
        "query": [{"text": "beach"}, {"id": EXAMPLE_ID, "weight": 0.5}, {"text": "people", "weight": -1}],
    },
    "TermRequest": {
        "text": "a red car",
        "image": f"data:image/png;base64,{_DOT}",
        "id": EXAMPLE_ID,
        "vector": [0.6, 0.8],
    },
    "EmbedTextRequest": {"text": "a red car", "texts": ["a red car", "a blue boat"]},
}

_SEARCHES: list[dict[str, Any]] = [
    {"text": "a red car", "liked": [EXAMPLE_ID], "diversity": 0.3},
    {
        "text": "a boat",
        "where": {"path": "holiday/**", "modified_from": "2025-01-01", "width_min": 1024, "format": ["jpeg"]},
        "score_threshold": 0.2,
        "collapse": "near",
    },
]


def config(has_key: bool, records: Records) -> OpenAPIConfig:
    """Settings of the document; `has_key` says whether this service asks for a key, `records` as for `complete`."""
    scheme = SecurityScheme(
        type="http", scheme="bearer", description="The service's `api_key`, or its `admin_key`, which opens everything."
    )
    return OpenAPIConfig(
        title="lookalike",
        version="1",
        summary="Pictures, found by pictures and by words",
        description=_DESCRIPTION,
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, *_: handler.handler_name,
        components=Components(security_schemes={"key": scheme}) if has_key else Components(),
        security=[{"key": []}] if has_key else None,
        tags=[
            Tag("search", "Find pictures"),
            Tag("embed", "Vectors for pictures and words"),
            Tag("images", "Indexed pictures"),
            Tag("standing", "Questions that stand, and tell what is new"),
            Tag("index", "Orders to the index"),
            Tag("state", "What the service is doing"),
            Tag("memory", "Where the memory has gone"),
            Tag("dialects", "For programs made for another service: change its address, and nothing else"),
            Tag("health", "For those who watch over it"),
        ],
        openapi_router=Router(
            DOCUMENT_PATH, route_handlers=[], include_in_schema=False, middleware=[document(records)]
        ),
        render_plugins=[JsonRenderPlugin(path="/")],
    )
