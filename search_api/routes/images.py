"""Indexed pictures, by id only: no request names a path."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, get, post
from litestar.params import JSONBody, QueryParameter

from indexer.types import EVERYWHERE
from search_api.answers import image_answer, newest_answer
from search_api.assets import matches
from search_api.bodies import ApiRequest
from search_api.keys import QUESTION
from search_api.openapi import ImageIdPath, Thumbnail, refusals
from search_api.queries import image_id, where_of
from search_api.responses import Json
from search_api.schemas import ImageAnswer, NewestAnswer, NewestRequest

Side = Annotated[int, QueryParameter(ge=16, le=1024, description="It fits into a square of this side, pixels.")]


@get("/api/images/{id:str}", tags=["images"], responses=refusals(404))
async def image(request: ApiRequest, id: ImageIdPath) -> Json[ImageAnswer]:
    """What is known of a picture, and every file that holds it."""
    service, name = request.service, image_id(id)
    return await service.answer(lambda: image_answer(service.engine.image(name)))


@post(
    "/api/images/newest",
    status_code=200,
    tags=["images"],
    opt={QUESTION: True},
    responses=refusals(413, 415, 422),
)
async def newest(request: ApiRequest, data: JSONBody[NewestRequest]) -> Json[NewestAnswer]:
    """The pictures that were indexed last, without a question."""
    service = request.service
    where = EVERYWHERE if data.where is None else where_of(data.where)
    limit = min(data.limit, service.settings.max_limit)
    return await service.answer(lambda: newest_answer(service.engine.newest(limit, data.before, where)))


@get(
    "/api/images/{id:str}/thumbnail",
    tags=["images"],
    media_type="image/jpeg",
    operation_class=Thumbnail,
    responses=refusals(404, 422),
)
async def thumbnail(request: ApiRequest, id: ImageIdPath, side: Side = 256) -> Response[bytes]:
    """A small JPEG of a picture, upright, without metadata. An id names the same picture for ever: keep it."""
    service, name = request.service, image_id(id)
    etag = f'"{name}"'
    headers = {"etag": etag, "cache-control": "private, max-age=31536000, immutable"}
    if matches(request.headers.get("if-none-match"), etag):
        await service.call(lambda: service.engine.image(name))  # raises when it is gone
        return Response(b"", status_code=304, headers=headers)
    data = await service.call(lambda: service.engine.thumbnail(name, side))
    return Response(data, media_type="image/jpeg", headers=headers)


ROUTES = [image, newest, thumbnail]
