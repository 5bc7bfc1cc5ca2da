"""Calibrated relevance: what chance gives, learnt from the index itself."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.geometry import Geometry, Part
from indexer.search.relevance import N_LEAST, N_SAMPLE, Background, Chance
from indexer.types import ImageQuery, Options, TextQuery, Where
from tests.fakes.index import MemoryIndex
from tests.search.world import N, World

DIM = 24


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def filled(features: np.ndarray, projection: np.ndarray | None = None) -> tuple[MemoryIndex, Geometry]:
    geometry = Geometry(projection, dim=DIM)
    index = MemoryIndex(DIM)
    index.upsert(np.arange(1, len(features) + 1), *geometry.rows(features.astype(np.float16)))
    return index, geometry


def noise(n: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((n, DIM)))


def test_chance_is_what_scores_of_unlike_images_look_like() -> None:
    index, geometry = filled(noise(900))
    aim = geometry.aim([Part(noise(1, 7)[0], False)])
    chance = Background(index, geometry).chance(aim, worded=False)
    assert chance is not None
    scores = noise(900) @ aim.vector
    assert chance.centre == pytest.approx(np.median(scores), abs=1e-3)
    assert chance.spread == pytest.approx(DIM**-0.5, rel=0.15)
    for share in (0.1, 0.5, 0.9, 0.99):
        assert chance.relevance(float(np.quantile(scores, share))) == pytest.approx(share, abs=0.05)


def test_the_answers_themselves_hardly_move_what_chance_is() -> None:
    query = noise(1, 7)[0]
    with_answers = noise(900)
    with_answers[:90] = unit(query + 0.3 * noise(90, 3))
    plain, mixed = (
        Background(*filled(features)).chance(Geometry(None, dim=DIM).aim([Part(query, False)]), worded=False)
        for features in (noise(900), with_answers)
    )
    assert plain is not None
    assert mixed is not None
    assert mixed.centre == pytest.approx(plain.centre, abs=0.3 * plain.spread)
    assert mixed.spread == pytest.approx(plain.spread, rel=0.25)
    cut = mixed.cut(float((with_answers @ query).max()))
    chosen = with_answers @ query >= cut
    assert chosen[:90].mean() > 0.95
    assert chosen[90:].mean() < 0.01


def test_the_cut_lies_above_chance_and_below_the_best() -> None:
    chance = Chance(centre=0.1, spread=0.05, share=0.5)
    assert chance.cut(0.9) == pytest.approx(0.5)
    assert chance.cut(0.15) == pytest.approx(0.2)  # the best hit is no better than chance: nothing is answered
    assert chance.relevance(0.1) == pytest.approx(0.5)
    assert chance.relevance(1.0) == pytest.approx(1.0)
    assert chance.relevance(-1.0) == pytest.approx(0.0)


def test_words_are_held_against_joint_scores() -> None:
    projection = np.random.default_rng(2).standard_normal((DIM, 6)).astype(np.float32)
    index, geometry = filled(noise(800), projection)
    text = unit(np.random.default_rng(3).standard_normal(6))
    chance = Background(index, geometry).chance(geometry.aim([Part(text, True)]), worded=True)
    joint = unit(noise(800).astype(np.float16).astype(np.float32) @ projection)
    assert chance is not None
    assert chance.centre == pytest.approx(float(np.median(joint @ text)), abs=1e-3)


def test_of_too_few_or_equal_rows_nothing_is_known() -> None:
    for features in (noise(N_LEAST - 1), np.repeat(noise(1), 50, axis=0)):
        index, geometry = filled(features)
        assert Background(index, geometry).chance(geometry.aim([Part(noise(1, 7)[0], False)]), worded=False) is None


def test_the_sample_is_drawn_anew_only_when_the_index_has_changed_a_lot() -> None:
    index, geometry = filled(noise(1000))
    drawn: list[int] = []
    plain_ids = index.ids
    index.ids = lambda: drawn.append(1) or plain_ids()  # type: ignore[method-assign, func-returns-value, return-value]
    background, aim = Background(index, geometry), geometry.aim([Part(noise(1, 7)[0], False)])
    for n, times in ((1000, 1), (1000, 1), (1050, 1), (1200, 2)):
        more = np.arange(len(index) + 1, n + 1)
        if len(more):
            index.upsert(more, *geometry.rows(noise(len(more), n).astype(np.float16)))
        background.chance(aim, worded=False)
        assert len(drawn) == times


def test_a_large_index_is_sampled() -> None:
    index, geometry = filled(noise(N_SAMPLE * 3))
    asked: list[int] = []
    plain_rows = index.rows
    index.rows = lambda ids: asked.append(len(ids)) or plain_rows(ids)  # type: ignore[method-assign, func-returns-value, return-value]
    Background(index, geometry).chance(geometry.aim([Part(noise(1, 7)[0], False)]), worded=False)
    assert asked == [N_SAMPLE]


@pytest.mark.parametrize("space", ["visual", "joint"])
def test_hits_tell_their_relevance_and_the_automatic_cut_ends_them(space: str) -> None:
    world = World(space)
    for query in (ImageQuery(world.data[3]), TextQuery("night")):
        whole = world.search.search(query, N)
        assert whole.cut_score is not None
        relevances = [hit.relevance for hit in whole.hits]
        assert all(r is not None and 0 <= r <= 1 for r in relevances)
        assert relevances == sorted(relevances, reverse=True)  # type: ignore[type-var]
        cut = world.search.search(query, N, options=Options(cut=True))
        assert cut.hits == tuple(hit for hit in whole.hits if hit.score >= whole.cut_score)
        assert len(cut.hits) < N
    assert world.search.search(ImageQuery(world.data[3]), N, options=Options(cut=True)).hits[0].id == world.id(3)


def test_the_cut_is_the_same_on_every_page() -> None:
    world = World()
    whole = world.search.search(ImageQuery(world.data[3]), N, options=Options(cut=True))
    options, seen = Options(cut=True), list[str]()
    while True:
        page = world.search.search(ImageQuery(world.data[3]), 1, options=options)
        assert page.cut_score == pytest.approx(whole.cut_score)
        seen += [hit.id for hit in page.hits]
        if page.cursor is None:
            break
        options = Options(cut=True, cursor=page.cursor)
    assert seen == [hit.id for hit in whole.hits]


def test_a_filter_leaves_the_background_as_it_is() -> None:
    world = World()
    (hit,) = world.search.search(TextQuery("night"), N, options=Options(where=Where(path=("/w/1",)))).hits
    whole = {each.id: each.relevance for each in world.search.search(TextQuery("night"), N).hits}
    assert hit.relevance == whole[hit.id]
