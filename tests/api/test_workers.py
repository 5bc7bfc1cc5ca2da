from __future__ import annotations

import asyncio
import threading

import pytest

from indexer.errors import Overloaded, Stopped
from search_api.workers import Workers


def test_each_caller_gets_its_own_result_or_error() -> None:
    async def main() -> list[int | BaseException]:
        workers = Workers(4, 100)
        calls = [workers.call(lambda i=i: 10 // i) for i in range(50)]  # type: ignore[misc]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert workers.n_calls == 0
        workers.close()
        return results

    results = asyncio.run(main())
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1:] == [10 // i for i in range(1, 50)]


def test_as_many_calls_as_threads_are_at_work_together_and_no_more() -> None:
    together = threading.Barrier(8)
    at_work = 0
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        together.wait(10)
        with lock:
            at_work -= 1

    async def main() -> None:
        workers = Workers(8, 100)
        await asyncio.gather(*[workers.call(work) for _ in range(64)])
        workers.close()

    asyncio.run(main())
    assert most == 8


def test_threads_are_started_only_when_they_are_needed() -> None:
    async def main() -> set[int]:
        workers = Workers(8, 8)
        threads = {await workers.call(threading.get_ident) for _ in range(50)}
        workers.close()
        return threads

    assert len(asyncio.run(main())) == 1


def test_what_is_too_much_is_refused_and_what_is_done_makes_room() -> None:
    async def main() -> None:
        go = threading.Event()
        workers = Workers(1, 1)
        calls = [workers.call(lambda: go.wait(10)) for _ in range(2)]
        with pytest.raises(Overloaded):
            workers.call(lambda: None)
        go.set()
        await asyncio.gather(*calls)
        assert await workers.call(lambda: 1) == 1
        workers.close()

    asyncio.run(main())


def test_after_the_end_nothing_is_taken() -> None:
    async def main() -> None:
        workers = Workers(1, 1)
        workers.close()
        with pytest.raises(Stopped):
            workers.call(lambda: None)

    asyncio.run(main())


def test_a_caller_that_gives_up_hurts_nobody() -> None:
    async def main() -> None:
        go = threading.Event()
        workers = Workers(1, 1)
        given_up = workers.call(lambda: go.wait(10))
        given_up.cancel()
        go.set()
        assert await workers.call(lambda: 1) == 1
        assert workers.n_calls == 0
        workers.close()

    asyncio.run(main())


def test_who_gives_up_before_his_turn_makes_room_and_his_work_is_never_done() -> None:
    async def main() -> None:
        go = threading.Event()
        done: list[str] = []
        workers = Workers(1, 1)
        begun = workers.call(lambda: go.wait(10))
        waiting = workers.call(lambda: done.append("given up"))
        with pytest.raises(Overloaded):
            workers.call(lambda: None)
        workers.give_up(waiting)
        workers.give_up(waiting)  # twice is once
        late = workers.call(lambda: done.append("late"))
        go.set()
        await asyncio.gather(begun, late)
        assert (done, workers.n_calls, workers.n_rejected) == (["late"], 0, 1)
        workers.close()

    asyncio.run(main())


def test_work_that_outlives_its_loop_ends_quietly() -> None:
    go = threading.Event()
    before = set(threading.enumerate())

    async def main() -> list[threading.Thread]:
        Workers(1, 1).call(lambda: go.wait(10))
        return list(set(threading.enumerate()) - before)

    [thread] = asyncio.run(main())
    go.set()
    thread.join(10)
    assert not thread.is_alive()
