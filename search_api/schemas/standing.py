"""Questions that stand."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from search_api.schemas.fields import Time
from search_api.schemas.images import ImageAnswer
from search_api.schemas.search import SearchRequest


class StandingRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A question that is to stand; `score_threshold` in it is a match's least score, by default the cut's."""

    question: SearchRequest
    name: Annotated[str, Meta(max_length=200, description="For people.", examples=["red cars"])] = ""
    webhook: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=2000,
                description="Matches are also sent here: https, or http to this machine.",
                examples=["https://example.org/matches"],
            ),
        ]
        | None
    ) = None


class StandingAnswer(Struct, frozen=True):
    """A question that stands."""

    id: Annotated[str, Meta(examples=["0123456789abcdef"])]
    name: str
    score_threshold: Annotated[float, Meta(description="Least score of a match.", examples=[0.24])]
    created: Time
    n_matches: Annotated[int, Meta(description="Matches told since then.")]
    webhook: Annotated[str | None, Meta(examples=["https://example.org/matches"])] = None
    secret: Annotated[
        str | None,
        Meta(
            description="Told once, when it is made. `X-Lookalike-Signature` of each POST is `sha256=` and the "
            "HMAC-SHA256 of its body under this, in hex."
        ),
    ] = None


class StandingAnswers(Struct, frozen=True):
    """Standing queries, the oldest first."""

    standing: list[StandingAnswer]


class MatchEvent(Struct, frozen=True):
    """A new picture that a standing query means."""

    standing_id: str
    name: str
    score: Annotated[float, Meta(description="Cosine; higher is better.", examples=[0.31])]
    image: ImageAnswer
