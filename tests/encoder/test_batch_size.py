from __future__ import annotations

from indexer.encoder.batch_size import MOST_PATIENCE, PATIENCE, BatchSize


def test_nothing_is_risked_before_the_time_of_a_picture_is_known() -> None:
    assert BatchSize(64, max_batch_s=0.25).now == 1


def test_a_batch_is_as_large_as_the_time_allows() -> None:
    batch = BatchSize(64, max_batch_s=0.25)
    batch.succeeded(1, 0.01)
    assert batch.now == 25


def test_a_batch_is_never_larger_than_configured() -> None:
    batch = BatchSize(8, max_batch_s=0.25)
    batch.succeeded(1, 0.0)
    assert batch.now == 8


def test_slow_pictures_go_one_by_one() -> None:
    batch = BatchSize(64, max_batch_s=0.25)
    batch.succeeded(1, 0.5)
    assert batch.now == 1


def test_one_slow_batch_does_not_keep_the_next_ones_small() -> None:
    batch = BatchSize(64, max_batch_s=0.25)
    batch.succeeded(1, 10.0)
    batch.succeeded(1, 0.004)
    assert batch.now == 62


def test_out_of_memory_halves_and_twenty_good_full_batches_double_again() -> None:
    batch = fast(64)
    batch.ran_out(64)
    assert batch.now == 32
    good(batch, PATIENCE - 1)
    assert batch.now == 32
    good(batch, 1)
    assert batch.now == 64


def test_batches_that_are_not_full_prove_nothing() -> None:
    batch = fast(64)
    batch.ran_out(64)
    for _ in range(10 * PATIENCE):
        batch.succeeded(31, 0.0)
    assert batch.now == 32


def test_a_single_picture_that_does_not_fit_leaves_a_batch_of_one() -> None:
    batch = fast(2)
    batch.ran_out(2)
    batch.ran_out(1)
    assert batch.now == 1


def test_growth_that_fails_again_and_again_is_tried_less_and_less_often_but_never_given_up() -> None:
    batch = fast(64)
    batch.ran_out(64)
    needed = []
    for _ in range(8):
        n = 0
        while batch.now == 32:
            good(batch, 1)
            n += 1
        needed.append(n)
        batch.ran_out(64)
    assert needed == [20, 40, 80, 160, 320, 640, MOST_PATIENCE, MOST_PATIENCE]


def test_growth_that_holds_restores_the_patience() -> None:
    batch = fast(64)
    batch.ran_out(64)
    good(batch, PATIENCE)
    batch.ran_out(64)  # now it takes twice as many
    batch.ran_out(32)
    batch.ran_out(16)
    good(batch, 2 * PATIENCE)
    assert batch.now == 16
    good(batch, 2 * PATIENCE)
    assert batch.now == 32
    good(batch, PATIENCE)
    assert batch.now == 64


def fast(largest: int) -> BatchSize:
    batch = BatchSize(largest, max_batch_s=1.0)
    batch.succeeded(1, 0.0)
    return batch


def good(batch: BatchSize, n: int) -> None:
    for _ in range(n):
        batch.succeeded(batch.now, 0.0)
