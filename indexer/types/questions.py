"""Questions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from indexer.types.arrays import Ids, Matrix
from indexer.types.files import FilePath
from indexer.types.images import ImageInfo
from indexer.types.records import ImageRecord


class Neighbours(NamedTuple):
    """What a search in the index found: (q, k) each, best first, ties by lower id, padded with id -1 and score -inf."""

    ids: Ids
    scores: Matrix


@dataclass(frozen=True, slots=True)
class TextQuery:
    """Words to look for."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """A picture's file, whole, to look for its like."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdQuery:
    """More like an indexed image: `id` is the hex content hash."""

    id: str


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A vector of the visual space (d,) or of the joint space (j,), told apart by length; normalised on arrival."""

    vector: Sequence[float] = field(repr=False)


PlainQuery: TypeAlias = TextQuery | ImageQuery | IdQuery | VectorQuery


class Term(NamedTuple):
    """One part of a mixture; what weighs less than nothing is to be unlike."""

    query: PlainQuery
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class MixedQuery:
    """Several questions in one, and indexed images (by id) that were liked or disliked; see `indexer.geometry`."""

    terms: tuple[Term, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()


Query: TypeAlias = PlainQuery | MixedQuery


class Range(NamedTuple):
    """From `least` to `most`, both included; None is no bound."""

    least: float | None = None
    most: float | None = None


ANY = Range()
"""No bound at either end."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which images may be answered: all of it must hold. See `indexer.where` for patterns of paths.

    An image has several paths when several files hold it: one of them must fit `path`, `not_path` and `modified_ns`.

    Attributes:
        path: Patterns; one of them must match. Empty: any path.
        not_path: Patterns of which none may match.
        modified_ns: Time of the file, nanoseconds since the epoch.
        width_px, height_px, size_bytes: Of the picture, EXIF-upright, and of its file.
        megapixels: Width x height / 1,000,000.
        aspect: Width / height.
        format: Names such as `jpeg`, upper or lower case; empty: any.
    """

    path: tuple[str, ...] = ()
    not_path: tuple[str, ...] = ()
    modified_ns: Range = ANY
    width_px: Range = ANY
    height_px: Range = ANY
    megapixels: Range = ANY
    aspect: Range = ANY
    size_bytes: Range = ANY
    format: tuple[str, ...] = ()


EVERYWHERE = Where()
"""Every image."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an answer is narrowed and arranged, besides its limit and offset.

    Attributes:
        where: Which images may be answered.
        exclude_ids: Images that may not.
        cursor: Go on after the answer that gave this; instead of an offset.
        score_threshold: Least score of a hit.
        cut: End where hits stop being better than chance.
        diversity: 0 ranks by score alone, 1 by unlikeness to what was chosen before alone.
        fold_near: Fold near-duplicates into the best of them.
        with_vectors: Have each hit's row of the index told.
    """

    where: Where = EVERYWHERE
    exclude_ids: tuple[str, ...] = ()
    cursor: str | None = None
    score_threshold: float | None = None
    cut: bool = False
    diversity: float = 0.0
    fold_near: bool = False
    with_vectors: bool = False


PLAIN = Options()
"""By score alone, out of all images."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: `score` is the cosine, higher is better.

    Attributes:
        path: The first of `paths`; those that fit the filter come first.
        modified_s: The newest time of those paths, seconds since the epoch.
        relevance: 0 to 1, how much better than chance; None where it is not known.
        n_alike: Near-duplicates folded into this one.
        vector: Its row of the index at unit length, (row_dim,), if it was asked for.
    """

    id: str
    score: float
    path: FilePath
    paths: tuple[FilePath, ...]
    info: ImageInfo
    modified_s: float
    relevance: float | None = None
    n_alike: int = 0
    vector: Matrix | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and what the answer was made from. Times are in milliseconds."""

    hits: tuple[Hit, ...]
    embed_ms: float
    search_ms: float
    total_ms: float
    count: int
    """Rows in the index when it was searched."""
    generation: int
    cursor: str | None = None
    """Where the next page begins; None at the end."""
    cut_score: float | None = None
    """Where hits stop being better than chance; None where that is not known."""
    matching: int | None = None
    """Images that pass the filter; None without one."""


@dataclass(frozen=True, slots=True)
class StandingQuery:
    """A question that stands: what becomes searchable and matches it is told.

    Attributes:
        query: What is looked for.
        threshold: Least score of a match; NaN in a new one leaves it to what is indexed.
        name: For people.
        where: Which images may match.
        exclude_ids: Images that may not.
        webhook: Address that matches are also sent to.
        secret: Signs what is sent there.
        created_at: Seconds since the epoch.
        n_matches: Told since then.
    """

    query: Query = field(repr=False)
    threshold: float
    name: str
    where: Where = EVERYWHERE
    exclude_ids: tuple[str, ...] = ()
    webhook: str | None = None
    id: str = ""
    secret: str | None = field(default=None, repr=False)
    created_at: float = 0.0
    n_matches: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A new image that a standing query, by id and name, means."""

    standing_id: str
    name: str
    score: float
    image: ImageRecord
