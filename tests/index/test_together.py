"""Searches beside changes, and the lock that keeps them apart."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from indexer.errors import Stopped
from indexer.index.lock import ReadersWriter
from tests.index.samples import Make, cpu_bfloat16, cpu_float32, draw_rows, fill, norms_of, opened, torch_on_cpu

WAIT_S = 10


@pytest.mark.parametrize("make", [cpu_bfloat16, cpu_float32, torch_on_cpu])
@pytest.mark.parametrize("n_queries", [1, 8])
def test_searches_beside_changes_see_whole_rows_and_no_removed_ids(make: Make, n_queries: int) -> None:
    """Rows that stay must always be their own best hit; ids removed before a search began must never be in it."""
    rows = draw_rows(1200)
    staying, passing = np.arange(1, 601), np.arange(601, 1201)
    removed_up_to = [600]
    rounds = 3
    finished = threading.Event()

    def change() -> None:
        try:
            for turn in range(rounds):
                first = 1 + 600 * (turn + 1)
                ids = np.arange(first, first + 600)
                for start in range(0, 600, 50):
                    index.remove(ids[start : start + 50])
                    removed_up_to[0] = int(ids[start + 49])
                    new = ids[start : start + 50] + 600
                    index.upsert(new, rows[600 + start : 650 + start], norms_of(new))
        finally:
            finished.set()

    def search(seed: int) -> int:
        random = np.random.default_rng(seed)
        n = 0
        while not finished.is_set() or not n:
            asked = random.choice(staying, n_queries, replace=False)
            dead_up_to = removed_up_to[0]
            found = index.search(rows[asked - 1].astype(np.float32), 5)
            assert (found.ids[:, 0] == asked).all()
            others = found.ids[found.ids > 600]
            assert (others > dead_up_to).all()
            n += 1
        return n

    with opened(make) as index, ThreadPoolExecutor(4) as pool:
        fill(index, rows)
        assert len(index) == len(staying) + len(passing)
        searches = [pool.submit(search, seed) for seed in range(3)]
        pool.submit(change).result(timeout=6 * WAIT_S)
        assert all(s.result(timeout=WAIT_S) for s in searches)
        assert len(index) == 1200


@pytest.mark.parametrize("make", [cpu_bfloat16, torch_on_cpu])
@pytest.mark.parametrize("n_queries", [1, 8])
def test_a_search_after_the_end_is_refused_or_finds_nothing(make: Make, n_queries: int) -> None:
    with opened(make) as index:
        fill(index, draw_rows(500))
    try:
        found = index.search(draw_rows(n_queries).astype(np.float32), 3)
    except Stopped:
        return
    assert (found.ids == -1).all()


def test_other_threads_keep_their_share_of_the_cores() -> None:
    before = torch.get_num_threads()
    with opened(cpu_bfloat16) as index:
        fill(index, draw_rows(500))
        index.search(draw_rows(8).astype(np.float32), 3)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result(timeout=WAIT_S) == before
    assert torch.get_num_threads() == before


def test_readers_share_the_lock() -> None:
    lock = ReadersWriter()
    both = threading.Barrier(2, timeout=WAIT_S)

    def read() -> None:
        with lock.reading:
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(read), pool.submit(read)]:
            future.result(timeout=WAIT_S)


def test_a_writer_is_alone() -> None:
    lock = ReadersWriter()
    inside: list[str] = []
    clashes: list[list[str]] = []

    def write() -> None:
        for _ in range(300):
            with lock.writing:
                inside.append("w")
                if len(inside) != 1:
                    clashes.append(list(inside))
                inside.remove("w")

    def read() -> None:
        for _ in range(300):
            with lock.reading:
                inside.append("r")
                if "w" in inside:
                    clashes.append(list(inside))
                inside.remove("r")

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(task) for task in (write, read) * 3]:
            future.result(timeout=WAIT_S)
    assert clashes == []


def test_a_waiting_writer_goes_before_new_readers_and_they_before_the_next_writer() -> None:
    lock = ReadersWriter()
    order: list[str] = []
    lock._changed = Announced(threading.Lock())
    lock._gate = AnnouncedEvent()

    def write(name: str) -> None:
        with lock.writing:
            order.append(name)

    def read() -> None:
        with lock.reading:
            order.append("reader")

    with ThreadPoolExecutor(3) as pool:
        with lock.reading:
            futures = []
            for task, waits in [
                (lambda: write("a writer"), lock._changed.waits),
                (read, lock._gate.waits),
                (lambda: write("another writer"), lock._changed.waits),
            ]:
                futures.append(pool.submit(task))
                assert waits.acquire(timeout=WAIT_S)
            assert order == []
        for future in futures:
            future.result(timeout=WAIT_S)
    assert order[1] == "reader"
    assert sorted(order) == ["a writer", "another writer", "reader"]


class Announced(threading.Condition):
    """Tells when a thread has come to wait."""

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__(lock)
        self.waits = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.release()
        return super().wait(timeout)


class AnnouncedEvent(threading.Event):
    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.release()
        return super().wait(timeout)


def test_an_interrupted_writer_leaves_the_lock_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = ReadersWriter()
    with lock.reading:
        monkeypatch.setattr(lock._changed, "wait", _interrupted)
        with pytest.raises(KeyboardInterrupt), lock.writing:
            pass
        monkeypatch.undo()
    with lock.writing:
        pass
    with lock.reading, lock.reading:
        pass


def _interrupted(timeout: float | None = None) -> bool:
    raise KeyboardInterrupt
