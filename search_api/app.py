"""The application: routes, errors and the gate, put together over an engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException

from indexer.errors import IndexerError, Overloaded
from indexer.ports import Engine
from search_api import assets, dialects, openapi
from search_api.bodies import ApiRequest, FaultError
from search_api.errors import Fault, Problem, problem, problem_of
from search_api.examples import EXAMPLES
from search_api.gate import Gate
from search_api.keys import questions_of
from search_api.responses import problem_response
from search_api.routes import ROUTES
from search_api.service import Service
from search_api.settings import ApiSettings
from search_api.traces import traced

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]


def create_app(engine: Engine, settings: ApiSettings) -> Litestar:
    """The HTTP service over a running engine.

    `app.state.stopping` is an `asyncio.Event`, set when the service stops: an answer without an end must end then.
    """
    service = Service(engine, settings)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.stopping = asyncio.Event()
        service.open()
        yield
        service.close()

    handlers = [*ROUTES, *dialects.ROUTES]
    app = Litestar(
        route_handlers=handlers,
        exception_handlers={
            FaultError: _unprocessable,
            IndexerError: _ours,
            ValidationException: _invalid,
            HTTPException: _http,
            Exception: _unforeseen,
        },
        state=State({"service": service, "assets": assets.load()}),
        lifespan=[lifespan],
        request_class=ApiRequest,
        request_max_body_size=None,  # the gate limits them
        openapi_config=openapi.config(bool(settings.api_key or settings.admin_key), {**EXAMPLES, **dialects.RECORDS}),
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    gate = Gate(app.asgi_handler, settings, dialects.wording_of, questions_of(handlers), service.counts.answered)
    app.asgi_handler = traced(gate) if settings.traces else gate
    return app


# ---------------------------------------------------------------- errors


def _ours(request: AnyRequest, error: IndexerError) -> Response[Any]:
    request_id = _request_id(request)
    what = problem_of(error, request_id)
    if what.status >= 500 and not isinstance(error, Overloaded):  # a line for each would be a flood in a flood
        log.warning("%s %r failed (%s): %s", request.method, request.scope["path"], request_id, error)
    return _refuse(request, what)


def _unprocessable(request: AnyRequest, error: FaultError) -> Response[Any]:
    return _refuse(request, problem(422, str(error), errors=error.faults))


def _invalid(request: AnyRequest, error: ValidationException) -> Response[Any]:
    """Parameters that Litestar found wrong."""
    extra = error.extra if isinstance(error.extra, list) else []
    faults = [Fault(str(each.get("key", "")), str(each.get("message", "not valid"))) for each in extra]
    if any(fault.field == "data" for fault in faults):
        return _refuse(request, problem(400, "The body is empty; send JSON."))
    return _unprocessable(request, FaultError(faults or [Fault("", "A parameter is not valid.")]))


def _http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    if error.status_code >= 500:
        return _unforeseen(request, error)
    detail = "Nothing is served at this path." if error.status_code == 404 else error.detail
    return _refuse(request, problem(error.status_code, detail), error.headers)


def _unforeseen(request: AnyRequest, error: Exception) -> Response[Any]:
    request_id = _request_id(request)
    log.error("%s %r failed (%s)", request.method, request.scope["path"], request_id, exc_info=error)
    what = problem(500, "The request failed; the service's log tells why.", request_id=request_id)
    return _refuse(request, what)


def _refuse(request: AnyRequest, what: Problem, headers: dict[str, str] | None = None) -> Response[Any]:
    return problem_response(what, headers, dialects.wording_of(request.scope["path"]))


def _request_id(request: AnyRequest) -> str:
    return str(request.scope["state"].get("request_id", ""))
