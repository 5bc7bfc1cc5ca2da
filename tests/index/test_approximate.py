"""The approximate index once it has its lists: what it may miss, and what it must not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import numpy as np
import pytest

from indexer.index.approximate import ApproximateIndex
from indexer.index.cpu import CpuIndex
from indexer.index.lists import InvertedLists
from indexer.types import Ids, Matrix
from tests.index.samples import draw_queries, draw_rows, expected, fill, norms_of, unit

DIM = 32
N = 4000


@contextmanager
def listed(n: int = N, recall: float = 0.9, queries: Matrix | None = None) -> Iterator[tuple[ApproximateIndex, Ids]]:
    """An index of n rows that has made its lists, if it can."""
    index = ApproximateIndex(CpuIndex(DIM, threads=1), recall, 2000, lambda: queries, calm_s=0.01)
    with closing(index):
        ids = fill(index, draw_rows(n, DIM))
        assert index.wait(60)
        yield index, ids


def share_found(index: ApproximateIndex, ids: Ids, rows: np.ndarray, queries: Matrix) -> float:
    truth, _ = expected(ids, rows, queries, 10)
    found = index.search(queries, 10).ids
    return float((found[:, :, None] == truth[:, None, :]).any(1).mean())


def test_it_finds_as_much_as_was_asked_for_and_scores_it_exactly() -> None:
    rows = draw_rows(N, DIM)
    queries = unit(rows[:200] + 0.3 * draw_queries(200, DIM))  # like what is indexed, and not indexed
    with listed() as (index, ids):
        assert index.point is not None
        assert index.point.recall >= 0.9
        assert share_found(index, ids, rows, queries) > 0.85
        found = index.search(queries, 10)
        every = expected(ids, rows, queries, N)
    for at in range(len(queries)):
        scores = dict(zip(every[0][at].tolist(), every[1][at].tolist(), strict=True))
        assert [scores[id] for id in found.ids[at].tolist()] == found.scores[at].tolist()
        assert (np.diff(found.scores[at]) <= 0).all()


def test_few_rows_are_searched_exactly() -> None:
    rows, queries = draw_rows(1500, DIM), draw_queries(20, DIM)
    with listed(1500) as (index, ids):
        assert index.point is None
        np.testing.assert_array_equal(index.search(queries, 10).ids, expected(ids, rows, queries, 10)[0])


def test_a_recall_out_of_reach_leaves_searches_exact() -> None:
    rows, queries = draw_rows(N, DIM), draw_queries(20, DIM)
    with listed(recall=1.1) as (index, ids):
        assert index.point is None
        np.testing.assert_array_equal(index.search(queries, 10).ids, expected(ids, rows, queries, 10)[0])


def test_the_worse_group_of_queries_decides_how_widely_to_look() -> None:
    far = draw_queries(100, DIM, seed=9) * np.float32(-1)  # like nothing that is indexed
    with listed(queries=far) as (index, ids):
        assert index.point is None or share_found(index, ids, draw_rows(N, DIM), far) > 0.85
    with listed() as (alone, _):
        assert alone.point is not None
        assert index.point is None or index.point.n_probe * index.point.factor >= alone.point.n_probe


def test_a_new_row_is_found_at_once_and_after_it_was_entered() -> None:
    with listed() as (index, _):
        listed_before = len(index._built.lists)  # type: ignore[union-attr]
        new = draw_rows(3000, DIM, seed=5)
        for start in range(0, 3000, 500):
            ids = np.arange(10_000 + start, 10_500 + start)
            index.upsert(ids, new[start : start + 500], norms_of(ids))
            found = index.search(new[start : start + 500 : 50].astype(np.float32), 1)
            np.testing.assert_array_equal(found.ids[:, 0], ids[::50])
        assert index.wait(60)
        assert len(index._built.lists) > listed_before  # type: ignore[union-attr]
        found = index.search(new[::60].astype(np.float32), 1)
        np.testing.assert_array_equal(found.ids[:, 0], np.arange(10_000, 13_000, 60))


def test_what_is_removed_or_overwritten_is_found_no_more_as_it_was() -> None:
    rows = draw_rows(N, DIM)
    with listed() as (index, ids):
        assert index.remove(ids[:300]) == 300
        assert not np.isin(index.search(rows[:300].astype(np.float32), 20).ids, ids[:300]).any()
        opposite = (-rows[300:310]).astype(np.float16)
        index.upsert(ids[300:310], opposite, norms_of(ids[300:310]))
        found = index.search(opposite.astype(np.float32), 1)
        np.testing.assert_array_equal(found.ids[:, 0], ids[300:310])
        before = index.search(rows[300:310].astype(np.float32), 5)
        assert not (before.ids == ids[300:310, None]).any()


def test_lists_are_made_anew_when_much_has_changed() -> None:
    with listed() as (index, ids):
        first = index._built
        index.remove(ids[: N // 2])
        assert index.wait(60)
        assert index._built is not first
        assert len(index._built.lists) == N - N // 2  # type: ignore[union-attr]


@pytest.mark.parametrize("k", [300, N, 2 * N])
def test_who_asks_for_many_gets_the_exact_answer(k: int) -> None:
    rows, queries = draw_rows(N, DIM), draw_queries(3, DIM)
    with listed() as (index, ids):
        np.testing.assert_array_equal(index.search(queries, k).ids, expected(ids, rows, queries, k)[0])


def test_a_search_among_ids_is_exact() -> None:
    rows, queries = draw_rows(N, DIM), draw_queries(9, DIM)
    with listed() as (index, ids):
        found = index.search(queries, 12, ids[::7])
    np.testing.assert_array_equal(found.ids, expected(ids[::7], rows[::7], queries, 12)[0])


def test_answers_come_while_lists_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = draw_rows(N, DIM), draw_queries(5, DIM)
    adding, go_on = threading.Event(), threading.Event()
    add = InvertedLists.add

    def slowly(self: InvertedLists, *arguments: object) -> None:
        adding.set()
        assert go_on.wait(30)
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(InvertedLists, "add", slowly)
    index = ApproximateIndex(CpuIndex(DIM, threads=1), 0.9, 2000, calm_s=0.01)
    with closing(index):
        ids = fill(index, rows)
        assert adding.wait(30)
        np.testing.assert_array_equal(index.search(queries, 10).ids, expected(ids, rows, queries, 10)[0])
        late = unit(draw_queries(1, DIM, seed=7)).astype(np.float16)
        index.upsert(np.array([77_777]), late, norms_of(np.array([77_777])))
        index.remove(ids[:1])
        go_on.set()
        assert index.wait(60)
        assert index.point is not None
        assert index.search(late.astype(np.float32), 1).ids[0, 0] == 77_777
        assert ids[0] not in index.search(rows[:1].astype(np.float32), 20).ids


def test_closing_does_not_wait_for_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    added = []
    add = InvertedLists.add
    index = ApproximateIndex(CpuIndex(DIM, threads=1), 0.9, 2000, calm_s=0.01)

    def once(self: InvertedLists, *arguments: object) -> None:
        added.append(1)
        index._closing = True
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(InvertedLists, "add", once)
    fill(index, draw_rows(N, DIM))
    index._thread.join(30)
    index.close()
    assert len(added) == 1
