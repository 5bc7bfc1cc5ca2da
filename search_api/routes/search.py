"""Search: by words, by a picture, by an indexed picture, by a vector."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody, QueryParameter

from indexer.types import IdQuery, ImageQuery, Query
from search_api.answers import search_answer
from search_api.bodies import ApiRequest
from search_api.openapi import ImageIdPath, ImageUpload, refusals
from search_api.pictures import raw_upload, read_image
from search_api.queries import image_id, query_of
from search_api.responses import Json
from search_api.schemas import SearchAnswer, SearchRequest
from search_api.service import Service
from search_api.settings import LIMIT, MAX_LIMIT, MAX_OFFSET

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many hits.")]
Offset = Annotated[int, QueryParameter(ge=0, le=MAX_OFFSET, description="How many hits to skip.")]


def _ask(service: Service, query: Query, limit: int, offset: int) -> SearchAnswer:
    most = min(limit, service.settings.max_limit)
    return search_answer(service.engine.search(query, most, offset), service.engine.space, most, offset)


def _like(service: Service, data: bytes, limit: int = LIMIT, offset: int = 0) -> SearchAnswer:
    return _ask(service, ImageQuery(data), limit, offset)


@post("/api/search", status_code=200, tags=["search"], responses=refusals(404, 413, 415, 422))
async def search(request: ApiRequest, data: JSONBody[SearchRequest]) -> Json[SearchAnswer]:
    """Find pictures by exactly one of: words, a picture, the id of an indexed picture, a vector."""
    service = request.service

    def work() -> SearchAnswer:
        return _ask(service, query_of(data, service.engine.dims, service.settings), data.limit, data.offset)

    return await service.answer(work)


@post(
    "/api/search/image",
    status_code=200,
    tags=["search"],
    middleware=[raw_upload(_like)],
    operation_class=ImageUpload,
    responses=refusals(413, 415, 422),
)
async def search_image(request: ApiRequest, limit: Limit = LIMIT, offset: Offset = 0) -> Json[SearchAnswer]:
    """Find pictures like the one that is sent."""
    service = request.service
    data = await read_image(request, service.settings.max_body_bytes)
    return await service.answer(lambda: _like(service, data, limit, offset))


@get("/api/images/{id:str}/similar", tags=["search"], responses=refusals(404, 422))
async def similar(request: ApiRequest, id: ImageIdPath, limit: Limit = LIMIT, offset: Offset = 0) -> Json[SearchAnswer]:
    """Find pictures like one that is indexed; nothing is encoded."""
    service = request.service
    query = IdQuery(image_id(id))
    return await service.answer(lambda: _ask(service, query, limit, offset))


ROUTES = [search, search_image, similar]
