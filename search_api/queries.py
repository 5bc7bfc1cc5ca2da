"""From the wire to the house's queries."""

from __future__ import annotations

import math
import re
from urllib.parse import unquote_to_bytes

from indexer.errors import NotFound
from indexer.types import FilePath, IdQuery, ImageQuery, Query, TextQuery, VectorQuery
from search_api.bodies import FaultError
from search_api.errors import Fault
from search_api.pictures import from_base64
from search_api.schemas import EmbedTextRequest, SearchRequest
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
        ImageRefused: The picture in it is empty or too large.
    """
    ways = {name: value for name in ("text", "image", "id", "vector") if (value := getattr(asked, name)) is not None}
    if len(ways) != 1:
        given = " and ".join(ways) or "none"
        raise FaultError([Fault("", f"Give exactly one of text, image, id and vector; this has {given}.")])
    if asked.text is not None:
        return TextQuery(words(asked.text, "text"))
    if asked.image is not None:
        return ImageQuery(from_base64(asked.image, settings.max_body_bytes))
    if asked.id is not None:
        return IdQuery(asked.id)
    assert asked.vector is not None
    return VectorQuery(direction(asked.vector, dims))


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
