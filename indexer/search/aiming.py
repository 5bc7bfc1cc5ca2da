"""From a question to what rows are scored against."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.errors import InputError, NotFound
from indexer.geometry import DISLIKED_WEIGHT, LIKED_WEIGHT, Aim, Geometry, Part
from indexer.ports import CatalogueReading, VectorIndex
from indexer.search.embedding import Embedding
from indexer.types import (
    ContentHash,
    IdQuery,
    ImageQuery,
    ImageRecord,
    Matrix,
    MixedQuery,
    Query,
    Term,
    TextQuery,
    VectorQuery,
    content_hash,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question comes to; images that it names by id, `named`, are no answer to it; `worded`: words are in it."""

    aim: Aim
    named: frozenset[int]
    worded: bool


class Aiming:
    """Makes aims of questions; safe from any thread."""

    def __init__(
        self, embedding: Embedding, index: VectorIndex, catalogue: CatalogueReading, geometry: Geometry
    ) -> None:
        self._embedding = embedding
        self._index = index
        self._catalogue = catalogue
        self._geometry = geometry

    def of(self, query: Query) -> Asked:
        """The aim of a question.

        Raises:
            InputError: The question cannot be used; see its kinds.
            CapacityError: Too much is asked at once.
        """
        terms = _terms(query)
        if not all(np.isfinite(term.weight) for term in terms) or not any(term.weight for term in terms):
            raise InputError("a question needs something to look for, and weights that are finite and not all zero")
        named: set[int] = set()
        texts = [term.query.text for term in terms if isinstance(term.query, TextQuery)]
        by_text = dict(zip(texts, self._embedding.asked_texts(texts), strict=True)) if texts else {}
        pictures = self._pictures([term.query.data for term in terms if isinstance(term.query, ImageQuery)])
        parts, worded = [], bool(texts)
        for each, weight in terms:
            match each:
                case TextQuery(text):
                    parts.append(Part(by_text[text], True, weight))
                case ImageQuery(data):
                    parts.append(pictures[content_hash(data)]._replace(weight=weight))
                case IdQuery(id):
                    vector_id = self.image(id).vector_id
                    parts.append(self._like(vector_id)._replace(weight=weight))
                    named.add(vector_id)
                case VectorQuery(vector):
                    parts.append(self._along(vector)._replace(weight=weight))
                    worded |= parts[-1].joint
        return Asked(self._geometry.aim(parts), frozenset(named), worded)

    def image(self, id: str) -> ImageRecord:
        """The live image with this id; raises `NotFound`."""
        hash = parse_id(id)
        vector_id = self._catalogue.ids_of([hash]).get(hash)
        record = self._catalogue.images([vector_id]).get(vector_id) if vector_id is not None else None
        if record is None:
            raise NotFound(f"no image has the id {id}")
        return record

    def _pictures(self, images: Sequence[bytes]) -> dict[ContentHash, Part]:
        """Parts by content. What is indexed has a row already: what encoding it would give."""
        data = {content_hash(each): each for each in images}
        ids = self._catalogue.ids_of(list(data))
        rows = {hash: row for hash, id in ids.items() if (row := self._row(id)) is not None}
        new = [hash for hash in data if hash not in rows]
        features = self._embedding.asked_features([data[hash] for hash in new]) if new else []
        return rows | {hash: Part(feature, False) for hash, feature in zip(new, features, strict=True)}

    def _like(self, vector_id: int) -> Part:
        row = self._row(vector_id)
        if row is None:
            raise NotFound("this image is not searchable yet; try again in a moment")
        return row

    def _row(self, vector_id: int) -> Part | None:
        """The row under an id, as a part; None where the index has none."""
        row = self._index.rows(np.array([vector_id], dtype=np.int64))[0].astype(np.float32)
        return Part(row, self._geometry.space == "joint") if np.linalg.norm(row) > 0 else None

    def _along(self, vector: Sequence[float]) -> Part:
        dim, joint_dim = self._geometry.dims
        if len(vector) not in (dim, joint_dim):
            wanted = f"{dim} (visual)" + (f" or {joint_dim} (joint)" if joint_dim else "")
            raise InputError(f"the vector has {len(vector)} numbers; this model's have {wanted}")
        given = np.asarray(vector, dtype=np.float64)
        length = np.linalg.norm(given)
        if not np.isfinite(length) or length == 0:
            raise InputError("the vector must be finite and not zero")
        unit: Matrix = (given / length).astype(np.float32)
        return Part(unit, len(vector) != dim)


def _terms(query: Query) -> tuple[Term, ...]:
    if not isinstance(query, MixedQuery):
        return (Term(query),)
    liked = [Term(IdQuery(id), LIKED_WEIGHT / len(query.liked)) for id in query.liked]
    disliked = [Term(IdQuery(id), DISLIKED_WEIGHT / len(query.disliked)) for id in query.disliked]
    return (*query.terms, *liked, *disliked)


def names(query: Query) -> list[tuple[str, str, float]]:
    """A question in few words: equal for equal questions only."""
    said = []
    for each, weight in _terms(query):
        match each:
            case TextQuery(text):
                said.append(("text", text, weight))
            case ImageQuery(data):
                said.append(("image", content_hash(data).hex(), weight))
            case IdQuery(id):
                said.append(("id", id, weight))
            case VectorQuery(vector):
                said.append(("vector", hashlib.sha256(array("d", vector).tobytes()).hexdigest(), weight))
    return said


def parse_id(id: str) -> ContentHash:
    """The content hash that a public id stands for; raises `NotFound` when it cannot be one."""
    if len(id) != 64 or not set(id) <= set("0123456789abcdef"):
        raise NotFound("an id is 64 hexadecimal digits: the SHA-256 of the image's file")
    return ContentHash(bytes.fromhex(id))
