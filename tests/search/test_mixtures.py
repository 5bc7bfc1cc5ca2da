"""Mixtures against brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import ImageRefused, InputError, NotFound
from indexer.types import (
    IdQuery,
    ImageQuery,
    MixedQuery,
    Options,
    Query,
    Term,
    TextQuery,
    VectorQuery,
    content_hash,
)
from tests.search.world import N, World

WORLDS = {space: World(space) for space in ("visual", "joint")}
WORLD = WORLDS["visual"]

texts = st.sampled_from(["a red circle", "two stars", "night", "a boat"])
pictures = st.integers(0, N - 1)
kinds = st.one_of(
    texts.map(TextQuery),
    pictures.map(lambda i: IdQuery(WORLD.id(i))),
    pictures.map(lambda i: ImageQuery(WORLD.data[i])),
    st.integers(0, 50).map(lambda i: ImageQuery(b"unknown-%d" % i)),
    st.lists(st.floats(-1, 1, width=32), min_size=16, max_size=16).map(lambda v: VectorQuery([*v[:-1], v[-1] + 2])),
    st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6).map(lambda v: VectorQuery([*v[:-1], v[-1] + 2])),
)
weights = st.floats(-3, 3).filter(lambda w: abs(w) > 0.05)
terms = st.builds(Term, kinds, weights)
some_ids = st.lists(pictures.map(WORLD.id), max_size=3, unique=True).map(tuple)
mixtures = st.builds(MixedQuery, st.lists(terms, min_size=1, max_size=4).map(tuple), some_ids, some_ids)


def unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector, np.float64) / np.linalg.norm(np.asarray(vector, np.float64))


def part(world: World, query: Query) -> tuple[np.ndarray, bool]:
    """The unit vector of one part, and whether it is of the joint space."""
    match query:
        case TextQuery(text):
            return unit(world.search.embed_texts([text])[0]), True
        case IdQuery(id):
            return world.visual()[[world.id(i) for i in range(N)].index(id)], False
        case ImageQuery(data):
            return unit(world.search.embed_images([data])[0].feature), False
        case VectorQuery(vector):
            return unit(np.array(vector)), len(vector) == 6
    raise AssertionError(query)


def brute_force(world: World, mixed: MixedQuery) -> np.ndarray | None:
    """Every picture's score in float64; None where the parts cancel each other out."""
    parts = [(*part(world, query), weight) for query, weight in mixed.terms]
    parts += [(*part(world, IdQuery(id)), 0.75 / len(mixed.liked)) for id in mixed.liked]
    parts += [(*part(world, IdQuery(id)), -0.25 / len(mixed.disliked)) for id in mixed.disliked]
    joint = any(is_joint for _, is_joint, _ in parts) or world.geometry.space == "joint"
    projection = world.embedder.projection.astype(np.float64)
    total = sum(w * (unit(v @ projection) if joint and not is_joint else v) for v, is_joint, w in parts)
    if np.linalg.norm(total) < 1e-2:
        return None
    scores: np.ndarray = (world.joint() if joint else world.visual()) @ unit(total)
    return scores


@pytest.mark.parametrize("space", ["visual", "joint"])
@given(mixed=mixtures)
def test_a_mixture_is_ranked_as_brute_force_ranks_it(space: str, mixed: MixedQuery) -> None:
    world = WORLDS[space]
    expected = brute_force(world, mixed)
    if expected is None:
        return
    named = {*mixed.liked, *mixed.disliked, *(term.query.id for term in mixed.terms if isinstance(term.query, IdQuery))}
    hits = world.search.search(mixed, N).hits
    assert {hit.id for hit in hits} == {world.id(i) for i in range(N)} - named
    scores = {world.id(i): score for i, score in enumerate(expected)}
    tolerance = 1e-5 if space == "visual" else 2e-3  # joint rows are rounded to float16
    assert [hit.score for hit in hits] == pytest.approx([scores[hit.id] for hit in hits], abs=tolerance)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_pictures_alone_are_compared_in_the_visual_space_and_words_bring_them_into_the_joint_one() -> None:
    pictures_only = MixedQuery((Term(ImageQuery(WORLD.data[1])), Term(ImageQuery(WORLD.data[2]))))
    mean = unit(WORLD.visual()[1] + WORLD.visual()[2])
    best = WORLD.search.search(pictures_only, 1).hits[0]
    assert best.score == pytest.approx(max(WORLD.visual() @ mean), abs=1e-5)
    with_words = MixedQuery((Term(ImageQuery(WORLD.data[1])), Term(TextQuery("night"), 1e-6)))
    best = WORLD.search.search(with_words, 1).hits[0]
    assert best.id == WORLD.id(1)
    joint = np.sort(WORLD.joint() @ WORLD.joint()[1])
    second = WORLD.search.search(with_words, 2).hits[1]
    assert second.score == pytest.approx(joint[-2], abs=1e-4)


def test_what_is_disliked_goes_down_and_what_is_liked_goes_up() -> None:
    order = [hit.id for hit in WORLD.search.search(TextQuery("night"), N).hits]
    near = max(range(N), key=lambda i: float(np.sort(WORLD.joint() @ WORLD.joint()[i])[-2]))
    twin = WORLD.id(int(np.argsort(-(WORLD.joint() @ WORLD.joint()[near]))[1]))
    liked = [hit.id for hit in WORLD.search.search(MixedQuery((Term(TextQuery("night")),), (WORLD.id(near),)), N).hits]
    less = MixedQuery((Term(TextQuery("night")),), (), (WORLD.id(near),))
    disliked = [hit.id for hit in WORLD.search.search(less, N).hits]
    without = [id for id in order if id != WORLD.id(near)]
    assert liked.index(twin) <= without.index(twin) <= disliked.index(twin)
    assert liked.index(twin) < disliked.index(twin)


@pytest.mark.parametrize(
    ("mixed", "said"),
    [
        (MixedQuery((Term(TextQuery("night")), Term(TextQuery("night"), -1.0))), "cancel"),
        (MixedQuery((Term(TextQuery("night"), 0.0),)), "something to look for"),
        (MixedQuery(), "something to look for"),
        (MixedQuery((Term(TextQuery("night"), float("nan")),)), "finite"),
    ],
)
def test_a_mixture_of_nothing_is_refused(mixed: MixedQuery, said: str) -> None:
    with pytest.raises(InputError, match=said):
        WORLD.search.search(mixed, 1)


def test_a_liked_image_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        WORLD.search.search(MixedQuery(liked=("0" * 64,)), 1)


def test_what_was_asked_before_is_not_encoded_again() -> None:
    world = World()
    asked = MixedQuery((Term(TextQuery("night")), Term(ImageQuery(b"unknown"), 0.5)))
    first = world.search.search(asked, 5)
    world.embedder.embed_texts = world.embedder.embed_image = None  # type: ignore[method-assign, assignment]
    assert world.search.search(asked, 5).hits == first.hits


def test_vectors_are_told_on_request_and_find_their_image_again() -> None:
    (hit,) = WORLD.search.search(ImageQuery(WORLD.data[3]), 1, options=Options(with_vectors=True)).hits
    assert hit.vector is not None
    np.testing.assert_allclose(hit.vector, WORLD.visual()[3], atol=1e-6)
    assert WORLD.search.search(VectorQuery(hit.vector.tolist()), 1).hits[0].id == WORLD.id(3)


def test_a_picture_that_is_refused_is_named_by_its_hash() -> None:
    good, bad = ImageQuery(b"unknown-7"), ImageQuery(b"bad picture")
    with pytest.raises(ImageRefused) as refused:
        WORLD.search.search(MixedQuery((Term(TextQuery("night")), Term(good), Term(bad))), 3)
    assert refused.value.hash == content_hash(bad.data)
    with pytest.raises(ImageRefused) as refused:
        WORLD.search.embed_images([good.data, bad.data])
    assert refused.value.hash == content_hash(bad.data)
