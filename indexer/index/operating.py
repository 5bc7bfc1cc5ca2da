"""How widely to look: points of operation measured on queries whose true answers are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from indexer.index import exact
from indexer.index.lists import InvertedLists
from indexer.ports import VectorIndex
from indexer.types import Ids, Matrix, Neighbours, OperatingPoint

K = 10
"""Neighbours whose recall is measured."""
_PROBES = tuple(2**i for i in range(11))
_FACTORS = (4, 8, 16, 32)
_LEAST_GAIN = 0.002


@dataclass(frozen=True, slots=True)
class Exam:
    """Queries and their true neighbours.

    Attributes:
        queries: (q, dim) float32.
        itself: (q,) the id that each query was made from, which is no answer to it; -1 for none.
        truth: (q, K).
    """

    queries: Matrix
    itself: Ids
    truth: Ids


def examine(index: VectorIndex, queries: Matrix, itself: Ids) -> Exam:
    """Look the true neighbours up in an exact index."""
    found = index.search(queries, K + 1)
    return Exam(queries, itself, _without(found.ids, itself))


def points(index: VectorIndex, lists: InvertedLists, exams: Sequence[Exam]) -> Iterator[OperatingPoint]:
    """Measure ever wider looks, one query at a time as they come; ends when wider ones find nothing more.

    Of several groups of queries the one with the lowest recall counts.
    """
    for factor in _FACTORS:
        before = earlier = -1.0
        for n_probe in _PROBES:
            if n_probe > lists.n_lists or factor * (K + 1) * 4 > len(index):
                break
            look = partial(ask, index, lists, k=K + 1, how=(n_probe, factor), beside=np.empty(0, np.int64))
            point = min((timed(look, exam) for exam in exams), key=lambda point: point.sure_recall)
            yield replace(point, n_probe=n_probe, factor=factor, n_bytes=lists.n_bytes)
            if (
                point.recall - earlier < _LEAST_GAIN
            ):  # in two steps: one alone may find little before the next finds more
                break
            before, earlier = point.recall, before


def timed(look: Callable[[Matrix], Neighbours], exam: Exam) -> OperatingPoint:
    """What a way to look finds of the true neighbours, and how long a query takes."""
    times, found = [], np.empty((len(exam.queries), K + 1), np.int64)
    for at in range(len(exam.queries)):
        started = time.perf_counter()
        found[at] = look(exam.queries[at : at + 1]).ids[0]
        times.append((time.perf_counter() - started) * 1e3)
    recalls = (_without(found, exam.itself)[:, :, None] == exam.truth[:, None, :]).any(1).mean(1)
    recall, error = float(recalls.mean()), float(recalls.std() / np.sqrt(len(recalls)))
    p50_ms, p99_ms = (float(np.percentile(times, p)) for p in (50, 99))
    return OperatingPoint(0, 1, recall, recall - 2 * error, p50_ms, p99_ms, 0)


def choose(measured: Iterable[OperatingPoint], recall: float) -> OperatingPoint | None:
    """The fastest point that surely has this recall; None if there is none."""
    return min(
        (point for point in measured if point.sure_recall >= recall), key=lambda point: point.p50_ms, default=None
    )


def ask(
    index: VectorIndex, lists: InvertedLists, queries: Matrix, k: int, how: tuple[int, int], beside: Ids
) -> Neighbours:
    """The k best per query (q, dim) of what the lists propose and of the ids `beside`, ranked exactly.

    Who asks for fewer than was measured gets them out of as many proposals.
    """
    n_probe, factor = how
    proposed = lists.propose(queries, factor * max(k, K + 1), n_probe)
    return exact.join(
        [
            index.search(query[None, :], k, np.concatenate([ids[ids >= 0], beside]))
            for query, ids in zip(queries, proposed, strict=True)
        ],
        k,
    )


def _without(ids: Ids, itself: Ids) -> Ids:
    """The first K of ids (q, K + 1) that are not the query's own."""
    order = np.argsort(ids == itself[:, None], axis=1, kind="stable")[:, :K]
    kept: Ids = np.take_along_axis(ids, order, 1)
    return kept
