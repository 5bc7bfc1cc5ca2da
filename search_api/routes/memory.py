"""Where the memory has gone, how it came there, and giving back what is unused."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import QueryParameter

from search_api.answers import gpu_answer, history_answer, released_answer
from search_api.bodies import ApiRequest
from search_api.openapi import refusals
from search_api.responses import Json
from search_api.schemas import GpuMemoryAnswer, MemoryHistoryAnswer, ReleasedAnswer

Seconds = Annotated[
    int,
    QueryParameter(
        ge=1,
        le=86_400,
        description="How far back: up to 600 by the second, further by the minute.",
        schema_extra={"examples": [600]},
    ),
]


@get("/api/gpu/memory", tags=["memory"], responses=refusals())
async def gpu_memory(request: ApiRequest) -> Json[GpuMemoryAnswer]:
    """Memory of every GPU and of the service, and what it is used for."""
    service = request.service
    return await service.answer(lambda: gpu_answer(service.engine.gpu_memory()))


@get("/api/gpu/memory/history", tags=["memory"], responses=refusals(422))
async def memory_history(request: ApiRequest, seconds: Seconds = 600) -> Json[MemoryHistoryAnswer]:
    """The same over time."""
    service = request.service
    return await service.answer(lambda: history_answer(service.engine.memory_history(seconds)))


@post("/api/gpu/memory/release", status_code=200, tags=["memory"], responses=refusals(403))
async def release_memory(request: ApiRequest) -> Json[ReleasedAnswer]:
    """Give back what the allocators keep unused, and say what came back. What is in use stays."""
    service = request.service
    return await service.answer(lambda: released_answer(service.engine.release_memory()))


ROUTES = [gpu_memory, memory_history, release_memory]
