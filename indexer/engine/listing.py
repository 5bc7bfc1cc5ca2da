"""When the index is searched through lists, and measuring what that brings on the user's own images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from indexer.config import Config
from indexer.errors import InputError, NoTextTower
from indexer.geometry import Geometry
from indexer.ports import Embedder, VectorIndex
from indexer.types import Ids, IndexEvaluation, IndexTuning, Matrix

FEW_ROWS = 10_000
"""Fewer are searched exactly though lists are asked for: that takes a millisecond."""
LARGE_BYTES = 1 << 30
"""Rows beyond this are searched through lists on a CPU unless the configuration or a tuning says otherwise: reading
them all takes some 30 milliseconds. A GPU reads them in less than one."""

_N_HELD_OUT = 256

# What people ask for. Words lie elsewhere than pictures do, so lists that find pictures need not find these.
_WORDS = (
    "a dog", "a cat on a sofa", "a child laughing", "two people", "a crowd in a street", "a portrait of a woman",
    "a man with a hat", "a birthday party", "a wedding", "food on a plate", "a cup of coffee", "fruit", "a red car",
    "a bicycle", "a train", "an aeroplane in the sky", "a boat on a lake", "the sea", "a beach at sunset", "mountains",
    "snow", "a forest in autumn", "a flower", "a garden", "a bird", "a horse in a field", "a city at night",
    "an old building", "a bridge", "a kitchen", "a living room", "a computer screen", "a document with text", "a map",
    "a drawing", "a painting", "black and white", "something blue", "a close-up", "a blurred picture", "a sports match",
    "a swimming pool", "a stage with lights", "a church", "a market", "rain", "fireworks", "a museum",
)  # fmt: skip


def exactly(config: Config) -> Config:
    """The same settings with exact searches."""
    return config.model_copy(update={"index": config.index.model_copy(update={"kind": "exact"})})


def beside_lists(
    config: Config, tuned: IndexTuning | None, embedder: Embedder, geometry: Geometry, rows: VectorIndex, device: str
) -> VectorIndex:
    """The index that a service searches: the rows themselves, or lists beside them."""
    wanted = _wanted(config, tuned, rows.dim, device)
    if wanted is None:
        return rows
    from indexer.index.approximate import ApproximateIndex

    recall, least_rows = wanted
    return ApproximateIndex(rows, recall, least_rows, partial(words, embedder, geometry))


def _wanted(config: Config, tuned: IndexTuning | None, dim: int, device: str) -> tuple[float, int] | None:
    """Recall, and from how many rows; None for exact searches."""
    if config.index.kind == "exact":
        return None
    if config.index.kind == "lists":
        return config.index.recall, FEW_ROWS
    if tuned is not None:
        return (tuned.recall, max(FEW_ROWS, tuned.n_rows // 2)) if tuned.chosen.n_probe else None
    if device.startswith("cuda"):
        return None
    return config.index.recall, LARGE_BYTES // (2 * dim)


def words(embedder: Embedder, geometry: Geometry) -> Matrix | None:
    """Queries (q, dim) that common words put to the index; None where the model knows none."""
    try:
        embeddings = embedder.embed_texts(_WORDS).result()
        return np.stack([geometry.joint_query(embedding) for embedding in embeddings])
    except NoTextTower:
        return None


def measure_lists(rows: VectorIndex, queries: Matrix | None, recall: float, fingerprint: str) -> IndexTuning:
    """Measure exact searches and ever wider looks through lists, on held-out rows and on other queries.

    Raises:
        InputError: There are too few rows to make lists of.
    """
    from indexer.index import operating
    from indexer.index.approximate import begun, enter, exams

    ids = _enough(rows)
    lists, held_out = begun(rows, ids, _N_HELD_OUT)
    enter(rows, lists, ids)
    groups = exams(rows, held_out, queries)
    exact = operating.timed(lambda query: rows.search(query, operating.K + 1), groups[0])
    points = (exact, *operating.points(rows, lists, groups))
    chosen = operating.choose(points, recall) or exact
    return IndexTuning(fingerprint, recall, len(ids), lists.n_lists, points, chosen)


def compare_lists(
    rows: VectorIndex, queries: Matrix | None, recall: float, sample: int, fingerprint: str
) -> IndexEvaluation:
    """Hold searches through lists, made and used as a service does, against exact ones.

    The images asked about, up to `sample`, are others than those that tell how widely to look. Where no look has the
    recall that is wanted, and a service would search exactly, the widest is measured.

    Raises:
        InputError: There are too few rows to make lists of.
    """
    from indexer.index import operating
    from indexer.index.approximate import begun, enter, exams

    ids = _enough(rows)
    lists, held_out = begun(rows, ids, _N_HELD_OUT + min(sample, len(ids) // 4))
    enter(rows, lists, ids)
    points = list(operating.points(rows, lists, exams(rows, held_out[:_N_HELD_OUT], queries)))
    chosen = operating.choose(points, recall) or max(points, key=lambda point: point.sure_recall)
    how = (chosen.n_probe, chosen.factor)
    look = partial(operating.ask, rows, lists, k=operating.K + 1, how=how, beside=np.empty(0, np.int64))
    images, *words = exams(rows, held_out[_N_HELD_OUT:], queries)
    exact = operating.timed(lambda query: rows.search(query, operating.K + 1), images)
    found, *others = [
        replace(operating.timed(look, exam), n_probe=how[0], factor=how[1], n_bytes=rows.n_bytes + lists.n_bytes)
        for exam in (images, *words)
    ]
    return IndexEvaluation(
        fingerprint, "lists", len(ids), len(images.queries), lists.n_lists, replace(exact, n_bytes=rows.n_bytes),
        found, next(iter(others), None),
    )  # fmt: skip


def _enough(rows: VectorIndex) -> Ids:
    """The rows' ids, if lists can be made of them."""
    ids = rows.ids()
    if len(ids) < 2 * _N_HELD_OUT:
        raise InputError(
            f"only {len(ids)} images are indexed; an exact search of fewer than {FEW_ROWS:,} is fast as it is"
        )
    return ids
