"""Search: by words, by a picture, by an indexed picture, by a vector, by a mixture of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from litestar import get, post
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody, QueryParameter

from indexer.types import PLAIN, IdQuery, ImageQuery, Options, Query
from search_api.answers import search_answer
from search_api.bodies import ApiRequest
from search_api.keys import QUESTION
from search_api.openapi import ImageIdPath, ImageUpload, refusals
from search_api.pictures import placed, raw_upload, read_image
from search_api.queries import image_id, options_of, pictures_of, query_of
from search_api.responses import Json
from search_api.schemas import SearchAnswer, SearchRequest
from search_api.service import Service
from search_api.settings import LIMIT, MAX_LIMIT, MAX_OFFSET

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="How many hits.")]
Offset = Annotated[int, QueryParameter(ge=0, le=MAX_OFFSET, description="How many hits to skip.")]
Threshold = Annotated[
    float | None,
    QueryParameter(ge=-1.01, le=1.01, description="Least score of a hit.", schema_extra={"examples": [0.2]}),
]
Diversity = Annotated[float, QueryParameter(ge=0, le=1, description="0: by score alone. Towards 1: unlike each other.")]
Collapse = Annotated[
    Literal["content", "near"], QueryParameter(description="`near`: near-duplicates are folded into the best of them.")
]
Cut = Annotated[
    Literal["auto"] | None, QueryParameter(description="`auto`: end where hits stop being better than chance.")
]


@dataclass(frozen=True, slots=True)
class Page:
    """Which hits, and how arranged, as parameters say it."""

    limit: int = LIMIT
    offset: int = 0
    options: Options = PLAIN


def page_of(
    limit: Limit = LIMIT,
    offset: Offset = 0,
    score_threshold: Threshold = None,
    diversity: Diversity = 0.0,
    collapse: Collapse = "content",
    cut: Cut = None,
) -> Page:
    """The simple options of a search, for routes that take them as parameters."""
    options = Options(
        score_threshold=score_threshold, diversity=diversity, fold_near=collapse == "near", cut=cut == "auto"
    )
    return Page(limit, offset, options)


PAGED = {"page": Provide(page_of, sync_to_thread=False)}


def _ask(service: Service, query: Query, page: Page) -> SearchAnswer:
    most = min(page.limit, service.settings.max_limit)
    found = service.search(query, most, page.offset, page.options)
    return search_answer(found, service.engine.space, most, page.offset)


def _like(service: Service, data: bytes) -> SearchAnswer:
    return _ask(service, ImageQuery(data), Page())


@post("/api/search", status_code=200, tags=["search"], opt={QUESTION: True}, responses=refusals(404, 413, 415, 422))
async def search(request: ApiRequest, data: JSONBody[SearchRequest]) -> Json[SearchAnswer]:
    """Find pictures by words, a picture, the id of an indexed picture, a vector, or a mixture of them.

    A mixture, `query`, looks for

        q = sum of weight_i * u_i + 0.75 * mean(liked) - 0.25 * mean(disliked)

    where u_i are unit vectors: of the joint space as soon as words or a joint vector are in it (pictures are projected
    into it), of the visual space otherwise. A score is the cosine of q with a picture in that space, computed exactly.
    With `diversity` d the next hit is the one with the most of (1 - d) * s - d * c, where s is its score scaled to 0..1
    over the best 1000, and c its largest cosine with a hit before it.
    """
    service = request.service

    def work() -> SearchAnswer:
        query = query_of(data, service.engine.dims, service.settings)
        with placed(lambda: pictures_of(data, service.settings)):
            return _ask(service, query, Page(data.limit, data.offset, options_of(data)))

    return await service.answer(work)


@post(
    "/api/search/image",
    status_code=200,
    tags=["search"],
    middleware=[raw_upload(_like)],
    dependencies=PAGED,
    opt={QUESTION: True},
    operation_class=ImageUpload,
    responses=refusals(413, 415, 422),
)
async def search_image(request: ApiRequest, page: NamedDependency[Page]) -> Json[SearchAnswer]:
    """Find pictures like the one that is sent."""
    service = request.service
    data = await read_image(request, service.settings.max_body_bytes)
    return await service.answer(lambda: _ask(service, ImageQuery(data), page))


@get("/api/images/{id:str}/similar", tags=["search"], dependencies=PAGED, responses=refusals(404, 422))
async def similar(request: ApiRequest, id: ImageIdPath, page: NamedDependency[Page]) -> Json[SearchAnswer]:
    """Find pictures like one that is indexed; nothing is encoded."""
    service = request.service
    query = IdQuery(image_id(id))
    return await service.answer(lambda: _ask(service, query, page))


ROUTES = [search, search_image, similar]
