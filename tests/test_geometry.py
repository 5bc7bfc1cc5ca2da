from contextlib import closing
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import NoTextTower
from indexer.geometry import Geometry, search_joint
from indexer.index.cpu import CpuIndex
from indexer.ports import VectorIndex
from indexer.types import Ids, Matrix, Neighbours
from tests.fakes.index import MemoryIndex

DIM, JOINT = 32, 12


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def draw_features(n: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((max(1, n // 25), DIM))
    return unit(centres[random.integers(0, len(centres), n)] + 0.4 * random.standard_normal((n, DIM))).astype(
        np.float16
    )


def draw_projection(seed: int = 0, decay: float = 0.0) -> np.ndarray:
    """Columns that weaken by `decay`: the more, the more lengths of projected features differ."""
    random = np.random.default_rng(seed)
    return (random.standard_normal((DIM, JOINT)) * np.exp(-decay * np.arange(JOINT))).astype(np.float32)


def draw_texts(n: int, seed: int = 1) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, JOINT)))


def filled(index: VectorIndex, geometry: Geometry, features: np.ndarray) -> np.ndarray:
    ids = np.arange(1, len(features) + 1)
    index.upsert(ids, *geometry.rows(features))
    return ids


def exhaustive(features: np.ndarray, projection: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Every feature's joint score with a text, in float64."""
    joint = features.astype(np.float64) @ projection.astype(np.float64)
    scores: np.ndarray = (joint @ text.astype(np.float64)) / np.linalg.norm(joint, axis=1)
    return scores


def test_dimensions_come_from_the_projection() -> None:
    assert Geometry(draw_projection()).dims == (DIM, JOINT)
    assert Geometry(draw_projection()).row_dim == DIM
    assert Geometry(draw_projection(), "joint").row_dim == JOINT
    assert Geometry(None, dim=7).dims == (7, None)


def test_what_has_no_joint_space_says_so() -> None:
    geometry = Geometry(None, dim=DIM)
    assert not geometry.has_joint
    rows, norms = geometry.rows(draw_features(3))
    assert (norms == 1).all()
    np.testing.assert_array_equal(rows, draw_features(3))
    for ask in (lambda: geometry.joint(rows), lambda: geometry.joint_query(draw_texts(1)[0])):
        with pytest.raises(NoTextTower):
            ask()
    with pytest.raises(ValueError, match="projection"):
        Geometry(None, "joint", dim=DIM)
    with pytest.raises(ValueError, match="dimension"):
        Geometry(None)


def test_visual_rows_are_the_features_and_carry_their_projected_length() -> None:
    features, projection = draw_features(50), draw_projection()
    rows, norms = Geometry(projection).rows(features)
    np.testing.assert_array_equal(rows, features)
    np.testing.assert_allclose(norms, np.linalg.norm(features.astype(float) @ projection, axis=1), rtol=1e-5)
    assert norms.dtype == np.float32


def test_joint_rows_are_unit_embeddings() -> None:
    features, projection = draw_features(50), draw_projection()
    rows, norms = Geometry(projection, "joint").rows(features)
    assert rows.dtype == np.float16
    assert (norms == 1).all()
    np.testing.assert_allclose(np.linalg.norm(rows.astype(float), axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("space", ["visual", "joint"])
def test_an_images_own_row_scores_one(space: str) -> None:
    geometry = Geometry(draw_projection(), space)  # type: ignore[arg-type]
    features = draw_features(20)
    rows, _ = geometry.rows(features)
    scores = [row.astype(float) @ geometry.image_query(feature) for row, feature in zip(rows, features, strict=True)]
    np.testing.assert_allclose(scores, 1, atol=2e-3)


@pytest.mark.parametrize("space", ["visual", "joint"])
def test_a_joint_query_scores_as_the_joint_space_does(space: str) -> None:
    features, projection, text = draw_features(40), draw_projection(), draw_texts(1)[0]
    geometry = Geometry(projection, space)  # type: ignore[arg-type]
    rows, norms = geometry.rows(features)
    scores = rows.astype(float) @ geometry.joint_query(text) / norms
    np.testing.assert_allclose(scores, exhaustive(features, projection, text), atol=1e-3 if space == "joint" else 1e-6)


@pytest.mark.parametrize("make", [MemoryIndex, lambda dim: CpuIndex(dim, threads=1, tile_rows=64, first_rows=64)])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_text_search_is_the_exhaustive_ranking_of_the_joint_space(make: type[MemoryIndex], decay: float) -> None:
    features, projection = draw_features(3000), draw_projection(decay=decay)
    geometry = Geometry(projection)
    with closing(make(DIM)) as index:
        ids = filled(index, geometry, features)
        for text in draw_texts(30):
            found = search_joint(index, geometry, text, 10)
            scores = exhaustive(features, projection, text)
            best = np.argsort(-scores)[:10]
            assert found.ids.shape == (1, 10)
            np.testing.assert_array_equal(found.ids[0], ids[best])
            np.testing.assert_allclose(found.scores[0], scores[best], rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 30),
    decay=st.floats(0, 3),
    turned=st.booleans(),
    share=st.sampled_from([1, 3, 400]),
)
def test_no_row_outside_the_candidates_could_have_been_better(
    seed: int, k: int, decay: float, turned: bool, share: int
) -> None:
    """Also with lengths that differ by orders of magnitude, and with all scores negative."""
    features, projection = draw_features(700, seed), draw_projection(seed, decay)
    text = draw_texts(1, seed)[0]
    scores = exhaustive(features, projection, text)
    kept = scores < 0 if turned and (scores < 0).any() else np.full(len(scores), True)
    features, scores = features[kept], scores[kept]
    geometry, index = Geometry(projection), MemoryIndex(DIM)
    ids = filled(index, geometry, features)
    among = ids[::share]
    found = search_joint(index, geometry, text, k, None if share == 1 else among)
    wanted = np.sort(scores[among - 1])[::-1][:k]
    n = len(wanted)
    np.testing.assert_allclose(found.scores[0, :n], wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores[found.ids[0, :n] - 1], wanted, rtol=1e-4, atol=1e-6)
    assert set(found.ids[0, :n].tolist()) <= set(among.tolist())
    assert (found.ids[0, n:] == -1).all()
    assert np.isneginf(found.scores[0, n:]).all()


def test_equal_joint_scores_come_in_order_of_their_ids() -> None:
    geometry, index = Geometry(draw_projection()), MemoryIndex(DIM)
    filled(index, geometry, np.repeat(draw_features(1), 300, 0))
    assert search_joint(index, geometry, draw_texts(1)[0], 7).ids[0].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_an_empty_index_answers_with_padding() -> None:
    found = search_joint(MemoryIndex(DIM), Geometry(draw_projection()), draw_texts(1)[0], 3)
    assert found.ids.tolist() == [[-1, -1, -1]]
    assert np.isneginf(found.scores).all()


def test_a_row_removed_while_it_is_rescored_is_left_out() -> None:
    class Removing(MemoryIndex):
        def search(self, queries: Matrix, k: int, among: Ids | None = None) -> Neighbours:
            found = super().search(queries, k, among)
            self.remove(np.array([1, 2]))
            return found

    geometry, index = Geometry(draw_projection()), Removing(DIM)
    filled(index, geometry, draw_features(20))
    found = search_joint(index, geometry, draw_texts(1)[0], 20)
    assert not {1, 2} & set(found.ids[0].tolist())
    assert (found.ids[0, :18] > 0).all()


def test_a_feature_without_a_direction_in_the_joint_space_is_never_found_by_words() -> None:
    projection = draw_projection()
    projection[0] = 0
    features = draw_features(10)
    features[3] = 0
    features[3, 0] = 1
    geometry, index = Geometry(projection), MemoryIndex(DIM)
    filled(index, geometry, features)
    found = search_joint(index, geometry, draw_texts(1)[0], 10)
    assert 4 not in found.ids[0]
    assert (geometry.joint(features)[3] == 0).all()


@pytest.mark.parametrize("space", ["visual", "joint"])
def test_rows_agree_with_their_features_and_with_no_others(space: Literal["visual", "joint"]) -> None:
    geometry, features = Geometry(draw_projection(), space), draw_features(40)
    rows, norms = geometry.rows(features)
    assert geometry.agrees(features, rows, norms).all()
    assert not geometry.agrees(np.roll(features, 1, axis=0), rows, norms).any()
    absent = rows.copy()
    absent[3] = np.nan
    assert geometry.agrees(features, absent, norms).tolist() == [i != 3 for i in range(40)]
    off = norms.copy()
    off[5] *= 1.0001
    assert geometry.agrees(features, rows, off).tolist() == [i != 5 for i in range(40)]
    assert geometry.agrees(features[:0], rows[:0], norms[:0]).tolist() == []


def test_a_copied_row_agrees_bit_for_bit_and_a_projected_one_to_its_last_bit() -> None:
    """BLAS rounds a product by the size of its batch."""
    features = draw_features(1)
    for space, steps in (("visual", [True, False, False]), ("joint", [True, True, False])):
        geometry = Geometry(draw_projection(), space)  # type: ignore[arg-type]
        rows, norms = geometry.rows(features)
        for n_steps, agrees in enumerate(steps):
            moved = rows.copy()
            moved.view(np.uint16)[0, 2] += n_steps
            assert geometry.agrees(features, moved, norms)[0] == agrees
