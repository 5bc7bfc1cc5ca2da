"""The way out: text, image, id or vector -> query vector -> index -> exact scores -> hits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.errors import InputError, NotFound
from indexer.geometry import Geometry, search_joint
from indexer.ports import CatalogueReading, Decoder, Embedder, VectorIndex
from indexer.types import (
    ContentHash,
    EmbeddedImage,
    Embeddings,
    Hit,
    IdQuery,
    Ids,
    ImageQuery,
    ImageRecord,
    Matrix,
    Query,
    SearchResult,
    TextQuery,
    VectorQuery,
    content_hash,
)

# An answer takes this many neighbours more than asked for, to make up for contents removed while it was made.
MARGIN = 16
MAX_DEPTH = 10_000


@dataclass(frozen=True, slots=True)
class _Aim:
    """A query vector and how its candidates are scored: in the joint space or as they are."""

    vector: Matrix  # (dim,) of the index, or (j,) when joint
    joint: bool
    leave_out: int | None = None


class Search:
    """Answers questions from the index and the catalogue; safe from any thread.

    Args:
        embedder, decoder: For what is not a vector yet.
        index, catalogue, geometry: Where the answers are.
        generation: Number of the index's snapshot in force.
    """

    def __init__(
        self,
        embedder: Embedder,
        decoder: Decoder,
        index: VectorIndex,
        catalogue: CatalogueReading,
        geometry: Geometry,
        generation: Callable[[], int],
    ) -> None:
        self._embedder = embedder
        self._decoder = decoder
        self._index = index
        self._catalogue = catalogue
        self._geometry = geometry
        self._generation = generation

    def search(self, query: Query, limit: int, offset: int = 0) -> SearchResult:
        """The `limit` best hits after the first `offset`, best first, equal scores by age of their id.

        Scores are cosines: between visual features for an image, an id or a visual vector; in the joint space for words
        and joint vectors. The image asked for by id is left out of its own answer.

        Raises:
            InputError: The query cannot be used; see its kinds.
            CapacityError: Too much is asked at once.
        """
        if limit < 1 or offset < 0 or limit + offset > MAX_DEPTH:
            raise InputError(f"limit must be at least 1, offset at least 0, and both together at most {MAX_DEPTH}")
        started = time.perf_counter()
        aim = self._aim(query)
        embedded = time.perf_counter()
        count = len(self._index)
        hits = self._hits(aim, limit, offset)
        finished = time.perf_counter()
        return SearchResult(
            hits=hits,
            embed_ms=(embedded - started) * 1e3,
            search_ms=(finished - embedded) * 1e3,
            total_ms=(finished - started) * 1e3,
            count=count,
            generation=self._generation(),
        )

    def embed_images(self, images: Sequence[bytes]) -> list[EmbeddedImage]:
        """Features and joint embeddings of pictures' bytes; raises `ImageRefused` for the first that cannot be used."""
        decoding = [self._decoder.decode(data, urgent=True) for data in images]
        encoding = [self._embedder.embed_image(future.result().pixels, urgent=True) for future in decoding]
        features = [future.result() for future in encoding]
        joint = self._geometry.joint(np.stack(features)) if features and self._geometry.has_joint else None
        return [
            EmbeddedImage(content_hash(data).hex(), feature.astype(np.float32), joint[i] if joint is not None else None)
            for i, (data, feature) in enumerate(zip(images, features, strict=True))
        ]

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Joint embeddings (n, j) of texts; raises `NoTextTower`, and `InputError` for an empty text."""
        if not texts or any(not text.strip() for text in texts):
            raise InputError("a text is empty; say what to look for")
        return self._embedder.embed_texts(texts).result()

    def image(self, id: str) -> ImageRecord:
        """The live image with this id; raises `NotFound`."""
        hash = parse_id(id)
        vector_id = self._catalogue.ids_of([hash]).get(hash)
        record = self._catalogue.images([vector_id]).get(vector_id) if vector_id is not None else None
        if record is None:
            raise NotFound(f"no image has the id {id}")
        return record

    # ------------------------------------------------------------ inside

    def _aim(self, query: Query) -> _Aim:
        match query:
            case TextQuery(text):
                return _Aim(self.embed_texts([text])[0], joint=True)
            case ImageQuery(data):
                return self._aim_at_image(data)
            case IdQuery(id):
                return self._like(self.image(id).vector_id)
            case VectorQuery(vector):
                return self._aim_at(vector)

    def _aim_at_image(self, data: bytes) -> _Aim:
        hash = content_hash(data)
        vector_id = self._catalogue.ids_of([hash]).get(hash)
        row = self._row(vector_id) if vector_id is not None else None
        if row is not None:  # what encoding it would give
            return _Aim(row, joint=False)
        return _Aim(self._geometry.image_query(self.embed_images([data])[0].feature), joint=False)

    def _like(self, vector_id: int) -> _Aim:
        row = self._row(vector_id)
        if row is None:
            raise NotFound("this image is not searchable yet; try again in a moment")
        return _Aim(row, joint=False, leave_out=vector_id)

    def _row(self, vector_id: int) -> Matrix | None:
        """The row (dim,) under an id; None where the index has none."""
        row = self._index.rows(np.array([vector_id], dtype=np.int64))[0].astype(np.float32)
        return row if np.isfinite(row).all() else None

    def _aim_at(self, vector: Sequence[float]) -> _Aim:
        dim, joint_dim = self._geometry.dims
        if len(vector) not in (dim, joint_dim):
            wanted = f"{dim} (visual)" + (f" or {joint_dim} (joint)" if joint_dim else "")
            raise InputError(f"the vector has {len(vector)} numbers; this model's have {wanted}")
        given = np.asarray(vector, dtype=np.float64)
        length = np.linalg.norm(given)
        if not np.isfinite(length) or length == 0:
            raise InputError("the vector must be finite and not zero")
        unit: Matrix = (given / length).astype(np.float32)
        if len(vector) == dim:
            return _Aim(self._geometry.image_query(unit), joint=False)
        return _Aim(unit, joint=True)

    def _hits(self, aim: _Aim, limit: int, offset: int) -> tuple[Hit, ...]:
        """Live hits; if contents died meanwhile, the search is widened until enough are alive or all rows were seen."""
        depth = limit + offset + MARGIN
        while True:
            ids, scores = self._candidates(aim, depth)
            records = self._catalogue.images(ids.tolist())
            alive = [
                (score, records[i])
                for i, score in zip(ids.tolist(), scores.tolist(), strict=True)
                if i in records and i != aim.leave_out
            ]
            if len(alive) >= limit + offset or len(ids) < depth:
                return tuple(_hit(score, record) for score, record in alive[offset : offset + limit])
            depth *= 2

    def _candidates(self, aim: _Aim, k: int) -> tuple[Ids, Matrix]:
        """Ids (n,) and scores (n,), best first, without padding."""
        if aim.joint:
            found = search_joint(self._index, self._geometry, aim.vector, k)
        else:
            found = self._index.search(aim.vector[None, :], k)
        real = found.ids[0] >= 0
        ids, scores = found.ids[0][real], found.scores[0][real]
        return (ids, scores) if aim.joint else self._cosines(aim.vector, ids, scores)

    def _cosines(self, query: Matrix, ids: Ids, products: Matrix) -> tuple[Ids, Matrix]:
        """Candidates by cosine: rows in float16 are of unit length to 1e-4 only, and a longer one would seem closer."""
        lengths = np.linalg.norm(self._index.rows(ids).astype(np.float32), axis=1)
        lengths[~(lengths > 0)] = 1.0  # not a number: removed since, and no answer
        scores = products / lengths / max(float(np.linalg.norm(query)), 1e-9)
        best = np.lexsort((ids, -scores))
        return ids[best], scores[best].astype(np.float32)


def parse_id(id: str) -> ContentHash:
    """The content hash that a public id stands for; raises `NotFound` when it cannot be one."""
    if len(id) != 64 or not set(id) <= set("0123456789abcdef"):
        raise NotFound("an id is 64 hexadecimal digits: the SHA-256 of the image's file")
    return ContentHash(bytes.fromhex(id))


def _hit(score: float, record: ImageRecord) -> Hit:
    return Hit(record.hash.hex(), score, record.paths[0], record.paths, record.info, record.modified_s)
