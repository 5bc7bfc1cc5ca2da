import numpy as np
import pytest

from tests.index.samples import ALL, DIM, Make, draw_queries, draw_rows, expected, fill, norms_of, opened

pytestmark = pytest.mark.parametrize("make", ALL)


@pytest.mark.parametrize("n_queries", [1, 3, 9, 300])
@pytest.mark.parametrize("k", [1, 10, 130])
def test_an_answer_is_the_brute_force_answer(make: Make, n_queries: int, k: int) -> None:
    rows, queries = draw_rows(1500), draw_queries(n_queries)
    with opened(make) as index:
        ids = fill(index, rows)
        found = index.search(queries, k)
    ids, scores = expected(ids, rows, queries, k)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.scores, scores)
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize("n_queries", [1, 9])
def test_more_neighbours_than_rows_are_padded(make: Make, n_queries: int) -> None:
    rows, queries = draw_rows(5), draw_queries(n_queries)
    with opened(make) as index:
        ids = fill(index, rows)
        found = index.search(queries, 8)
    assert (found.ids[:, 5:] == -1).all()
    assert np.isneginf(found.scores[:, 5:]).all()
    np.testing.assert_array_equal(found.ids, expected(ids, rows, queries, 8)[0])


@pytest.mark.parametrize("n_queries", [0, 1, 9])
def test_an_empty_index_answers_with_padding(make: Make, n_queries: int) -> None:
    with opened(make) as index:
        found = index.search(draw_queries(n_queries), 3)
        assert found.ids.shape == found.scores.shape == (n_queries, 3)
        assert (found.ids == -1).all()
        assert len(index) == 0
        assert index.ids().tolist() == []
        assert index.norm_bounds() == (1, 1)


@pytest.mark.parametrize("n_queries", [1, 9])
def test_equal_scores_come_in_order_of_their_ids(make: Make, n_queries: int) -> None:
    row, queries = draw_rows(1), draw_queries(n_queries)
    ids = np.random.default_rng(0).permutation(500) + 1
    with opened(make) as index:
        index.upsert(ids, np.repeat(row, 500, 0), norms_of(ids))
        found = index.search(queries, 20)
    assert (found.ids == np.arange(1, 21)).all()


@pytest.mark.parametrize("n_queries", [2, 9])
@pytest.mark.parametrize("n_among", [0, 1, 40, 700])
def test_a_search_among_ids_sees_these_alone(make: Make, n_queries: int, n_among: int) -> None:
    rows, queries = draw_rows(900), draw_queries(n_queries)
    among = np.random.default_rng(2).permutation(900)[:n_among] + 1
    with opened(make) as index:
        ids = fill(index, rows)
        found = index.search(queries, 12, np.concatenate([among, among[:3], [5000, 1 << 40]]))
    among = np.sort(among)
    np.testing.assert_array_equal(found.ids, expected(ids[among - 1], rows[among - 1], queries, 12)[0])


def test_an_upsert_overwrites_in_place(make: Make) -> None:
    before, after = draw_rows(200), draw_rows(200, seed=5)
    with opened(make) as index:
        ids = fill(index, before)
        index.upsert(ids[50:150][::-1], after[50:150][::-1], norms_of(ids[50:150][::-1]))
        rows = np.concatenate([before[:50], after[50:150], before[150:]])
        assert len(index) == 200
        np.testing.assert_array_equal(index.rows(ids), rows)
        queries = draw_queries(9)
        np.testing.assert_array_equal(index.search(queries, 7).ids, expected(ids, rows, queries, 7)[0])


def test_what_is_removed_is_never_found_again(make: Make) -> None:
    rows = draw_rows(300)
    gone = np.arange(1, 301, 3)
    with opened(make) as index:
        ids = fill(index, rows)
        assert index.remove(np.concatenate([gone, gone, [9999]])) == len(gone)
        left = np.setdiff1d(ids, gone)
        np.testing.assert_array_equal(index.ids(), left)
        assert not index.contains(gone).any()
        assert index.contains(left).all()
        assert np.isnan(index.rows(gone)).all()
        assert np.isnan(index.norms(gone)).all()
        np.testing.assert_array_equal(index.norms(left), norms_of(left))
        queries = rows[gone - 1][:20].astype(np.float32)
        np.testing.assert_array_equal(index.search(queries, 5).ids, expected(left, rows[left - 1], queries, 5)[0])


def test_an_index_can_be_emptied_and_filled_again(make: Make) -> None:
    rows = draw_rows(100)
    with opened(make) as index:
        assert index.remove(fill(index, rows)) == 100
        assert len(index) == 0
        assert index.norm_bounds() == (1, 1)
        ids = fill(index, rows, first_id=101)
        np.testing.assert_array_equal(index.search(draw_queries(1), 4).ids, expected(ids, rows, draw_queries(1), 4)[0])


def test_rows_of_some_ids_come_in_the_order_asked_and_absent_ones_are_nan(make: Make) -> None:
    rows = draw_rows(60)
    with opened(make) as index:
        fill(index, rows)
        asked = np.array([7, 7, 60, 61, 1])
        found, norms = index.rows(asked), index.norms(asked)
    np.testing.assert_array_equal(found[[0, 1, 2, 4]], rows[[6, 6, 59, 0]])
    assert np.isnan(found[3]).all()
    assert np.isnan(norms[3])
    assert found.dtype == np.float16
    assert norms.dtype == np.float32


def test_norm_bounds_hold_every_norm(make: Make) -> None:
    with opened(make) as index:
        index.upsert(np.array([1, 2, 3]), draw_rows(3), np.array([0.5, 0.75, 2], np.float32))
        assert index.norm_bounds() == (0.5, 2)
        index.remove(np.array([3]))
        low, high = index.norm_bounds()
        assert low <= 0.5
        assert high >= 0.75


def test_the_caller_may_reuse_what_it_handed_in(make: Make) -> None:
    rows = draw_rows(30)
    handed = rows.copy()
    with opened(make) as index:
        ids = fill(index, handed)
        handed[:] = 0
        np.testing.assert_array_equal(index.rows(ids), rows)
        index.rows(ids)[:] = 0
        index.ids()[:] = 0
        np.testing.assert_array_equal(index.rows(ids), rows)


BAD_UPSERTS = {
    "a wrong length": (np.array([2]), np.ones((1, DIM + 1), np.float16)),
    "fewer rows than ids": (np.array([2, 3]), np.ones((1, DIM), np.float16)),
    "float32 rows": (np.array([2]), np.ones((1, DIM), np.float32)),
    "id 0": (np.array([0]), np.ones((1, DIM), np.float16)),
    "an id twice": (np.array([2, 3, 2]), np.ones((3, DIM), np.float16)),
    "not a number": (np.array([2, 3]), np.array([[1] * DIM, [1] * (DIM - 1) + [np.nan]], np.float16)),
    "infinity": (np.array([2]), np.array([[-np.inf] + [1] * (DIM - 1)], np.float16)),
}


@pytest.mark.parametrize("why", BAD_UPSERTS)
def test_a_bad_upsert_changes_nothing(make: Make, why: str) -> None:
    rows = draw_rows(1)
    with opened(make) as index:
        fill(index, rows)
        ids, bad = BAD_UPSERTS[why]
        with pytest.raises(ValueError, match=r".+"):
            index.upsert(ids, bad, np.ones(len(ids), np.float32))
        with pytest.raises(ValueError, match=r".+"):
            index.upsert(np.array([1]), rows, np.array([np.nan], np.float32))
        assert index.ids().tolist() == [1]
        np.testing.assert_array_equal(index.rows(np.array([1])), rows)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_refused(make: Make, bad: float) -> None:
    queries = draw_queries(3)
    queries[1, 5] = bad
    with opened(make) as index, pytest.raises(ValueError, match=r".+"):
        index.search(queries, 1)


def test_questions_that_make_no_sense_are_refused(make: Make) -> None:
    with opened(make) as index:
        for queries, k in [(draw_queries(1), 0), (draw_queries(1, DIM - 1), 1), (draw_queries(1)[0], 1)]:
            with pytest.raises(ValueError, match=r".+"):
                index.search(queries, k)


def test_memory_is_counted(make: Make) -> None:
    with opened(make) as index:
        fill(index, draw_rows(4000))
        assert index.n_bytes >= 4000 * (2 * DIM + 12)
        assert index.n_bytes <= 1.25 * 4000 * (2 * DIM + 12) + 40_000 * DIM
