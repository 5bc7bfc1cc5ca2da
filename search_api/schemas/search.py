"""Searches."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from search_api.schemas.fields import (
    Base64,
    Bytes,
    Collapse,
    Cut,
    Diversity,
    Format,
    ImageId,
    ImageIds,
    Least,
    LeastShare,
    Limit,
    Most,
    MostShare,
    Offset,
    Path,
    Paths,
    Patterns,
    Pixels,
    ScoreThreshold,
    Text,
    ThumbnailUrl,
    Time,
    Vector,
    Weight,
    When,
)
from search_api.settings import LIMIT, MAX_TERMS


class TermRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a mixture: exactly one of `text`, `image`, `id` and `vector`, and its weight."""

    text: Text | None = None
    image: Base64 | None = None
    id: ImageId | None = None
    vector: Vector | None = None
    weight: Weight = 1.0


class WhereRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which pictures may be answered: all that is given must hold.

    Of a picture that several files hold, one file must fit `path`, `not_path` and the times. Aspect is width / height.
    """

    path: Patterns | None = None
    not_path: Patterns | None = None
    modified_from: When | None = None
    modified_to: When | None = None
    width_min: Least | None = None
    width_max: Most | None = None
    height_min: Least | None = None
    height_max: Most | None = None
    megapixels_min: LeastShare | None = None
    megapixels_max: MostShare | None = None
    aspect_min: LeastShare | None = None
    aspect_max: MostShare | None = None
    format: Annotated[list[str], Meta(max_length=16, description="jpeg, png, …", examples=[["jpeg", "png"]])] | None = (
        None
    )
    size_min_bytes: Least | None = None
    size_max_bytes: Most | None = None


class SearchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A question: exactly one of `text`, `image`, `id`, `vector`, `query`; beside it or alone `liked` and `disliked`.

    A mixture looks for q = sum of weight x unit vector + 0.75 mean(liked) - 0.25 mean(disliked); a score is the cosine
    of q with a picture. With words or a joint vector in it all vectors are of the joint space, otherwise of the visual.
    """

    text: Text | None = None
    image: Base64 | None = None
    id: ImageId | None = None
    vector: Vector | None = None
    query: Annotated[list[TermRequest], Meta(min_length=1, max_length=MAX_TERMS, description="A mixture.")] | None = (
        None
    )
    liked: Annotated[ImageIds, Meta(description="More like these pictures.")] | None = None
    disliked: Annotated[ImageIds, Meta(description="Less like these pictures.")] | None = None
    limit: Limit = LIMIT
    offset: Offset = 0
    cursor: (
        Annotated[str, Meta(max_length=200, description="Of the answer before, to go on there; no `offset` then.")]
        | None
    ) = None
    where: WhereRequest | None = None
    exclude_ids: Annotated[ImageIds, Meta(description="Not these pictures.")] | None = None
    score_threshold: ScoreThreshold | None = None
    cut: Cut | None = None
    diversity: Diversity = 0.0
    collapse: Collapse = "content"
    with_vector: Annotated[bool, Meta(description="Tell each hit's vector.")] = False


class Hit(Struct, frozen=True):
    """One answer to a question."""

    id: ImageId
    score: Annotated[float, Meta(description="Cosine; higher is better.", examples=[0.31])]
    path: Path
    paths: Paths
    width: Pixels
    height: Pixels
    modified: Time
    thumbnail_url: ThumbnailUrl
    format: Format
    size_bytes: Bytes
    relevance: Annotated[
        float | None, Meta(description="0 to 1: how sure it is that this is better than chance; null if unknown.")
    ] = None
    n_alike: Annotated[int, Meta(description="Near-duplicates folded into this hit, besides itself.")] = 0
    vector: Annotated[
        list[float] | None, Meta(description="Its row of the index at unit length, if `with_vector`.")
    ] = None


class TookMs(Struct, frozen=True):
    """Where the time went, milliseconds."""

    embed: float
    search: float
    total: float


class IndexState(Struct, frozen=True):
    """The index that was searched."""

    count: Annotated[int, Meta(description="Pictures in it.")]
    generation: Annotated[int, Meta(description="Its newest snapshot.")]


class SearchAnswer(Struct, frozen=True):
    """Hits, best first."""

    hits: list[Hit]
    limit: int
    offset: int
    took_ms: TookMs
    model: Annotated[str, Meta(examples=["ViT-H-14"])]
    space: Annotated[str, Meta(description="Fingerprint of the embedding space.", examples=["0123456789abcdef"])]
    index: IndexState
    cursor: Annotated[str | None, Meta(description="Of the next page; null at the end.")] = None
    cut_score: Annotated[
        float | None, Meta(description="Where hits stop being better than chance; null if unknown.", examples=[0.21])
    ] = None
    matching: Annotated[int | None, Meta(description="Pictures that pass `where`; null without it.")] = None
