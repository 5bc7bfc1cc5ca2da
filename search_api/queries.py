"""From the wire to the house's queries."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_to_bytes

from indexer.errors import InputError, NotFound
from indexer.types import (
    EVERYWHERE,
    FilePath,
    IdQuery,
    ImageQuery,
    MixedQuery,
    Options,
    PlainQuery,
    Query,
    Range,
    StandingQuery,
    Term,
    TextQuery,
    VectorQuery,
    Where,
)
from indexer.where import Filter
from search_api.bodies import FaultError
from search_api.errors import Fault
from search_api.pictures import from_base64
from search_api.schemas import EmbedTextRequest, SearchRequest, StandingRequest, TermRequest, WhereRequest
from search_api.settings import MAX_TEXT_CHARS, ApiSettings

_HEX = frozenset("0123456789abcdef")


def file_path(query_string: bytes, path: str) -> FilePath:
    """The parameter `path`, byte for byte: names need not be UTF-8.

    Raises:
        FaultError: It is not absolute, or holds a NUL.
    """
    given = [value for key, _, value in (part.partition(b"=") for part in query_string.split(b"&")) if key == b"path"]
    exact = unquote_to_bytes(given[-1].replace(b"+", b" ")) if given else path.encode(errors="replace")
    return absolute_path(exact)


def absolute_path(path: bytes) -> FilePath:
    """The path, if it can be one that is known here.

    Raises:
        FaultError: It is not absolute, or holds a NUL.
    """
    if not path.startswith(b"/") or b"\0" in path:
        raise FaultError([Fault("path", "It must be absolute, and without NUL.")])
    return FilePath(path)


def unescaped(path: FilePath) -> FilePath:
    r"""The path with `\xff` and its like, as answers show bytes that are not UTF-8, turned back into bytes."""
    return FilePath(re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), path))


def image_id(id: str) -> str:
    """The id, if it can be one; what cannot be an id names no image."""
    if len(id) != 64 or not _HEX.issuperset(id):
        raise NotFound("No image has this id; an id is 64 hexadecimal digits, in lower case.")
    return id


def query_of(asked: SearchRequest, dims: tuple[int, int | None], settings: ApiSettings) -> Query:
    """The one question that a request asks.

    Raises:
        FaultError: Not exactly one, or a value that cannot be used.
        ImageRefused: A picture in it is empty or too large.
    """
    given = [name for name in ("text", "image", "id", "vector", "query") if getattr(asked, name) is not None]
    liked, disliked = tuple(asked.liked or ()), tuple(asked.disliked or ())
    if len(given) > 1 or not (given or liked or disliked):
        raise FaultError(
            [
                Fault(
                    "",
                    f"Give exactly one of text, image, id, vector and query; this has {' and '.join(given) or 'none'}.",
                )
            ]
        )
    if asked.query is not None:
        terms = [Term(_plain(term, f"query[{i}]", dims, settings), term.weight) for i, term in enumerate(asked.query)]
    elif given:
        terms = [Term(_plain(asked, "", dims, settings))]
    else:
        terms = []
    if len(terms) == 1 and terms[0].weight > 0 and not (liked or disliked):
        return terms[0].query
    if not (any(term.weight for term in terms) or liked or disliked):
        raise FaultError([Fault("query", "Every weight is zero, so there is nothing to look for.")])
    return MixedQuery(tuple(terms), liked, disliked)


def pictures_of(asked: SearchRequest, settings: ApiSettings) -> Iterator[tuple[str, bytes]]:
    """Every picture of a question that `query_of` took, and where it stands."""
    for i, term in enumerate(asked.query or ()):
        if term.image is not None:
            yield f"query[{i}].image", from_base64(term.image, settings.max_body_bytes)
    if asked.image is not None:
        yield "image", from_base64(asked.image, settings.max_body_bytes)


def _plain(
    asked: SearchRequest | TermRequest, where: str, dims: tuple[int, int | None], settings: ApiSettings
) -> PlainQuery:
    """The one thing to look for, in a request or in a part of its mixture."""
    ways = [name for name in ("text", "image", "id", "vector") if getattr(asked, name) is not None]
    if len(ways) != 1:
        found = " and ".join(ways) or "none"
        raise FaultError([Fault(where, f"Give exactly one of text, image, id and vector; this has {found}.")])
    field = f"{where}.{ways[0]}" if where else ways[0]
    if asked.text is not None:
        return TextQuery(words(asked.text, field))
    if asked.image is not None:
        return ImageQuery(from_base64(asked.image, settings.max_body_bytes, field))
    if asked.id is not None:
        return IdQuery(asked.id)
    assert asked.vector is not None
    return VectorQuery(direction(asked.vector, dims, field))


def options_of(asked: SearchRequest) -> Options:
    """How a request wants its answer narrowed and arranged; raises `FaultError`."""
    return Options(
        where=EVERYWHERE if asked.where is None else where_of(asked.where),
        exclude_ids=tuple(asked.exclude_ids or ()),
        cursor=asked.cursor,
        score_threshold=asked.score_threshold,
        cut=asked.cut == "auto",
        diversity=asked.diversity,
        fold_near=asked.collapse == "near",
        with_vectors=asked.with_vector,
    )


def standing_of(asked: StandingRequest, dims: tuple[int, int | None], settings: ApiSettings) -> StandingQuery:
    """The question that is to stand.

    Raises:
        FaultError: It cannot be used, or has what only pages of an answer have.
    """
    question = asked.question
    plain = SearchRequest()
    for name in ("limit", "offset", "cursor", "cut", "diversity", "collapse", "with_vector"):
        if getattr(question, name) != getattr(plain, name):
            raise FaultError([Fault(f"question.{name}", "A question that stands has no pages; leave it out.")])
    threshold = question.score_threshold
    options = options_of(question)
    return StandingQuery(
        query=query_of(question, dims, settings),
        threshold=math.nan if threshold is None else threshold,
        name=asked.name or question.text or "",
        where=options.where,
        exclude_ids=options.exclude_ids,
        webhook=asked.webhook,
    )


def where_of(asked: WhereRequest) -> Where:
    """The filter that a request asks for; raises `FaultError`."""
    where = Where(
        path=_patterns(asked.path),
        not_path=_patterns(asked.not_path),
        modified_ns=Range(_moment_ns(asked.modified_from, "from"), _moment_ns(asked.modified_to, "to")),
        width_px=Range(asked.width_min, asked.width_max),
        height_px=Range(asked.height_min, asked.height_max),
        megapixels=Range(asked.megapixels_min, asked.megapixels_max),
        aspect=Range(asked.aspect_min, asked.aspect_max),
        size_bytes=Range(asked.size_min_bytes, asked.size_max_bytes),
        format=tuple(asked.format or ()),
    )
    try:
        Filter(where)
    except InputError as e:
        field, _, message = str(e).partition(": ")
        raise FaultError([Fault(field, message)]) from e
    return where


def _patterns(given: str | list[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def _moment_ns(text: str | None, end: str) -> int | None:
    """A date or time, nanoseconds since the epoch; of what a whole day or microsecond is, its first or last."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        first_us = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as e:
        message = f"{text!r} is no date or time; write 2025-01-31 or 2025-01-31T12:00:00Z."
        raise FaultError([Fault(f"where.modified_{end}", message)]) from e
    if end == "from":
        return first_us * 1000
    last_us = first_us + (86_400_000_000 if len(text) <= 10 else 1)
    return last_us * 1000 - 1


def texts_of(asked: EmbedTextRequest, settings: ApiSettings) -> list[str]:
    """The texts to embed."""
    if (asked.text is None) == (asked.texts is None):
        raise FaultError([Fault("", "Give exactly one of text and texts.")])
    texts = [asked.text] if asked.text is not None else asked.texts or []
    if len(texts) > settings.max_texts:
        raise FaultError([Fault("texts", f"{len(texts)} texts came, {settings.max_texts} are allowed.")])
    return [words(text, f"texts[{i}]" if asked.text is None else "text") for i, text in enumerate(texts)]


def words(text: str, field: str) -> str:
    """The text, if there are words in it, and no more than any model reads well."""
    if len(text) > MAX_TEXT_CHARS:
        raise FaultError([Fault(field, f"A text may have {MAX_TEXT_CHARS} characters.")])
    if not text.strip():
        raise FaultError([Fault(field, "There are no words in this text.")])
    return text


def direction(vector: list[float], dims: tuple[int, int | None], field: str = "vector") -> list[float]:
    """The vector at unit length. Scaling before squaring keeps the largest and the smallest numbers in range."""
    visual, joint = dims
    if len(vector) not in dims:
        also = "" if joint is None else f" or {joint} (joint)"
        raise FaultError([Fault(field, f"It has {len(vector)} numbers; this model takes {visual} (visual){also}.")])
    largest = max(map(abs, vector))
    if not math.isfinite(largest) or largest == 0.0:
        raise FaultError([Fault(field, "Its numbers must be finite, and not all zero.")])
    scaled = [x / largest for x in vector]
    norm = math.hypot(*scaled)
    return [x / norm for x in scaled]
