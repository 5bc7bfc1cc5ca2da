"""A path is handed out once the file system has left it alone, exactly once per change, never while it changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from indexer.types import FilePath, Settled
from indexer.watch.accept import Exclude
from indexer.watch.settle import N_LOOK, WRITER_WAIT_MAX_S, SettleQueue
from tests.watch.world import World

SETTLE_S = 2.0
A, B, C = FilePath(b"/r/a"), FilePath(b"/r/b"), FilePath(b"/r/c")


def queue_in(world: World, **changed: object) -> SettleQueue:
    parts: dict[str, object] = {
        "monotonic": world.monotonic,
        "wall_ns": world.wall_ns,
        "lstat": world.lstat,
        "has_writer": world.has_writer,
    }
    return SettleQueue(SETTLE_S, **(parts | changed))  # type: ignore[arg-type] - parts by name


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def queue(world: World) -> SettleQueue:
    return queue_in(world)


def paths(settled: list[Settled]) -> list[bytes]:
    return [each.path for each in settled]


# ---------------------------------------------------------------- when a path is at rest


def test_a_fresh_file_rests_when_it_was_left_alone_for_the_quiet_time(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A))
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S - 0.01)
    assert queue.take(10, 0) == []
    world.tick(0.01)
    assert queue.take(10, 0) == [Settled(A, world.stamp(A))]


def test_a_file_that_is_old_already_rests_at_once(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A, age_s=SETTLE_S))
    assert paths(queue.take(10, 0)) == [A]


def test_a_file_renamed_into_place_is_not_old_though_its_content_is(world: World, queue: SettleQueue) -> None:
    world.write(B, age_s=100)
    world.rename(B, A)
    queue.add(A)
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S)
    assert paths(queue.take(10, 0)) == [A]


def test_a_write_with_the_old_time_restored_is_noticed(world: World, queue: SettleQueue) -> None:
    world.write(A, age_s=100)
    before = world.stamp(A)
    assert before is not None
    queue.add(world.write(A, mtime_ns=before.mtime_ns))
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S)
    assert queue.take(10, 0) == [Settled(A, world.stamp(A))]


def test_a_file_from_the_future_rests_when_two_looks_agree(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A, mtime_ns=2**62))
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S / 2)
    queue.add(world.write(A, size=2, mtime_ns=2**62))
    world.tick(SETTLE_S / 2)
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S)
    assert paths(queue.take(10, 0)) == [A]


def test_every_write_starts_the_quiet_time_anew(world: World, queue: SettleQueue) -> None:
    for size in range(5):
        queue.add(world.write(A, size))
        world.tick(SETTLE_S - 0.1)
        assert queue.take(10, 0) == []
    world.tick(0.1)
    assert paths(queue.take(10, 0)) == [A]


def test_events_about_an_unchanged_file_do_not_delay_it(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A))
    for _ in range(4):
        assert queue.take(10, 0) == []
        world.tick(SETTLE_S / 4)
        queue.add(A)
    assert paths(queue.take(10, 0)) == [A]


def test_a_file_that_never_rests_is_never_handed_out_and_starves_nobody(world: World, queue: SettleQueue) -> None:
    for size in range(50):
        queue.add(world.write(A, size))
        if size == 20:
            queue.add(world.write(B))
        world.tick(SETTLE_S / 2)
        handed = paths(queue.take(10, 0))
        assert handed == ([B] if size == 21 else [])
    assert len(queue) == 2
    assert queue.oldest_s == 50 * SETTLE_S / 2
    assert world.n_lstat < 60  # one look per quiet time, not one per event and take


def test_nothing_and_no_file_are_handed_out_as_gone_after_the_quiet_time(world: World, queue: SettleQueue) -> None:
    queue.add(A)
    queue.add(world.fifo(B))
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S)
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S * 0.2)
    assert sorted(queue.take(10, 0)) == [Settled(A, None), Settled(B, None)]


def test_what_vanished_unheard_of_rests_from_when_that_was_seen(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A))
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S - 0.1)
    world.delete(A)  # and perhaps about to be made again, where no events tell
    world.tick(SETTLE_S)
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S * 1.2)
    assert queue.take(10, 0) == [Settled(A, None)]


def test_a_hint_that_comes_while_a_path_is_looked_at_is_not_lost(world: World) -> None:
    """Between the last look at a path and its being handed out, it changes."""
    lstat = world.lstat

    def has_writer(path: FilePath) -> bool:
        if path == A and world.stamp(A) == old:
            queue.add(world.write(A, 2))
        return False

    queue = queue_in(world, lstat=lstat, has_writer=has_writer)
    world.write(A, age_s=100)
    old = world.stamp(A)
    queue.add(A)
    assert queue.take(10, 0) == [Settled(A, old)]
    queue.done(A)
    assert queue.state(A) == "settling"
    assert queue.take(10, 0) == []
    world.tick(SETTLE_S)
    assert queue.take(10, 0) == [Settled(A, world.stamp(A))]


def test_a_folder_compared_while_a_path_is_looked_at_brings_it_back(world: World) -> None:
    def has_writer(path: FilePath) -> bool:
        queue.add(FilePath(b"/r/"))
        return False

    queue = queue_in(world, has_writer=has_writer)
    queue.add(world.write(A, age_s=100))
    assert paths(queue.take(10, 0)) == [A]
    queue.done(A)
    assert queue.state(A) == "settling"


def test_a_path_looked_at_by_one_taker_wakes_another_in_time(world: World) -> None:
    """The second taker sleeps for its whole timeout, unless the first tells it of the time that it found out."""
    asked = threading.Semaphore(0)

    def monotonic() -> float:
        asked.release()
        return time.monotonic()

    queue = SettleQueue(0.2, lstat=world.lstat, has_writer=world.has_writer, monotonic=monotonic)
    got: list[list[Settled]] = []
    sleeper = in_thread(lambda: got.append(queue.take(1, 30)))
    for _ in range(2):  # it asks for the time, then holds the lock, asks again and sleeps
        assert asked.acquire(timeout=10)
    with queue._changed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue._changed, "notify", lambda: None)
        queue._begin(A)  # it sleeps on
    assert queue.take(1, 0) == []  # the other one's look: nothing is there, which rests in 0.22 s
    sleeper.join(10)
    assert got == [[Settled(A, None)]]


def test_deleted_and_made_again_comes_as_one_change(world: World, queue: SettleQueue) -> None:
    world.write(A, age_s=100)
    queue.add(world.delete(A))
    assert queue.take(10, 0) == []
    world.tick(1)
    queue.add(world.write(A, 5))
    world.tick(SETTLE_S)
    assert queue.take(10, 0) == [Settled(A, world.stamp(A))]
    queue.done(A)
    assert len(queue) == 0


def test_what_is_left_out_comes_as_gone(world: World) -> None:
    queue = queue_in(world, exclude=Exclude(["*.tmp"], [FilePath(b"/r")]))
    queue.add(world.write(b"/r/x.tmp"))
    assert queue.take(10, 0) == []
    world.tick(2 * SETTLE_S)
    assert queue.take(10, 0) == [Settled(FilePath(b"/r/x.tmp"), None)]


def test_a_path_that_cannot_be_looked_at_is_left_to_the_next_scan(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A, age_s=100))
    queue.add(world.write(B, age_s=100))
    world.unreadable.add(A)
    assert paths(queue.take(10, 0)) == [B]
    assert queue.state(A) is None
    assert len(queue) == 1


# ---------------------------------------------------------------- writers


def test_a_file_open_for_writing_waits_for_its_close(world: World, queue: SettleQueue) -> None:
    world.writers.add(world.write(A))
    queue.add(A)
    world.tick(100)
    assert queue.take(10, 0) == []
    assert queue.state(A) == "open for writing"
    world.writers.discard(A)
    queue.add(A)  # the close event
    assert paths(queue.take(10, 0)) == [A]


def test_a_close_that_sent_no_event_is_noticed_within_two_seconds(world: World, queue: SettleQueue) -> None:
    world.writers.add(world.write(A))
    queue.add(A)
    for _ in range(100):
        world.tick(1)
        assert queue.take(10, 0) == []
    world.writers.discard(A)
    world.tick(WRITER_WAIT_MAX_S)
    assert paths(queue.take(10, 0)) == [A]


def test_a_writer_does_not_keep_others_waiting(world: World, queue: SettleQueue) -> None:
    world.writers.add(world.write(A, age_s=100))
    for path in (A, world.write(B, age_s=100)):
        queue.add(path)
    assert paths(queue.take(1, 0)) == [B]


# ---------------------------------------------------------------- order


def test_the_new_name_of_a_file_comes_before_its_old_one_is_gone(world: World, queue: SettleQueue) -> None:
    old = [world.write(b"/r/old%03d" % i, age_s=100) for i in range(300)]
    new = [FilePath(b"/r/new%03d" % i) for i in range(300)]
    for before, after in zip(old, new, strict=True):
        world.rename(before, after)
        queue.add(before)
        assert queue.take(7, 0) == []  # looks that fall between the two halves
        world.tick(0.0001)
        queue.add(after)
    handed: list[bytes] = []
    for _ in range(100):
        world.tick(SETTLE_S / 50)
        while taken := queue.take(7, 0):
            handed += paths(taken)
    assert sorted(handed) == sorted(old + new)
    assert all(handed.index(after) < handed.index(before) for before, after in zip(old, new, strict=True))


def test_within_one_take_files_come_before_what_is_gone(world: World, queue: SettleQueue) -> None:
    queue.add(A)
    world.tick(1)
    queue.add(world.write(B))
    queue.take(10, 0)
    world.tick(10)
    assert paths(queue.take(10, 0)) == [B, A]


def test_a_deletion_and_a_change_overtake_a_backlog_that_a_scan_found(world: World, queue: SettleQueue) -> None:
    for i in range(3 * N_LOOK):
        queue.add(world.write(b"/r/%d" % i, age_s=100))
    queue.take(1, 0)
    queue.add(A)
    queue.add(world.write(B))
    for _ in range(6):  # looks at the whole backlog
        queue.take(1, 0)
    world.tick(2 * SETTLE_S)
    assert paths(queue.take(1, 0)) == [A]  # costs nothing, so it comes before what must be encoded
    assert paths(queue.take(1, 0)) == [B]


def test_a_file_of_the_backlog_that_is_deleted_overtakes_it(world: World, queue: SettleQueue) -> None:
    for i in range(100):
        queue.add(world.write(b"/r/%d" % i, age_s=100))
    assert paths(queue.take(1, 0)) == [b"/r/0"]
    queue.add(world.delete(b"/r/99"))
    queue.take(1, 0)
    world.tick(2 * SETTLE_S)
    assert queue.take(1, 0) == [Settled(FilePath(b"/r/99"), None)]


# ---------------------------------------------------------------- in flight


def test_a_path_is_in_flight_until_it_is_done(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A, age_s=100))
    assert queue.state(A) == "settling"
    assert paths(queue.take(10, 0)) == [A]
    assert queue.state(A) == "in flight"
    assert queue.take(10, 0) == []
    assert len(queue) == 1
    queue.done(A)
    assert queue.state(A) is None
    assert len(queue) == 0
    assert queue.take(10, 0) == []


def test_a_path_tells_whether_it_settles_or_waits_for_its_turn_and_for_how_long(
    world: World, queue: SettleQueue
) -> None:
    queue.add(world.write(A, age_s=100))
    queue.add(world.write(B, age_s=100))
    assert queue.age_s(A) == 0
    world.tick(3)
    assert paths(queue.take(1, 0)) == [A]
    assert (queue.state(B), queue.age_s(B)) == ("queued", 3)
    assert (queue.state(A), queue.age_s(A)) == ("in flight", None)
    queue.done(A)
    assert queue.age_s(A) is None


def test_a_path_changed_while_in_flight_comes_again_when_it_is_done(world: World, queue: SettleQueue) -> None:
    queue.add(world.write(A, age_s=100))
    queue.take(10, 0)
    queue.add(world.write(A, 2))
    world.tick(10)
    assert queue.take(10, 0) == []
    queue.done(A)
    assert queue.take(10, 0) == [Settled(A, world.stamp(A))]


def test_a_folder_that_is_to_be_compared_brings_back_what_is_in_flight_below_it(
    world: World, queue: SettleQueue
) -> None:
    """A scan cannot see that it went: it is not recorded yet."""
    inside, beside, waiting = (world.write(path, age_s=100) for path in (b"/r/sub/a", b"/r/sub2/a", b"/r/sub/b"))
    for path in (inside, beside, waiting):
        queue.add(path)
    assert paths(queue.take(2, 0)) == [inside, beside]
    world.delete(inside)
    queue.add(FilePath(b"/r/sub/"))
    assert len(queue) == 3
    queue.done(inside)
    queue.done(beside)
    assert paths(queue.take(5, 0)) == [waiting]
    world.tick(2 * SETTLE_S)
    assert queue.take(5, 0) == [Settled(inside, None)]


def test_a_path_may_be_added_again_and_again_and_comes_once(world: World, queue: SettleQueue) -> None:
    world.write(A, age_s=100)
    for _ in range(1000):
        queue.add(A)
    assert paths(queue.take(10, 0)) == [A]
    queue.done(A)
    assert len(queue) == 0


def test_done_of_an_unknown_path_is_no_error(queue: SettleQueue) -> None:
    queue.done(A)
    assert len(queue) == 0


# ---------------------------------------------------------------- bounds


def test_what_does_not_fit_is_asked_for_by_a_rescan_once_there_is_room(world: World) -> None:
    asked: list[float] = []
    queue = queue_in(world, n_max=100, on_overflow=lambda: asked.append(world.now_s))
    everything = [world.write(b"/r/%d" % i, age_s=100) for i in range(250)]
    handed: set[bytes] = set()
    pending = list(everything)
    while pending:
        for path in pending:
            queue.add(path)
        assert len(queue) <= 100
        asked.clear()
        while not asked and (taken := queue.take(10, 0)):
            handed.update(paths(taken))
            for each in taken:
                queue.done(each.path)
        pending = [path for path in everything if path not in handed] if asked else []
    assert handed == set(everything)


# ---------------------------------------------------------------- threads


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_close_wakes_who_waits_and_then_nothing_is_handed_out(world: World) -> None:
    world.write(A, age_s=100)
    queue = SettleQueue(SETTLE_S, lstat=world.lstat, has_writer=world.has_writer)
    got: list[list[Settled]] = []
    takers = [in_thread(lambda: got.append(queue.take(1, 60))) for _ in range(3)]
    queue.close()
    for taker in takers:
        taker.join(10)
    assert got == [[], [], []]
    queue.add(A)
    assert queue.take(1, 0) == []


def test_a_waiting_take_is_woken_by_a_path_and_by_the_end_of_its_quiet_time() -> None:
    world = World()
    queue = SettleQueue(0.05, lstat=world.lstat, has_writer=world.has_writer)
    got: list[list[Settled]] = []
    taker = in_thread(lambda: got.append(queue.take(1, 30)))
    queue.add(A)  # nothing is there: it rests after 0.055 s of the real clock
    taker.join(10)
    assert got == [[Settled(A, None)]]


def test_a_take_without_work_ends_at_its_timeout() -> None:
    assert SettleQueue(0.05).take(1, 0.01) == []


def test_several_takers_share_everything_and_nothing_twice() -> None:
    world = World()
    queue = SettleQueue(0.02, lstat=world.lstat, has_writer=world.has_writer)
    handed: list[bytes] = []
    n = 3_000

    def take() -> None:
        while taken := queue.take(16, 2):
            for each in taken:
                handed.append(each.path)
                queue.done(each.path)
            if len(handed) >= n:
                queue.close()

    takers = [in_thread(take) for _ in range(3)]
    for i in range(n):
        queue.add(FilePath(b"/r/%d" % i))
    for taker in takers:
        taker.join(20)
    assert len(handed) == n
    assert len(set(handed)) == n


# ---------------------------------------------------------------- everything at once

PATHS = st.sampled_from([FilePath(b"/r/%d" % i) for i in range(5)])


class Settling(RuleBasedStateMachine):
    """Random changes, hints and takes. What is handed out was at rest; what was hinted at is handed out in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.queue = queue_in(self.world)
        self.in_flight: set[FilePath] = set()
        self.owed: set[FilePath] = set()  # hinted at since last handed out
        self.hinted_s: dict[FilePath, float] = {}
        self.last: dict[FilePath, Settled] = {}

    def hint(self, path: FilePath) -> None:
        self.queue.add(path)
        self.owed.add(path)
        self.hinted_s[path] = self.world.now_s

    @rule(ahead_s=st.sampled_from([0.0, 0.5, 3600.0]))
    def clock_of_the_file_system(self, ahead_s: float) -> None:
        self.world.skew_s = ahead_s

    @rule(path=PATHS, size=st.integers(0, 3), mtime_ns=st.sampled_from([None, 1, 10**18, 2**62]), hinted=st.booleans())
    def write(self, path: FilePath, size: int, mtime_ns: int | None, hinted: bool) -> None:
        self.world.tick(0.001)  # the finest difference that the file system's times can show
        self.world.write(path, size, mtime_ns=mtime_ns)
        if hinted:
            self.hint(path)

    @rule(path=PATHS, hinted=st.booleans())
    def delete(self, path: FilePath, hinted: bool) -> None:
        if path in self.world.nodes:
            self.world.delete(path)
            if hinted:
                self.hint(path)

    @rule(path=PATHS)
    def become_a_fifo(self, path: FilePath) -> None:
        self.world.fifo(path)
        self.hint(path)

    @rule(old=PATHS, new=PATHS)
    def rename(self, old: FilePath, new: FilePath) -> None:
        if old in self.world.nodes and old != new:
            self.world.rename(old, new)
            self.hint(old)
            self.hint(new)

    @rule(path=PATHS)
    def open_for_writing(self, path: FilePath) -> None:
        if path in self.world.nodes:
            self.world.writers.add(path)

    @rule(path=PATHS, hinted=st.booleans())
    def close_writer(self, path: FilePath, hinted: bool) -> None:
        self.world.writers.discard(path)
        if hinted:
            self.hint(path)

    @rule(path=PATHS)
    def hint_for_nothing(self, path: FilePath) -> None:
        self.hint(path)

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 2.0, 2.2, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(limit=st.integers(1, 6))
    def take(self, limit: int) -> None:
        self.check(self.queue.take(limit, 0), limit)

    def check(self, taken: list[Settled], limit: int) -> None:
        assert len(taken) <= limit
        assert [each.stamp is None for each in taken] == sorted(each.stamp is None for each in taken)
        for each in taken:
            path, stamp = each
            assert path not in self.in_flight
            assert stamp == self.world.stamp(path)
            assert stamp is None or path not in self.world.writers
            changed_s = self.world.changed_s.get(path, 0.0)
            if stamp is None:  # nothing tells how long nothing has been there, but hints and what was seen before
                changed_s = max(self.hinted_s[path], self.world.shown_s.get(path, 0.0))
            assert self.world.now_s - changed_s >= SETTLE_S - 1e-3
            self.in_flight.add(path)
            self.owed.discard(path)
            self.last[path] = each

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.in_flight)))
        self.in_flight.discard(path)
        self.queue.done(path)

    @invariant()
    def counts_hold(self) -> None:
        assert len(self.queue) >= len(self.in_flight | self.owed)
        assert all(self.queue.state(path) == "in flight" for path in self.in_flight)
        assert all(self.queue.state(path) is not None for path in self.owed)

    def teardown(self) -> None:
        self.world.writers.clear()
        hinted = set(self.owed)
        for _ in range(4):
            for path in sorted(self.in_flight):
                self.in_flight.discard(path)
                self.queue.done(path)
            self.world.tick(2 * SETTLE_S)
            while taken := self.queue.take(2, 0):
                self.check(taken, 2)
        assert not self.owed
        for path in hinted:
            assert self.last[path] == Settled(path, self.world.stamp(path))
        for path in sorted(self.in_flight):
            self.queue.done(path)
        assert len(self.queue) == 0


Settling.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestSettling = Settling.TestCase
