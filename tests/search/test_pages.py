"""Pages, thresholds, filters and arrangements of an answer."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.errors import InputError
from indexer.search.arranging import NEAR, POOL, diversified, folded
from indexer.types import (
    FilePath,
    Found,
    Gone,
    IdQuery,
    ImageInfo,
    Options,
    Range,
    Stamp,
    TextQuery,
    Where,
    content_hash,
)
from tests.fakes.river import pixels_of
from tests.search.world import N, World

QUESTION = TextQuery("boat")


def add(world: World, data: bytes) -> str:
    """Index one more picture; its id."""
    hash = content_hash(data)
    found = Found(FilePath(b"/w/new-" + hash.hex().encode()), Stamp(1, 1, 1, 1, 1), hash, ImageInfo("png", 8, 8, 9))
    ids = world.catalogue.commit([found]).ids
    world.index.upsert(np.array([ids[hash]]), *world.geometry.rows(world.embedder.feature_of(pixels_of(data))[None, :]))
    return hash.hex()


def remove(world: World, id: str) -> None:
    (record,) = [each for each in world.catalogue.images(world.index.ids().tolist()).values() if each.hash.hex() == id]
    world.catalogue.commit([Gone(path) for path in record.paths])
    world.index.remove(np.array([record.vector_id]))


@pytest.mark.parametrize("where", [Where(), Where(width_px=Range(1, None))])
def test_the_newest_come_page_by_page_and_only_while_they_are_there(where: Where) -> None:
    world = World("visual")
    added = [add(world, b"new %d" % i) for i in range(4)]
    first = world.search.newest(2, where=where)
    assert [each.hash.hex() for each in first.images] == added[:1:-1]
    assert first.matching == len(world.index)
    remove(world, added[1])
    second = world.search.newest(2, first.before, where)
    assert second.images[0].hash.hex() == added[0]
    assert second.matching == len(world.index)
    rest = world.search.newest(1000, second.before, where)
    assert rest.before is None
    assert len(first.images) + len(second.images) + len(rest.images) == len(world.index)
    assert [each.vector_id for each in rest.images] == sorted((each.vector_id for each in rest.images), reverse=True)


def test_the_newest_pass_the_filter() -> None:
    world = World("visual")
    add(world, b"new")
    assert len(world.search.newest(10, where=Where(path=("/w/new-*",))).images) == 1
    assert world.search.newest(10, where=Where(width_px=Range(10**6, None))).images == ()


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), limit=st.integers(1, 9), space=st.sampled_from(["visual", "joint"]))
def test_a_cursor_skips_and_repeats_nothing_while_images_come_and_go(seed: int, limit: int, space: str) -> None:
    world, chance = World(space), random.Random(seed)
    stays = {world.id(i) for i in range(N)}
    seen: list[str] = []
    cursor = None
    while True:
        result = world.search.search(QUESTION, limit, options=Options(cursor=cursor))
        seen += [hit.id for hit in result.hits]
        cursor = result.cursor
        if cursor is None:
            break
        for _ in range(chance.randrange(3)):
            if chance.random() < 0.5:
                add(world, b"added-%d" % chance.randrange(10**9))
            else:
                gone = chance.choice(sorted(stays))
                stays.discard(gone)
                if world.catalogue.ids_of([content_hash(world.data[[world.id(i) for i in range(N)].index(gone)])]):
                    remove(world, gone)
    assert len(seen) == len(set(seen))
    assert stays <= set(seen)


def test_a_cursor_goes_on_where_the_answer_ended_and_is_none_at_the_end() -> None:
    world = World()
    whole = [hit.id for hit in world.search.search(QUESTION, N).hits]
    first = world.search.search(QUESTION, 20, offset=3)
    assert first.cursor is not None
    second = world.search.search(QUESTION, N - 23, options=Options(cursor=first.cursor))
    assert [hit.id for hit in (*first.hits, *second.hits)] == whole[3:]
    assert second.cursor is None


@pytest.mark.parametrize(
    ("options", "offset", "said"),
    [
        (Options(cursor="?"), 0, "cursor: this is none"),
        (Options(cursor="AAAA"), 0, "cursor: this is none"),
        (Options(cursor="é"), 0, "cursor: this is none"),
        (Options(cursor="A" * 39), 0, "cursor: it belongs to another question"),
        (Options(cursor="A" * 39), 1, "leave the offset out"),
        (Options(cursor="A" * 39, diversity=0.5), 0, "page it by offset"),
        (Options(diversity=1.5), 0, "diversity must be"),
        (Options(diversity=float("nan")), 0, "diversity must be"),
        (Options(diversity=0.5), POOL, "best 1000"),
        (Options(fold_near=True), POOL, "best 1000"),
        (Options(score_threshold=float("nan")), 0, "score_threshold"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_name(options: Options, offset: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        World().search.search(QUESTION, 1, offset, options)


def test_a_cursor_of_another_question_is_refused() -> None:
    world = World()
    cursor = world.search.search(QUESTION, 1).cursor
    for query, options in (
        (TextQuery("night"), Options(cursor=cursor)),
        (QUESTION, Options(cursor=cursor, where=Where(width_px=Range(1, None)))),
        (QUESTION, Options(cursor=cursor, exclude_ids=(world.id(1),))),
    ):
        with pytest.raises(InputError, match="another question"):
            world.search.search(query, 1, options=options)
    assert world.search.search(QUESTION, 2, options=Options(cursor=cursor, score_threshold=-1.0)).hits


@given(threshold=st.floats(-1, 1))
def test_a_threshold_keeps_what_reaches_it(threshold: float) -> None:
    world = WORLD
    whole = world.search.search(QUESTION, N).hits
    kept = world.search.search(QUESTION, N, options=Options(score_threshold=threshold)).hits
    assert kept == tuple(hit for hit in whole if hit.score >= threshold)


WORLD = World()


@given(chosen=st.sets(st.integers(0, N - 1)), excluded=st.sets(st.integers(0, N - 1), max_size=9))
def test_filters_and_exclusions_answer_as_if_nothing_else_were_indexed(chosen: set[int], excluded: set[int]) -> None:
    whole = WORLD.search.search(QUESTION, N).hits
    where = Where(path=tuple(f"/w/{i}" for i in chosen) or ("/nowhere",))
    options = Options(where=where, exclude_ids=tuple(WORLD.id(i) for i in excluded))
    wanted = {WORLD.id(i) for i in chosen - excluded}
    result = WORLD.search.search(QUESTION, 7, options=options)
    assert result.hits == tuple(hit for hit in whole if hit.id in wanted)[:7]
    assert result.matching == len(wanted)


def test_an_image_at_several_paths_is_told_by_the_one_that_fits() -> None:
    world = World()
    name, hash = FilePath(b"/w/zebra.png"), content_hash(world.data[0])
    world.catalogue.commit([Found(name, Stamp(1, 999, 1, 5_000_000_000, 1), hash, ImageInfo("png", 8, 8, 9))])
    for where in (
        Where(path=("zebra*",)),
        Where(modified_ns=Range(2, None)),
        Where(not_path=("/w/0",), path=("zebra*",)),
    ):
        (hit,) = world.search.search(QUESTION, N, options=Options(where=where)).hits
        assert (hit.path, hit.paths, hit.modified_s) == (name, (name, b"/w/0"), 5.0)
    (hit,) = world.search.search(QUESTION, N, options=Options(where=Where(path=("/w/0",)))).hits
    assert (hit.path, hit.modified_s) == (b"/w/0", 1e-9)
    nothing = Where(path=("zebra*",), modified_ns=Range(None, 1))
    assert world.search.search(QUESTION, N, options=Options(where=nothing)).hits == ()


# ---------------------------------------------------------------- arrangements


def plainly_diversified(scores: np.ndarray, rows: np.ndarray, diversity: float, n: int) -> list[int]:
    scaled = (scores - scores.min()) / ((scores.max() - scores.min()) or 1.0)
    chosen: list[int] = []
    while len(chosen) < min(n, len(scores)):
        left = [i for i in range(len(scores)) if i not in chosen]
        worth = [
            (1 - diversity) * scaled[i] - diversity * max((rows[i] @ rows[j] for j in chosen), default=0.0)
            for i in left
        ]
        chosen.append(left[int(np.argmax(worth))])
    return chosen


@given(seed=st.integers(0, 10**6), m=st.integers(1, 25), diversity=st.floats(0, 1))
def test_diversity_chooses_as_the_formula_says(seed: int, m: int, diversity: float) -> None:
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((m, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    scores = np.sort(chance.random(m))[::-1]
    assert diversified(scores, rows, diversity, 9).tolist() == plainly_diversified(scores, rows, diversity, 9)


def test_diversity_pages_join_and_begin_with_the_best() -> None:
    options = Options(diversity=0.6)
    whole = WORLD.search.search(QUESTION, N, options=options)
    assert whole.hits[0] == WORLD.search.search(QUESTION, 1).hits[0]
    assert whole.cursor is None
    paged = [hit for at in range(0, N, 13) for hit in WORLD.search.search(QUESTION, 13, at, options).hits]
    assert tuple(paged) == whole.hits
    assert sorted(hit.id for hit in paged) == sorted(hit.id for hit in WORLD.search.search(QUESTION, N).hits)
    assert tuple(paged) != WORLD.search.search(QUESTION, N).hits


def test_near_duplicates_are_folded_into_the_best_of_them_and_counted() -> None:
    world = World()
    rows = world.index.rows(world.ids[:3]).astype(np.float32)
    for i, id in enumerate(world.ids[10:16]):
        near = rows[i % 3] + 0.002 * np.random.default_rng(i).standard_normal(rows.shape[1])
        near = (near / np.linalg.norm(near)).astype(np.float16)[None, :]
        world.index.upsert(np.array([id]), *world.geometry.rows(near))
    whole = world.search.search(QUESTION, N).hits
    options = Options(fold_near=True)
    kept = world.search.search(QUESTION, N, options=options).hits
    groups = [{world.id(i), world.id(10 + i), world.id(13 + i)} for i in range(3)]
    for group in groups:
        (best, *others) = [hit for hit in whole if hit.id in group]
        (mine,) = [hit for hit in kept if hit.id in group]
        assert (mine.id, mine.n_alike) == (best.id, 2)
        assert len(others) == 2
    assert len(kept) == N - 6
    first = world.search.search(QUESTION, 9, options=options)
    rest = world.search.search(QUESTION, N, options=Options(fold_near=True, cursor=first.cursor))
    assert (*first.hits, *rest.hits) == kept


def test_what_is_folded_is_near_to_what_it_is_folded_into() -> None:
    angles = np.array([0.0, 0.2, 0.4, 1.5])  # the third is near to the second only
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.cos(0.2) >= NEAR > np.cos(0.4)
    kept, n_alike = folded(rows)
    assert (kept.tolist(), n_alike.tolist()) == ([0, 2, 3], [1, 0, 0])


def test_an_id_is_left_out_of_a_diverse_answer_too() -> None:
    hits = WORLD.search.search(IdQuery(WORLD.id(2)), N, options=Options(diversity=0.9, fold_near=True)).hits
    assert WORLD.id(2) not in {hit.id for hit in hits}
