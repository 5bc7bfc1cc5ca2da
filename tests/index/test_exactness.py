"""Kernels round; answers do not. Rows and queries made to catch a bound that is too tight."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.index import gemm
from indexer.index.cpu import CpuIndex
from indexer.index.propose import top
from tests.index.samples import REAL, Make, draw_queries, draw_rows, expected, fill, opened

DIM = 64


def assert_exact(make: Make, rows: np.ndarray, queries: np.ndarray, k: int) -> None:
    with opened(make, rows.shape[1]) as index:
        ids = fill(index, rows)
        for asked in (queries[:1], queries):
            found = index.search(asked, k)
            ids_expected, scores = expected(ids, rows, asked, k)
            np.testing.assert_array_equal(found.ids, ids_expected)
            np.testing.assert_array_equal(found.scores, scores)


def nearly_tied(random: np.random.Generator, n: int) -> np.ndarray:
    """Rows that differ in the last bits of a few values: closer to each other than BFloat16 can tell."""
    rows = np.repeat(draw_rows(3, DIM, seed=int(random.integers(1000))), n // 3, 0)
    bits = rows.view(np.int16)
    bits += random.integers(-2, 3, bits.shape).astype(np.int16) * (random.random(bits.shape) < 0.1)
    return rows


@pytest.mark.parametrize("make", REAL)
def test_rows_closer_than_the_kernel_can_tell_are_ranked_right(make: Make) -> None:
    random = np.random.default_rng(3)
    rows = nearly_tied(random, 1200)
    queries = rows[random.integers(0, len(rows), 12)].astype(np.float32) + 1e-3 * draw_queries(12, DIM)
    assert_exact(make, rows, queries, 10)


@pytest.mark.parametrize("make", REAL)
@pytest.mark.parametrize("rising", [True, False])
def test_the_order_of_rows_does_not_matter(make: Make, rising: bool) -> None:
    query = draw_queries(1, DIM)
    rows = draw_rows(2000, DIM)
    order = np.argsort((rows.astype(np.float32) @ query[0]) * (1 if rising else -1))
    assert_exact(make, rows[order], np.concatenate([query] * 6), 10)


@pytest.mark.parametrize("make", REAL)
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 3.0, 1e6, 1e30])
def test_a_query_of_any_length_is_answered_exactly(make: Make, scale: float) -> None:
    assert_exact(make, draw_rows(800, DIM), draw_queries(7, DIM) * np.float32(scale), 10)


@pytest.mark.parametrize("make", REAL)
def test_a_query_of_zeros_finds_the_lowest_ids(make: Make) -> None:
    queries = draw_queries(6, DIM)
    queries[[0, 3]] = 0
    assert_exact(make, draw_rows(500, DIM), queries, 10)


@pytest.mark.parametrize("make", REAL)
def test_values_too_small_for_the_kernel_still_count(make: Make) -> None:
    random = np.random.default_rng(4)
    rows = (random.integers(-900, 900, (900, DIM)) * 2.0**-24).astype(np.float16)  # denormal, or nearly
    rows[:, 0] = 1
    queries = np.abs(draw_queries(8, DIM))
    queries[:, 0] = 0
    assert_exact(make, rows, queries, 10)


def conspiring() -> tuple[np.ndarray, np.ndarray]:
    """Rows (1200, DIM) and a query: every value of the best rows is rounded down, most of the others' up, by more."""
    offsets = np.random.default_rng(6).permuted(np.tile([4] * 45 + [0] * 19, (1200, 1)), axis=1)
    offsets[::100] = 3  # eighths of BFloat16's spacing
    query = np.full(DIM, 63 / 256, np.float32)
    query[0] = 70 / 256  # the best rows' sums, too, are rounded down, the others' up
    return (0x3000 + offsets).astype(np.int16).view(np.float16), query  # 0.125 and a little


@pytest.mark.parametrize("make", REAL)
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_that_conspires_against_the_best_rows_does_not_hide_them(make: Make, sign: int) -> None:
    rows, query = conspiring()
    assert_exact(make, np.float16(sign) * rows, np.stack([sign * query] * 6), 12)


@pytest.mark.parametrize("make", REAL)
def test_what_was_known_of_rows_is_forgotten_when_they_change(make: Make) -> None:
    rows, query = conspiring()
    queries = np.stack([query] * 6)
    plain = np.full_like(rows, 0.125)  # the kernel sees these as they are
    with opened(make, DIM) as index:
        ids = fill(index, plain)
        index.search(queries, 12)
        fill(index, rows)
        np.testing.assert_array_equal(index.search(queries, 12).ids, expected(ids, rows, queries, 12)[0])
        fill(index, plain)
        fill(index, rows, first_id=5000)
        index.search(queries, 12)
        index.remove(ids)  # the others move into their rows
        np.testing.assert_array_equal(index.search(queries, 12).ids, expected(ids + 4999, rows, queries, 12)[0])


@pytest.mark.parametrize("make", REAL)
def test_one_long_row_does_not_spoil_the_others(make: Make) -> None:
    rows = draw_rows(700, DIM)
    rows[333] *= 3000
    assert_exact(make, rows, draw_queries(8, DIM), 10)


@pytest.mark.parametrize("make", REAL)
def test_ten_thousand_neighbours_can_be_asked_for(make: Make) -> None:
    assert_exact(make, draw_rows(12_000, 8), draw_queries(5, 8), 10_001)


@pytest.mark.parametrize("make", REAL)
def test_a_row_scores_the_same_however_it_is_asked_for(make: Make) -> None:
    rows, queries = draw_rows(3000, DIM), draw_queries(40, DIM)
    with opened(make, DIM) as index:
        ids = fill(index, rows)
        together = index.search(queries, 50)
        for at in range(5):
            alone = index.search(queries[at : at + 1], 50)
            filtered = index.search(queries[at : at + 1], 50, ids)
            np.testing.assert_array_equal(alone.scores[0], together.scores[at])
            np.testing.assert_array_equal(filtered.scores[0], together.scores[at])
            np.testing.assert_array_equal(alone.ids[0], together.ids[at])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([True, False]))
def test_any_rows_are_ranked_exactly(seed: int, k: int, half: bool) -> None:
    random = np.random.default_rng(seed)
    kinds = [
        draw_rows(150, DIM, seed=seed),
        nearly_tied(random, 150),
        random.integers(-3, 4, (100, DIM)).astype(np.float16),
        (random.standard_normal((100, DIM)) * 10.0 ** random.integers(-7, 1, (100, 1))).astype(np.float16),
    ]
    rows = np.concatenate(kinds)[random.permutation(sum(map(len, kinds)))]
    assert_exact(
        lambda dim: CpuIndex(dim, threads=2, tile_rows=32, first_rows=32, half=half),
        rows,
        np.concatenate([draw_queries(5, DIM, seed), rows[:3].astype(np.float32)]),
        k,
    )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-7, 4))
def test_what_conversion_loses_is_within_its_bound(seed: int, magnitude: float) -> None:
    random = np.random.default_rng(seed)
    rows = (random.standard_normal((20, DIM)) * 10.0**magnitude).astype(np.float16)
    wide = rows.astype(np.float64)
    seen = gemm.bfloat16(rows, np.empty(rows.shape, np.int16)).float().numpy().astype(np.float64) * 2.0**112
    seen[np.abs(seen) < 2.0**-14] = 0
    lost = np.linalg.norm(wide - seen, axis=1)
    assert lost.max() <= gemm.residual_bound(rows)
    assert np.linalg.norm(wide, axis=1).max() <= gemm.norm_bound(rows)
    large = np.abs(wide) >= 2.0**-14
    assert (np.abs(seen - wide)[large] <= np.abs(wide)[large] * 2.0**-8).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 1500), st.integers(1, 9), st.booleans())
def test_the_largest_scores_are_found_group_by_group(seed: int, n: int, n_wanted: int, few_values: bool) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(-3, 4, (3, n)) if few_values else random.standard_normal((3, n))
    scores = torch.tensor(scores, dtype=torch.float32)
    n_wanted = min(n_wanted, n)
    places, values = top(scores, n_wanted)
    wanted = np.sort(scores.numpy(), axis=1)[:, n - n_wanted :]
    np.testing.assert_array_equal(np.sort(values.numpy(), axis=1), wanted)
    np.testing.assert_array_equal(scores.gather(1, places).numpy(), values.numpy())
    assert all(len(set(row)) == n_wanted for row in places.tolist())
