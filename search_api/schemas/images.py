"""Pictures, their duplicates and their vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from search_api.schemas.fields import Bytes, Format, ImageId, Limit, Path, Paths, Pixels, Text, ThumbnailUrl, Time
from search_api.schemas.search import WhereRequest
from search_api.schemas.tasks import ProgressAnswer
from search_api.settings import LIMIT


class NewestRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the pictures that came last."""

    limit: Limit = LIMIT
    before: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Of the answer before, to go on there.")] | None = None
    where: WhereRequest | None = None


class EmbedTextRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `text` and `texts`."""

    text: Text | None = None
    texts: Annotated[list[Text], Meta(min_length=1, max_length=256, description="Up to 256 texts.")] | None = None


class ImageAnswer(Struct, frozen=True):
    """One indexed picture and every file that holds it."""

    id: ImageId
    path: Path
    paths: Paths
    width: Pixels
    height: Pixels
    modified: Time
    thumbnail_url: ThumbnailUrl
    format: Format
    size_bytes: Bytes


class NewestAnswer(Struct, frozen=True):
    """Pictures, the latest indexed first."""

    images: list[ImageAnswer]
    matching: Annotated[int, Meta(description="Pictures that pass `where`.")]
    before: Annotated[int | None, Meta(description="Asks for the next page; null at the end.")]


class DuplicateGroupAnswer(Struct, frozen=True):
    """Pictures that belong together, the largest first; of the same bytes, one that several files hold."""

    score: Annotated[float, Meta(description="Least cosine that joined them.", examples=[0.98])]
    images: list[ImageAnswer]


class DuplicatesAnswer(Struct, frozen=True):
    """Groups of one tier: the best first; of the same bytes, those first whose copies take the most room."""

    tier: Literal["same", "variant", "similar"]
    groups: list[DuplicateGroupAnswer]
    total: Annotated[int, Meta(description="Groups there are.")]
    limit: int
    offset: int
    took_ms: float
    progress: Annotated[
        ProgressAnswer | None,
        Meta(description="Of the search for what has changed since; null when these groups are the newest."),
    ] = None


class EmbedImageAnswer(Struct, frozen=True):
    """What the model makes of a picture."""

    id: ImageId
    feature: Annotated[list[float], Meta(description="Visual feature, unit length: what is indexed.")]
    embedding: Annotated[
        list[float] | None, Meta(description="Joint embedding, unit length: comparable with texts; null without one.")
    ]
    model: str
    space: str


class EmbedTextAnswer(Struct, frozen=True):
    """Joint embeddings, one a text, in the order of the request."""

    embeddings: list[list[float]]
    dim: int
    model: str
    space: str
