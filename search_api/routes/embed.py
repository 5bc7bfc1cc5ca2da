"""Vectors for pictures and words."""

from __future__ import annotations

from litestar import post
from litestar.params import JSONBody

from search_api.answers import embed_image_answer, embed_text_answer
from search_api.bodies import ApiRequest
from search_api.keys import QUESTION
from search_api.openapi import ImageUpload, refusals
from search_api.pictures import raw_upload, read_image
from search_api.queries import texts_of
from search_api.responses import Json
from search_api.schemas import EmbedImageAnswer, EmbedTextAnswer, EmbedTextRequest
from search_api.service import Service


def _embed(service: Service, data: bytes) -> EmbedImageAnswer:
    return embed_image_answer(service.engine.embed_images([data])[0], service.engine.space)


@post(
    "/api/embed/image",
    status_code=200,
    tags=["embed"],
    middleware=[raw_upload(_embed)],
    opt={QUESTION: True},
    operation_class=ImageUpload,
    responses=refusals(413, 415, 422),
)
async def embed_image(request: ApiRequest) -> Json[EmbedImageAnswer]:
    """Embed a picture: its visual feature and, where the model has one, its joint embedding. Nothing is stored."""
    service = request.service
    data = await read_image(request, service.settings.max_body_bytes)
    return await service.answer(lambda: _embed(service, data))


@post("/api/embed/text", status_code=200, tags=["embed"], opt={QUESTION: True}, responses=refusals(413, 415, 422))
async def embed_text(request: ApiRequest, data: JSONBody[EmbedTextRequest]) -> Json[EmbedTextAnswer]:
    """Embed one text or several, in the space that they share with pictures."""
    service = request.service
    texts = texts_of(data, service.settings)
    engine = service.engine
    return await service.answer(lambda: embed_text_answer(engine.embed_texts(texts), engine.space))


ROUTES = [embed_image, embed_text]
