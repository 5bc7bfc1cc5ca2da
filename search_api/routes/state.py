"""What the service is doing."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import HttpMethod, Response, get, post, route
from litestar.params import JSONBody, QueryParameter

from indexer.types import Standing
from search_api.answers import errors_answer, progress_answer, stats_answer, tuning_answer, why_answer
from search_api.bodies import ApiRequest
from search_api.openapi import refusals
from search_api.queries import absolute_path, file_path, unescaped
from search_api.responses import Json
from search_api.schemas import (
    ErrorsAnswer,
    ProgressAnswer,
    RetryAnswer,
    RetryRequest,
    StatsAnswer,
    TuningAnswer,
    WhyAnswer,
)
from search_api.settings import MAX_LIMIT, MAX_PATH_CHARS

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many files.")]
AskedPath = Annotated[
    str,
    QueryParameter(
        min_length=1,
        max_length=MAX_PATH_CHARS,
        description="An absolute path; bytes that are not UTF-8 as percent-escapes, or as answers show them.",
        schema_extra={"examples": ["/pictures/car.jpg"]},
    ),
]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31, description="How many files to skip.")]


@get("/api/stats", tags=["state"], responses=refusals())
async def stats(request: ApiRequest) -> Json[StatsAnswer]:
    """Counts, rates, progress, and what a person should know."""
    service = request.service
    workers = service.workers
    now = {"requests_waiting": workers.n_calls, "requests_rejected_total": workers.n_rejected}
    return await service.watch(lambda: Json(msgspec.structs.replace(stats_answer(service.engine.stats()), **now)))


@get("/api/errors", tags=["state"], responses=refusals(422))
async def errors(request: ApiRequest, limit: Limit = 100, offset: Offset = 0) -> Json[ErrorsAnswer]:
    """Files that cannot be searched, and why; the latest first."""
    service = request.service
    most = min(limit, service.settings.max_limit)

    def work() -> ErrorsAnswer:
        records, total = service.engine.refused(most, offset)
        return errors_answer(records, total, most, offset)

    return await service.answer(work)


@post("/api/errors/retry", status_code=202, tags=["state"], responses=refusals(403, 413, 415, 422))
async def retry_errors(request: ApiRequest, data: JSONBody[RetryRequest | None] = None) -> Json[RetryAnswer]:
    """Try refused files again though they have not changed: one, those below a folder, or all of them."""
    engine = request.service.engine
    asked = None if data is None or data.path is None else absolute_path(data.path.encode(errors="replace"))

    def work() -> RetryAnswer:
        n = engine.retry(asked)
        if n == 0 and asked is not None and unescaped(asked) != asked:
            n = engine.retry(unescaped(asked))
        return RetryAnswer(n)

    return await request.service.answer(work)


@route("/api/tune", http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
def tune_methods() -> Response[None]:
    """What may be asked of this path: Litestar's own answer names the first handler's methods only."""
    return Response(None, status_code=204, headers={"allow": "GET, OPTIONS, POST"})


@get("/api/tune", tags=["state"], responses=refusals(404, why={404: "Nothing was measured here with this model"}))
async def tuning(request: ApiRequest) -> Json[TuningAnswer]:
    """What was measured on this device with this model, by `indexer tune batch` or by a `POST` here."""
    service = request.service
    return await service.answer(lambda: tuning_answer(service.engine.tuning()))


@post("/api/tune", status_code=202, tags=["state"], responses=refusals(403))
async def tune(request: ApiRequest) -> Json[ProgressAnswer]:
    """Measure batch sizes now, between queries; `/api/stats` shows how far it is. One that runs already is joined.

    Takes some seconds. The choice is kept, and in force at once unless the configuration names a batch size.
    """
    service = request.service
    return await service.answer(lambda: progress_answer(service.engine.tune()))


@get("/api/why", tags=["state"], responses=refusals(422))
async def why(request: ApiRequest, path: AskedPath) -> Json[WhyAnswer]:
    """What is known of a path, and why it can be found or not. Paths outside the watched folders are not looked at."""
    service = request.service
    asked = file_path(request.scope["query_string"], path)
    shown = unescaped(asked)

    def work() -> WhyAnswer:
        known = service.engine.why(asked)
        if known.standing is Standing.NOT_THERE and known.recorded_at is None and shown != asked:
            known = service.engine.why(shown)
        return why_answer(known)

    return await service.answer(work)


ROUTES = [stats, errors, retry_errors, tune_methods, tuning, tune, why]
