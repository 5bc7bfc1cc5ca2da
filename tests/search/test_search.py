from __future__ import annotations

import numpy as np
import pytest

from indexer.errors import InputError, NotFound
from indexer.search.ranking import MARGIN
from indexer.types import (
    FilePath,
    Found,
    Gone,
    IdQuery,
    ImageInfo,
    ImageQuery,
    Stamp,
    TextQuery,
    VectorQuery,
    content_hash,
)
from tests.search.world import N, World


@pytest.fixture(scope="module", params=["visual", "joint"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
def visual() -> World:
    return World()


def test_every_image_is_its_own_top_hit(world: World) -> None:
    for i, data in enumerate(world.data):
        hit = world.search.search(ImageQuery(data), limit=1).hits[0]
        assert hit.id == world.id(i)
        assert hit.score == pytest.approx(1.0, abs=2e-3)


def test_an_image_is_its_own_top_hit_though_a_rounded_row_beside_it_is_longer(visual: World) -> None:
    own, other = visual.ids[3], visual.ids[4]
    row = visual.index.rows(np.array([own]))[0].astype(np.float32)
    longer = (1.002 * row).astype(np.float16)
    longer[0] += np.float16(1e-3)
    rows, norms = visual.geometry.rows(np.stack([row.astype(np.float16), longer]))
    visual.index.upsert(np.array([own, other]), rows, norms)
    first, second = visual.search.search(ImageQuery(visual.data[3]), limit=2).hits
    assert (first.id, second.id) == (visual.id(3), visual.id(4))
    assert second.score < first.score == pytest.approx(1.0, abs=1e-5)


def test_words_are_ranked_exactly_as_the_whole_joint_space_ranks_them(world: World) -> None:
    for text in ("a red circle", "two stars", "night"):
        query = world.search.embed_texts([text])[0].astype(np.float64)
        scores = world.joint() @ query
        best = np.argsort(-scores)[:10]
        hits = world.search.search(TextQuery(text), limit=10).hits
        assert [hit.id for hit in hits] == [world.id(i) for i in best]
        assert np.allclose([hit.score for hit in hits], scores[best], atol=2e-3)


def test_an_image_asked_for_by_id_is_left_out_of_its_own_answer(world: World) -> None:
    hits = world.search.search(IdQuery(world.id(3)), limit=N).hits
    assert len(hits) == N - 1
    assert world.id(3) not in {hit.id for hit in hits}


def test_a_vector_is_taken_by_its_length_and_normalised(world: World) -> None:
    feature = world.features[5].astype(float) * 3.0
    visual = world.search.search(VectorQuery(feature.tolist()), limit=1).hits[0]
    joint = world.search.search(VectorQuery(world.joint()[5].tolist()), limit=1).hits[0]
    assert visual.id == joint.id == world.id(5)
    assert visual.score == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(
    ("vector", "said"),
    [([1.0] * 5, "16 (visual) or 6 (joint)"), ([0.0] * 16, "not zero"), ([float("nan")] * 16, "finite")],
)
def test_a_vector_that_cannot_be_used_is_refused_by_name(visual: World, vector: list[float], said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        visual.search.search(VectorQuery(vector), limit=1)


def test_pages_join_without_gap_or_overlap(world: World) -> None:
    whole = [hit.id for hit in world.search.search(TextQuery("boat"), limit=N).hits]
    paged = [hit.id for offset in range(0, N, 7) for hit in world.search.search(TextQuery("boat"), 7, offset).hits]
    assert len(whole) == N
    assert paged == whole


def test_dead_rows_are_never_answered_and_are_made_up_for(visual: World) -> None:
    best = visual.search.search(TextQuery("boat"), limit=N).hits
    dead = best[: MARGIN + 5]  # more than the margin: the search must widen
    visual.catalogue.commit([Gone(hit.path) for hit in dead])
    hits = visual.search.search(TextQuery("boat"), limit=5).hits
    assert [hit.id for hit in hits] == [hit.id for hit in best[MARGIN + 5 : MARGIN + 10]]


def test_all_paths_of_a_content_are_told(visual: World) -> None:
    visual.catalogue.commit(
        [Found(FilePath(b"/w/copy"), Stamp(1, 999, 1, 1, 1), content_hash(visual.data[0]), ImageInfo("png", 8, 8, 9))]
    )
    hit = visual.search.search(ImageQuery(visual.data[0]), limit=1).hits[0]
    assert hit.paths == (b"/w/0", b"/w/copy")
    assert hit.path == b"/w/0"


def test_an_answer_tells_what_it_was_made_from(visual: World) -> None:
    result = visual.search.search(TextQuery("boat"), limit=1)
    assert (result.count, result.generation) == (N, 7)
    assert 0 <= result.embed_ms + result.search_ms <= result.total_ms * 1.001


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (-1, 0), (1, -1), (10_000, 1)])
def test_limits_out_of_range_are_refused(visual: World, limit: int, offset: int) -> None:
    with pytest.raises(InputError, match="limit"):
        visual.search.search(TextQuery("boat"), limit, offset)


@pytest.mark.parametrize("id", ["", "xyz", "A" * 64, "../" * 10, "0" * 63])
def test_an_id_that_cannot_be_one_is_not_found(visual: World, id: str) -> None:
    with pytest.raises(NotFound):
        visual.search.search(IdQuery(id), 1)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(visual: World, text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        visual.search.search(TextQuery(text), 1)


def test_an_empty_index_answers_with_no_hits() -> None:
    world = World()
    world.catalogue.commit([Gone(FilePath(b"/w/%d" % i)) for i in range(N)])
    world.index.remove(world.ids)
    assert world.search.search(TextQuery("boat"), 10).hits == ()
    assert world.search.search(ImageQuery(b"new"), 10).hits == ()
