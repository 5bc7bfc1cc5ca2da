from __future__ import annotations

import threading

from indexer.ingest.budget import Budget


def acquire_in_thread(budget: Budget, size_bytes: int) -> tuple[threading.Thread, list[bool]]:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(budget.acquire(size_bytes)), daemon=True)
    thread.start()
    return thread, answers


def test_a_picture_beyond_the_number_waits_for_a_release() -> None:
    budget = Budget(n_images=1, n_bytes=100)
    assert budget.acquire(10)
    thread, answers = acquire_in_thread(budget, 10)
    thread.join(0.05)
    assert answers == []
    budget.release(10)
    thread.join(5)
    assert answers == [True]
    assert budget.in_use == (1, 10)


def test_a_picture_larger_than_all_bytes_passes_alone() -> None:
    budget = Budget(n_images=8, n_bytes=100)
    assert budget.acquire(1000)
    thread, answers = acquire_in_thread(budget, 1)
    thread.join(0.05)
    assert answers == []
    budget.release(1000)
    thread.join(5)
    assert answers == [True]


def test_closing_sends_everyone_away() -> None:
    budget = Budget(n_images=1, n_bytes=100)
    assert budget.acquire(1)
    thread, answers = acquire_in_thread(budget, 1)
    budget.close()
    thread.join(5)
    assert answers == [False]
    assert not budget.acquire(1)
