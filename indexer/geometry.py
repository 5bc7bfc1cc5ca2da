"""How features, queries and the index meet: two spaces, one index.

A visual feature x (d,) of unit length is projected into the space shared with words as xP / |xP|. The projection P is
linear, so for a text's embedding t (j,) of unit length

    score(x, t) = (xP)·t / |xP| = x·(Pt) / |xP|

The index finds candidates by x·(Pt) and keeps |xP| beside each row: rescoring costs one division, and `search_joint`
widens until no row outside the candidates can belong to the answer.

A mixture of images alone is made, and scored, in the visual space. As soon as words or a joint vector are in it, it is
made in the joint space, images projected into it. With u_i each part's unit vector in that space and w_i its weight,

    q = sum_i w_i u_i + 0.75 mean(liked) - 0.25 mean(disliked)        score(x) = x·q / |x| |q|

which is a cosine again. The weights of liked and disliked images are those of Rocchio's relevance feedback (Salton and
Buckley, "Improving retrieval performance by relevance feedback", 1990).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InputError, NoTextTower
from indexer.ports import VectorIndex
from indexer.types import Features, Ids, Matrix, Neighbours

# Candidates taken first, as a multiple of k and at least: nearly always enough to be certain at once.
FIRST_FACTOR, FIRST_AT_LEAST = 4, 128
WIDEN_FACTOR = 4
# Relative rounding of float32 scores and norms: a bound is only believed beyond it.
ROUNDING = 1e-5
# Rows are of unit length before they are rounded to float16: each number to 2^-11 of itself.
UNIT_BOUNDS = (1 - 2**-11, 1 + 2**-11)
SPARE = 64

LIKED_WEIGHT, DISLIKED_WEIGHT = 0.75, -0.25


class Part(NamedTuple):
    """One part of a mixture: a vector of the visual space (d,) or of the joint space (j,), of any length but zero."""

    vector: Matrix
    joint: bool
    weight: float = 1.0


class Aim(NamedTuple):
    """What rows are scored against: a unit vector of their own length, or of the joint space, (j,), when `joint`."""

    vector: Matrix
    joint: bool


class Geometry:
    """What a row of the index is, and what a query must be to meet it.

    Args:
        projection: (d, j) float32 from the visual into the joint space; None where there is no joint space.
        space: `visual`: rows are features. `joint`: rows are joint embeddings, smaller, for those who search by words.
        dim: d, needed where there is no projection.

    Raises:
        ValueError: `joint` without a projection, or no dimension.
    """

    def __init__(
        self, projection: Matrix | None, space: Literal["visual", "joint"] = "visual", dim: int | None = None
    ) -> None:
        if projection is None and (space == "joint" or dim is None):
            raise ValueError("without a projection there is a visual space alone, and its dimension must be told")
        self._projection = projection
        self._space = space
        self._dim = dim if projection is None else projection.shape[0]

    @property
    def dims(self) -> tuple[int, int | None]:
        """Length of a visual feature, and of a joint embedding (None: no joint space)."""
        return int(self._dim or 0), None if self._projection is None else self._projection.shape[1]

    @property
    def row_dim(self) -> int:
        """Length of a row of the index."""
        return self.dims[0] if self._space == "visual" else self._joint_dim

    @property
    def space(self) -> Literal["visual", "joint"]:
        return self._space

    @property
    def has_joint(self) -> bool:
        return self._projection is not None

    def rows(self, features: Features) -> tuple[Features, NDArray[np.float32]]:
        """Rows (n, row_dim) float16 for features (n, d), and norms (n,) float32: |xP|, or 1 in the joint space."""
        if self._projection is None:
            return features, np.ones(len(features), np.float32)
        if self._space == "joint":
            return self.joint(features).astype(np.float16), np.ones(len(features), np.float32)
        return features, np.linalg.norm(self._project(features), axis=-1).astype(np.float32)

    def agrees(self, features: Features, rows: Features, norms: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which rows (n, row_dim) and norms (n,) are what `rows` makes of the features (n, d): (n,).

        Copied rows must be equal bit for bit. What BLAS computes depends on the size of the batch in its last bits: a
        projected row may be one step of float16 off, and a norm by its rounding. NaN is equal to nothing.
        """
        expected, lengths = self.rows(features)
        if self._space == "joint":
            step = np.spacing(np.abs(expected)).astype(np.float32)
            same = np.abs(rows.astype(np.float32) - expected.astype(np.float32)) <= step
        else:
            same = np.ascontiguousarray(rows).view(np.uint16) == np.ascontiguousarray(expected).view(np.uint16)
        agree: NDArray[np.bool_] = same.all(axis=1) & (np.abs(norms - lengths) <= ROUNDING * np.abs(lengths))
        return agree

    def joint(self, features: Features | Matrix) -> Matrix:
        """Joint embeddings (n, j) or (j,), unit length, of features (n, d) or (d,)."""
        projected = self._project(features)
        lengths = np.linalg.norm(projected, axis=-1, keepdims=True)
        unit: Matrix = np.divide(projected, lengths, out=np.zeros_like(projected), where=lengths > 0)
        return unit

    def image_query(self, feature: Features | Matrix) -> Matrix:
        """The query (row_dim,) that a feature (d,) puts to the index; its inner products are the scores."""
        return feature.astype(np.float32) if self._space == "visual" else self.joint(feature)

    def aim(self, parts: Sequence[Part]) -> Aim:
        """Where a mixture of one part or more aims; see the top of this file.

        Raises:
            InputError: The parts cancel each other out.
            NoTextTower: A part is joint and there is no joint space.
        """
        joint = self._space == "joint" or any(part.joint for part in parts)
        vectors = np.stack([self.joint(p.vector) if joint and not p.joint else p.vector for p in parts])
        units = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        weights = np.array([part.weight for part in parts], dtype=np.float64)
        mixed = weights @ units
        length = float(np.linalg.norm(mixed))
        if not length > ROUNDING * float(np.abs(weights).sum()):
            raise InputError("the parts of the question cancel each other out; change a weight or leave one out")
        return Aim((mixed / length).astype(np.float32), joint and self._space == "visual")

    def joint_query(self, embedding: Matrix) -> Matrix:
        """The query (row_dim,) of a joint embedding (j,); divide its inner products with rows by their norms."""
        if self._space == "joint":
            return embedding.astype(np.float32)
        if self._projection is None:
            raise NoTextTower(
                "this model has no space shared with words; choose one with a text tower to search by words"
            )
        # Not `@`: BLAS divides a few microseconds' work among threads, and waits for busy cores a hundred times longer.
        query: Matrix = np.vecdot(self._projection, embedding.astype(np.float32))
        return query

    @property
    def _joint_dim(self) -> int:
        assert self._projection is not None
        return int(self._projection.shape[1])

    def _project(self, features: Features | Matrix) -> Matrix:
        if self._projection is None:
            raise NoTextTower("this model has no space shared with words")
        return np.asarray(features.astype(np.float32) @ self._projection, dtype=np.float32)


def search_joint(
    index: VectorIndex, geometry: Geometry, embedding: Matrix, k: int, among: Ids | None = None
) -> Neighbours:
    """The k best rows by joint score for one joint embedding (j,), exactly; ids and scores (1, k), padded."""
    query = geometry.joint_query(embedding)
    depth = max(k * FIRST_FACTOR, FIRST_AT_LEAST)
    return _search(index, query, k, depth, among, index.norms, index.norm_bounds)


def search_rows(index: VectorIndex, query: Matrix, k: int, among: Ids | None = None) -> Neighbours:
    """The k best rows by cosine for one unit query (row_dim,); ids and scores (1, k), padded.

    Rows in float16 are of unit length to their rounding only, and a longer one would seem closer.
    """

    def lengths(ids: Ids) -> NDArray[np.float32]:
        parts = [index.rows(ids[at : at + 4096]).astype(np.float32) for at in range(0, len(ids), 4096)]
        return np.concatenate([np.linalg.norm(part, axis=1) for part in parts] or [np.empty(0, np.float32)])

    return _search(index, query, k, k + SPARE, among, lengths, lambda: UNIT_BOUNDS)


def search_aim(index: VectorIndex, geometry: Geometry, aim: Aim, k: int, among: Ids | None = None) -> Neighbours:
    """The k best rows by cosine with an aim, exactly; ids and scores (1, k), padded, equal scores by lower id."""
    if aim.joint:
        return search_joint(index, geometry, aim.vector, k, among)
    return search_rows(index, aim.vector, k, among)


def _search(
    index: VectorIndex,
    query: Matrix,
    k: int,
    depth: int,
    among: Ids | None,
    lengths: Callable[[Ids], NDArray[np.float32]],
    bounds: Callable[[], tuple[float, float]],
) -> Neighbours:
    """The k best rows by inner product over length, looking at `depth` candidates first.

    A row outside the candidates has an inner product of at most the last candidate's, `floor`; with lengths of `low` to
    `high` its score is at most floor / low (floor / high for a negative one). Once the k-th score clears that, the
    answer is certain; until then the search widens, at last to every row.
    """
    while True:
        found = index.search(query[None, :], depth, among)
        n_found = int(np.count_nonzero(found.ids[0] >= 0))
        ids, products = found.ids[0][:n_found], found.scores[0][:n_found]
        divisors = lengths(ids)
        there = divisors > 0  # not there: removed since, or without a direction in that space
        ids, scores = ids[there], products[there] / divisors[there]
        best = np.lexsort((ids, -scores))[:k]
        if n_found < depth or _certain(bounds(), scores[best], float(products[-1]), k):
            return _padded(ids[best], scores[best], k)
        depth *= WIDEN_FACTOR


def _certain(bounds: tuple[float, float], best: Matrix, floor: float, k: int) -> bool:
    low, high = bounds
    if len(best) < k or low <= 0:
        return False
    ceiling = floor / low if floor > 0 else floor / high
    return bool(best[-1] > ceiling + abs(ceiling) * ROUNDING)


def _padded(ids: Ids, scores: Matrix, k: int) -> Neighbours:
    n = len(ids)
    all_ids, all_scores = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
    all_ids[0, :n], all_scores[0, :n] = ids, scores
    return Neighbours(all_ids, all_scores)
