"""Pairs joined into groups: by what leads to what, and around a middle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexer.duplicates.groups import connected, starred
from indexer.duplicates.pairs import Pairs, once

edges = st.dictionaries(
    st.tuples(st.integers(1, 12), st.integers(13, 24)) | st.tuples(st.integers(1, 6), st.integers(7, 12)),
    st.floats(0, 1, width=32),
    max_size=30,
)


def pairs_of(scores: dict[tuple[int, int], float]) -> Pairs:
    return Pairs(np.array(list(scores), np.int64).reshape(-1, 2), np.array(list(scores.values()), np.float32))


@given(edges)
def test_whatever_a_chain_of_pairs_leads_to_is_in_one_group_and_nothing_else(
    scores: dict[tuple[int, int], float],
) -> None:
    groups = connected(pairs_of(scores))
    of = {id: number for number, group in enumerate(groups) for id in group.ids}
    assert sum(len(group.ids) for group in groups) == len(of) == len({id for pair in scores for id in pair})
    assert all(of[one] == of[other] for one, other in scores)
    for group in groups:  # and each is held together by pairs no worse than its score
        reached = {group.ids[0]}
        for _ in group.ids:
            for (one, other), score in scores.items():
                if score >= group.score and {one, other} & reached:
                    reached |= {one, other}
        assert reached == set(group.ids)


@given(edges)
def test_a_star_has_a_middle_that_every_member_is_paired_with(scores: dict[tuple[int, int], float]) -> None:
    groups = starred(pairs_of(scores))
    members = [id for group in groups for id in group.ids]
    assert len(members) == len(set(members))
    for group in groups:
        stars = [
            [scores.get((min(one, other), max(one, other))) for other in group.ids if other != one] for one in group.ids
        ]
        whole = [star for star in stars if None not in star]
        assert any(min(star) == group.score for star in whole)  # type: ignore[type-var]


@given(edges)
def test_of_every_pair_at_least_one_is_in_a_star(scores: dict[tuple[int, int], float]) -> None:
    members = {id for group in starred(pairs_of(scores)) for id in group.ids}
    assert all({one, other} & members for one, other in scores)


@given(edges)
def test_the_best_group_comes_first(scores: dict[tuple[int, int], float]) -> None:
    for join in (connected, starred):
        told = [group.score for group in join(pairs_of(scores))]
        assert told == sorted(told, reverse=True)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(5, 8), st.floats(0, 1, width=32)), max_size=20))
def test_a_pair_that_comes_twice_keeps_its_best_score(given_pairs: list[tuple[int, int, float]]) -> None:
    ids = np.array([pair[:2] for pair in given_pairs], np.int64).reshape(-1, 2)
    told = once(Pairs(ids, np.array([pair[2] for pair in given_pairs], np.float32)))
    best = {pair[:2]: max(p[2] for p in given_pairs if p[:2] == pair[:2]) for pair in given_pairs}
    assert dict(zip(map(tuple, told.ids.tolist()), told.scores.tolist(), strict=True)) == best
    assert told.ids.tolist() == sorted(map(list, best))
