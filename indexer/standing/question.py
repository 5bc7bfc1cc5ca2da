"""A standing query as JSON, to be kept, and back."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

from indexer.types import (
    IdQuery,
    ImageQuery,
    MixedQuery,
    PlainQuery,
    Query,
    Range,
    StandingQuery,
    Term,
    TextQuery,
    VectorQuery,
    Where,
)

_LISTS: Final = ("path", "not_path", "format")


def to_json(kept: StandingQuery) -> dict[str, Any]:
    """All that is kept of it."""
    plain = {field.name: getattr(kept, field.name) for field in fields(kept) if field.name not in ("query", "where")}
    return {**plain, "query": _query_to_json(kept.query), "where": asdict(kept.where)}


def from_json(told: Mapping[str, Any]) -> StandingQuery:
    """What `to_json` made; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
    where: dict[str, Any] = {
        name: tuple(value) if name in _LISTS else Range(*value) for name, value in told["where"].items()
    }
    members = {
        **told,
        "query": _query_from_json(told["query"]),
        "where": Where(**where),
        "exclude_ids": tuple(told["exclude_ids"]),
    }
    return StandingQuery(**members)


def _query_to_json(query: Query) -> dict[str, Any]:
    match query:
        case TextQuery(text):
            return {"text": text}
        case ImageQuery(data):
            return {"image": b64encode(data).decode()}
        case IdQuery(id):
            return {"id": id}
        case VectorQuery(vector):
            return {"vector": list(vector)}
        case MixedQuery(terms, liked, disliked):
            mixed = [[_query_to_json(term.query), term.weight] for term in terms]
            return {"terms": mixed, "liked": list(liked), "disliked": list(disliked)}


def _query_from_json(told: Mapping[str, Any]) -> Query:
    if "terms" not in told:
        return _plain(told)
    terms = tuple(Term(_plain(query), float(weight)) for query, weight in told["terms"])
    return MixedQuery(terms, tuple(told["liked"]), tuple(told["disliked"]))


def _plain(told: Mapping[str, Any]) -> PlainQuery:
    ((kind, value),) = told.items()
    match kind:
        case "text":
            return TextQuery(str(value))
        case "image":
            return ImageQuery(b64decode(value, validate=True))
        case "id":
            return IdQuery(str(value))
        case "vector":
            return VectorQuery([float(number) for number in value])
    raise ValueError(f"no kind of question: {kind}")
