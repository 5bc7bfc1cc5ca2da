"""Who listens is told, whoever else listens, and nothing runs for nobody."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from indexer.engine.live import N_NEWEST, Changes, Live, Topic
from indexer.errors import InputError
from indexer.types import ContentHash, Event


class World:
    """Two topics: a clock that says how often it was read, and news that a test puts in."""

    def __init__(self) -> None:
        self.n_read = 0
        self.news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.live = Live({"clock": Topic(0.01, self.read), "news": Topic(0.01, lambda: "state", self.look)})
        self.live.start()

    def read(self) -> int:
        self.n_read += 1
        return self.n_read

    def look(self) -> str | None:
        try:
            return self.news.get_nowait()
        except queue.Empty:
            return None


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.live.close()


def test_the_state_comes_first_and_then_the_news(world: World) -> None:
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    world.news.put("old")  # nobody listened
    world.live.listen(["news"], told.put)
    assert told.get(timeout=10) == Event("news", "state")  # type: ignore[arg-type]
    world.news.put("new")
    assert told.get(timeout=10).data == "new"
    late: queue.SimpleQueue[Event] = queue.SimpleQueue()
    world.live.listen(["news"], late.put)
    assert late.get(timeout=10).data == "state"
    world.news.put("newer")
    assert told.get(timeout=10).data == late.get(timeout=10).data == "newer"


def test_states_are_told_again_and_again_until_one_stops_listening(world: World) -> None:
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    stop = world.live.listen(["clock"], told.put)
    numbers = [told.get(timeout=10).data for _ in range(4)]
    assert numbers == sorted(set(numbers))
    stop()
    stop()
    n_read = world.n_read
    world.live.listen(["news"], told.put)
    world.news.put("x")
    while told.get(timeout=10).topic != "news":
        pass
    assert world.n_read <= n_read + 1  # one look may have been under way


def test_a_listener_that_fails_is_dropped_and_costs_the_others_nothing(world: World) -> None:
    n_calls = 0

    def fail(event: Event) -> None:
        nonlocal n_calls
        n_calls += 1
        raise RuntimeError("gone")

    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    world.live.listen(["clock"], fail)
    world.live.listen(["clock"], told.put)
    for _ in range(5):
        told.get(timeout=10)
    assert n_calls == 1


def test_a_topic_that_cannot_be_read_does_not_end_the_others() -> None:
    def broken() -> int:
        raise OSError("no such file")

    told = threading.Event()
    live = Live({"broken": Topic(0.01, broken), "clock": Topic(0.01, lambda: 1)})
    live.start()
    live.listen(["broken", "clock"], lambda event: told.set())
    assert told.wait(10)
    told.clear()
    assert told.wait(10)
    live.close()


def test_what_is_published_reaches_its_topic_alone(world: World) -> None:
    told: list[Event] = []
    world.live.listen([], told.append)
    world.live.publish("news", "x")
    assert told == []


def test_an_unknown_topic_is_refused(world: World) -> None:
    with pytest.raises(InputError, match="weather"):
        world.live.listen(["weather"], lambda event: None)


def test_changes_are_taken_once_and_only_the_newest_are_named() -> None:
    changes = Changes()
    hashes = [ContentHash(i.to_bytes(32)) for i in range(N_NEWEST + 10)]
    changes.note(hashes[:5], 2)
    changes.note(hashes[5:], 1)
    assert changes.take() == (tuple(hash.hex() for hash in hashes[10:]), 3)
    assert changes.take() == ((), 0)
