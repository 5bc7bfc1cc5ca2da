"""clip-retrieval's search, as its `ClipClient` and its front page ask for it.

Source: clip-retrieval 2.45, `clip_client.py`, `clip_back.py` and `front/src/clip-service.js`.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from indexer.errors import ImageRefused, NotFound
from indexer.ports import Engine
from indexer.types import ImageQuery, Options, Query, TextQuery, VectorQuery, display_path
from search_api.bodies import UNTYPED, ApiRequest, FaultError
from search_api.errors import Fault, Wording
from search_api.keys import QUESTION
from search_api.openapi import Records, refusals
from search_api.pictures import from_base64
from search_api.queries import direction, words
from search_api.responses import Json
from search_api.schemas import EXAMPLE_ID, ImageId, Path, Vector
from search_api.service import Service
from search_api.settings import LIMIT, MAX_LIMIT, MAX_TEXT_CHARS, ApiSettings

SIDE_PX = 256
MAX_PICTURES = 100
"""Thumbnails in one answer."""


# ---------------------------------------------------------------- the wire


class KnnRequest(Struct, frozen=True):
    """The first of `text`, `image` and `embedding_input` that is there is looked for.

    Members that are not named here are ignored: `use_safety_model`, `use_violence_detector`, `use_mclip`,
    `aesthetic_score` and `aesthetic_weight` speak of models that this service does not have.
    """

    text: Annotated[str, Meta(max_length=MAX_TEXT_CHARS, examples=["a red car"])] | None = None
    image: Annotated[str, Meta(description="A picture's file in base64.")] | None = None
    image_url: Annotated[str, Meta(description="Always refused: URLs are not fetched.")] | None = None
    embedding_input: Vector | None = None
    modality: Annotated[Literal["image", "text"], Meta(description="There are no captions: `text` is refused.")] = (
        "image"
    )
    num_images: Annotated[
        int, Meta(ge=1, description=f"So many hits come with their path, up to {MAX_PICTURES} with their picture too.")
    ] = LIMIT
    num_result_ids: (
        Annotated[int, Meta(ge=1, description=f"How many hits, at most {MAX_LIMIT}; as many as `num_images` if null.")]
        | None
    ) = None
    deduplicate: (
        Annotated[
            bool,
            Meta(
                description="Whether pictures that look nearly the same are one hit, the best of them; files of the "
                "same bytes always are."
            ),
        ]
        | None
    ) = None
    indice_name: Annotated[str, Meta(description="Any name: there is one index.")] | None = None


class KnnHit(Struct, frozen=True, omit_defaults=True):
    """One hit. Those after the first `num_images` have an id and a similarity only."""

    id: ImageId
    similarity: Annotated[float, Meta(description="Cosine; higher is better.", examples=[0.31])]
    image_path: Path | None = None
    image: Annotated[str, Meta(description="A small JPEG in base64; absent when none can be made.")] | None = None


class MetadataRequest(Struct, frozen=True):
    """Pictures by the ids of hits."""

    ids: Annotated[list[ImageId], Meta(max_length=MAX_LIMIT)]
    indice_name: Annotated[str, Meta(description="Any name: there is one index.")] | None = None


class Metadata(Struct, frozen=True, omit_defaults=True):
    """What is known of a picture; nothing, when it has gone since."""

    image_path: Path | None = None
    image: Annotated[str, Meta(description="A small JPEG in base64; absent when none can be made.")] | None = None


class MetadataOfId(Struct, frozen=True):
    """One picture's."""

    id: ImageId
    metadata: Metadata


class ClipRetrievalError(Struct, frozen=True):
    """An error as clip-retrieval words it."""

    message: str


WORDING = Wording(ClipRetrievalError, "application/json", lambda what: ClipRetrievalError(what.detail))


# ---------------------------------------------------------------- the work


def _query(asked: KnnRequest, dims: tuple[int, int | None], settings: ApiSettings) -> Query:
    """What is looked for, by clip-retrieval's own precedence."""
    if asked.modality == "text":
        raise FaultError([Fault("modality", "There are no captions here to be found; ask for image.")])
    if asked.text:
        return TextQuery(words(asked.text, "text"))
    if asked.image:
        return ImageQuery(from_base64(asked.image, settings.max_body_bytes))
    if asked.image_url:
        raise FaultError([Fault("image_url", "URLs are not fetched; send the bytes in base64, as `image`.")])
    if asked.embedding_input is not None:
        return VectorQuery(direction(asked.embedding_input, dims, "embedding_input"))
    raise FaultError([Fault("", "Give one of text, image and embedding_input.")])


def _search(service: Service, asked: KnnRequest) -> list[KnnHit]:
    engine, settings = service.engine, service.settings
    n_hits = min(asked.num_result_ids or asked.num_images, settings.max_limit)
    options = Options(fold_near=bool(asked.deduplicate))
    found = service.search(_query(asked, engine.dims, settings), n_hits, options=options).hits
    return [
        KnnHit(
            hit.id,
            float(hit.score),
            display_path(hit.path) if i < asked.num_images else None,
            _picture(engine, hit.id) if i < min(asked.num_images, MAX_PICTURES) else None,
        )
        for i, hit in enumerate(found)
    ]


def _metadata(engine: Engine, ids: list[str]) -> list[MetadataOfId]:
    known = []
    for i, id in enumerate(ids):
        try:
            path = display_path(engine.image(id).paths[0])
            metadata = Metadata(path, _picture(engine, id) if i < MAX_PICTURES else None)
        except NotFound:
            metadata = Metadata()
        known.append(MetadataOfId(id, metadata))
    return known


def _picture(engine: Engine, id: str) -> str | None:
    """The thumbnail in base64; None when the file has changed or gone since it was indexed."""
    try:
        return base64.b64encode(engine.thumbnail(id, SIDE_PX)).decode()
    except (NotFound, ImageRefused):
        return None


# ---------------------------------------------------------------- the routes

_REFUSALS = refusals(413, 415, 422, wording=WORDING)


@post(
    "/knn-service",
    status_code=200,
    tags=["dialects"],
    opt={UNTYPED: True, QUESTION: True},
    responses=_REFUSALS,
    response_description="Hits, best first.",
)
async def clip_retrieval_knn(request: ApiRequest, data: JSONBody[KnnRequest]) -> Json[list[KnnHit]]:
    """Find pictures as clip-retrieval's clients ask for it. JSON is taken whatever its Content-Type says.

    Accepted and ignored: `indice_name`, `use_safety_model`, `use_violence_detector`, `use_mclip`, `aesthetic_score`,
    `aesthetic_weight`.
    """
    service = request.service
    return await service.answer(lambda: _search(service, data))


@get(
    "/indices-list",
    tags=["dialects"],
    sync_to_thread=False,
    responses=refusals(wording=WORDING),
    response_description="Names of indices: there is one.",
)
def clip_retrieval_indices(request: ApiRequest) -> Json[list[str]]:
    """List the index in use by its model's name, as clip-retrieval's clients ask for it."""
    return Json([request.service.engine.space.model])


@post(
    "/metadata",
    status_code=200,
    tags=["dialects"],
    opt={UNTYPED: True, QUESTION: True},
    responses=_REFUSALS,
    response_description="In the order of the ids.",
)
async def clip_retrieval_metadata(request: ApiRequest, data: JSONBody[MetadataRequest]) -> Json[list[MetadataOfId]]:
    """Tell paths and thumbnails of pictures, as clip-retrieval's clients ask for it."""
    service = request.service
    return await service.answer(lambda: _metadata(service.engine, data.ids))


ROUTES = [clip_retrieval_knn, clip_retrieval_indices, clip_retrieval_metadata]
PATHS = ("/knn-service", "/indices-list", "/metadata")

RECORDS: Records = {
    KnnRequest: [{"text": "a red car", "modality": "image", "num_images": 20}],
    KnnHit: [{"id": EXAMPLE_ID, "similarity": 0.31, "image_path": "/pictures/car.jpg", "image": "/9j/4AAQSkZJRg=="}],
    MetadataRequest: [{"ids": [EXAMPLE_ID]}],
    MetadataOfId: [{"id": EXAMPLE_ID, "metadata": {"image_path": "/pictures/car.jpg", "image": "/9j/4AAQSkZJRg=="}}],
    ClipRetrievalError: [],
}
