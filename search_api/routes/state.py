"""What the service is doing."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from search_api.answers import errors_answer, gpu_answer, stats_answer
from search_api.bodies import ApiRequest
from search_api.openapi import refusals
from search_api.responses import Json
from search_api.schemas import ErrorsAnswer, GpuMemoryAnswer, StatsAnswer
from search_api.settings import MAX_LIMIT

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many files.")]
Offset = Annotated[int, QueryParameter(ge=0, le=2**31, description="How many files to skip.")]


@get("/api/stats", tags=["state"], responses=refusals())
async def stats(request: ApiRequest) -> Json[StatsAnswer]:
    """Counts, rates, progress, and what a person should know."""
    service = request.service
    return await service.answer(lambda: stats_answer(service.engine.stats()))


@get("/api/errors", tags=["state"], responses=refusals(422))
async def errors(request: ApiRequest, limit: Limit = 100, offset: Offset = 0) -> Json[ErrorsAnswer]:
    """Files that cannot be searched, and why; the latest first."""
    service = request.service
    most = min(limit, service.settings.max_limit)

    def work() -> ErrorsAnswer:
        records, total = service.engine.refused(most, offset)
        return errors_answer(records, total, most, offset)

    return await service.answer(work)


@get("/api/gpu/memory", tags=["state"], responses=refusals())
async def gpu_memory(request: ApiRequest) -> Json[GpuMemoryAnswer]:
    """Memory of every GPU, and this process's share of it."""
    service = request.service
    return await service.answer(lambda: gpu_answer(service.engine.gpu_memory()))


ROUTES = [stats, errors, gpu_memory]
