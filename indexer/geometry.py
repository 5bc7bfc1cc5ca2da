"""How features, queries and the index meet: two spaces, one index.

A visual feature x (d,) of unit length is projected into the space shared with words as xP / |xP|. The projection P is
linear, so for a text's embedding t (j,) of unit length

    score(x, t) = (xP)·t / |xP| = x·(Pt) / |xP|

The index finds candidates by x·(Pt) and keeps |xP| beside each row: rescoring costs one division, and `search_joint`
widens until no row outside the candidates can belong to the answer.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexer.errors import NoTextTower
from indexer.ports import VectorIndex
from indexer.types import Features, Ids, Matrix, Neighbours

# Candidates taken first, as a multiple of k and at least: nearly always enough to be certain at once.
FIRST_FACTOR, FIRST_AT_LEAST = 4, 128
WIDEN_FACTOR = 4
# Relative rounding of float32 scores and norms: a bound is only believed beyond it.
ROUNDING = 1e-5


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
    """The k best rows by joint score for one joint embedding (j,), exactly; ids and scores (1, k), padded.

    A row outside the candidates has an inner product of at most the last candidate's, `floor`; with norms of `low` to
    `high` its joint score is at most floor / low (floor / high for a negative one). Once the k-th score clears that,
    the answer is certain; until then the search widens, at last to every row.
    """
    query = geometry.joint_query(embedding)[None, :]
    depth = max(k * FIRST_FACTOR, FIRST_AT_LEAST)
    while True:
        found = index.search(query, depth, among)
        n_found = int(np.count_nonzero(found.ids[0] >= 0))
        ids, products = found.ids[0][:n_found], found.scores[0][:n_found]
        norms = index.norms(ids)
        there = norms > 0  # not there: removed since, or without a direction in the joint space
        ids, scores = ids[there], products[there] / norms[there]
        best = np.lexsort((ids, -scores))[:k]
        if n_found < depth or _certain(index, scores[best], float(products[-1]), k):
            return _padded(ids[best], scores[best], k)
        depth *= WIDEN_FACTOR


def _certain(index: VectorIndex, best: Matrix, floor: float, k: int) -> bool:
    low, high = index.norm_bounds()
    if len(best) < k or low <= 0:
        return False
    ceiling = floor / low if floor > 0 else floor / high
    return bool(best[-1] > ceiling + abs(ceiling) * ROUNDING)


def _padded(ids: Ids, scores: Matrix, k: int) -> Neighbours:
    n = len(ids)
    all_ids, all_scores = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
    all_ids[0, :n], all_scores[0, :n] = ids, scores
    return Neighbours(all_ids, all_scores)
