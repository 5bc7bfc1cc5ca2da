"""Pairs joined into groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from indexer.duplicates.pairs import Pairs


class Group(NamedTuple):
    """Ids, ascending, two or more, and the least cosine that joined them."""

    score: float
    ids: tuple[int, ...]


def connected(pairs: Pairs) -> list[Group]:
    """All that pairs lead to, however many: for what is the same, so is what is the same as that. Best first."""
    parent: dict[int, int] = {}
    score: dict[int, float] = {}

    def root(id: int) -> int:
        parent.setdefault(id, id)
        while parent[id] != id:
            parent[id] = id = parent[parent[id]]
        return id

    for (one, other), cosine in _best_first(pairs):
        low, high = sorted((root(one), root(other)))
        if low != high:
            parent[high] = low
            score[low] = cosine  # the last to join is the least
    members: defaultdict[int, list[int]] = defaultdict(list)
    for id in parent:
        members[root(id)].append(id)
    return _ordered(Group(score[head], tuple(sorted(ids))) for head, ids in members.items())


def starred(pairs: Pairs) -> list[Group]:
    """Groups around a middle that each member is paired with, for likeness does not carry over. Best first.

    Who has the most partners that are in no group yet is the next middle; nobody is in two groups.
    """
    partners: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for (one, other), cosine in _best_first(pairs):
        partners[one][other] = partners[other][one] = cosine
    groups: list[Group] = []
    taken: set[int] = set()
    for middle in sorted(partners, key=lambda one: (-len(partners[one]), one)):
        free = {id: cosine for id, cosine in partners[middle].items() if id not in taken}
        if middle not in taken and free:
            groups.append(Group(min(free.values()), tuple(sorted((middle, *free)))))
            taken.update((middle, *free))
    return _ordered(groups)


def _best_first(pairs: Pairs) -> Iterable[tuple[list[int], float]]:
    order = (-pairs.scores).argsort(kind="stable")
    return zip(pairs.ids[order].tolist(), pairs.scores[order].tolist(), strict=True)


def _ordered(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (-group.score, group.ids))
