from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.errors import CapacityError, ImageRefused, Overloaded, Stopped
from indexer.images.jobs import Bounds
from indexer.images.limits import Limits
from indexer.images.pool import DecodePool
from indexer.types import Reason

from .drawing import SMALL

POISON = "tests.images.poison"
WAIT_S = 60
LIMITS = Limits(1_000_000, 1 << 20)
Pool = Callable[..., DecodePool]


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Opens pools of poisonable children, and closes them."""
    opened: list[DecodePool] = []

    def open_pool(n_workers: int = 1, limits: Limits = LIMITS, **options: Any) -> DecodePool:
        options = {"handler": POISON, "timeout_s": 30.0} | options
        opened.append(DecodePool(SMALL, limits, n_workers=n_workers, **options))
        return opened[-1]

    yield open_pool
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def one() -> Iterator[DecodePool]:
    """One child, for tests that ask for nothing special; it may be replaced at any time."""
    opened = DecodePool(SMALL, LIMITS, n_workers=1, timeout_s=30.0, handler=POISON)
    yield opened
    opened.close()


def reason_of(future: Future[Any]) -> Reason:
    error = future.exception(WAIT_S)
    assert isinstance(error, ImageRefused), error
    assert error.detail
    return error.reason


def pid_of(future: Future[Any]) -> int:
    """The child that decoded it."""
    return future.result(WAIT_S).info.width_px


def wait_gone(pid: int) -> None:
    """Until the process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], WAIT_S)[0], f"process {pid} lives on"
    finally:
        os.close(handle)


def until(condition: Callable[[], bool]) -> None:
    """For what nobody announces: that a child has come up."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


def both_idle(opened: DecodePool) -> bool:
    return opened._jobs.n_idle == 2


class Gate:
    """Keeps a child busy until opened."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = folder / name
        os.mkfifo(self.path)
        self.job = b"gate:" + os.fsencode(self.path) + b"\0"

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Entered when the child has come to the gate."""
        with open(self.path, "wb"):
            yield


# ---------------------------------------------------------------- the ordinary case


def test_pixels_and_measures_come_back(one: DecodePool) -> None:
    decoded = one.decode(b"picture\x07").result(WAIT_S)
    np.testing.assert_array_equal(decoded.pixels, np.full((32, 32, 3), 7, np.uint8))
    assert decoded.info.format == "png"
    assert decoded.info.height_px == decoded.info.size_bytes == len(b"picture\x07")
    assert one.thumbnail(b"abc", 16).result(WAIT_S) == b"cba"


def test_many_jobs_of_any_size_keep_their_own_results(pool: Pool) -> None:
    opened = pool(2)
    rng = np.random.default_rng(0)
    files = [bytes(rng.integers(0, 256, rng.choice([1, 100, 5000, 700_000]), np.uint8)) for _ in range(300)]
    futures = [opened.decode(b"\0" + data, urgent=i % 7 == 0) for i, data in enumerate(files)]
    for data, future in zip(files, futures, strict=True):
        decoded = future.result(WAIT_S)
        assert decoded.info.height_px == len(data) + 1
        assert (decoded.pixels == data[-1]).all()


def test_both_children_work(pool: Pool, tmp_path: Path) -> None:
    opened = pool(2)
    until(lambda: both_idle(opened))
    gate = Gate(tmp_path)
    held = opened.decode(gate.job)
    with gate.shut():
        other = pid_of(opened.decode(b"x"))
    assert pid_of(held) != other
    assert set(opened.pids) == {pid_of(held), other}


def test_urgent_jobs_overtake_bulk_ones(pool: Pool, tmp_path: Path) -> None:
    opened = pool(bulk=Bounds(10, 1 << 20))
    gate = Gate(tmp_path)
    order: list[str] = []
    held = opened.decode(gate.job)
    with gate.shut():
        bulk = [opened.decode(b"x") for _ in range(3)]
        urgent = opened.decode(b"x", urgent=True)
        for future in bulk:
            future.add_done_callback(lambda _: order.append("bulk"))
        urgent.add_done_callback(lambda _: order.append("urgent"))
        assert opened.n_waiting == 4
    held.result(WAIT_S)
    for future in bulk:
        future.result(WAIT_S)
    assert order[0] == "urgent"


def test_urgent_work_beyond_its_bound_is_turned_away(pool: Pool, tmp_path: Path) -> None:
    opened = pool(urgent=Bounds(2, 1 << 20))
    gate = Gate(tmp_path)
    opened.decode(gate.job)
    with gate.shut():
        futures = [opened.decode(b"x", urgent=True), opened.thumbnail(b"ab", 8)]
        with pytest.raises(Overloaded):
            opened.decode(b"x", urgent=True)
        with pytest.raises(Overloaded):
            opened.thumbnail(b"x", 8)
    assert [future.result(WAIT_S) is not None for future in futures] == [True, True]


def test_a_file_over_the_limit_never_reaches_a_child(pool: Pool) -> None:
    opened = pool(limits=Limits(1_000_000, 100))
    assert reason_of(opened.decode(bytes(101))) is Reason.TOO_MANY_BYTES
    assert reason_of(opened.thumbnail(bytes(101), 8)) is Reason.TOO_MANY_BYTES
    assert opened.decode(bytes(100)).result(WAIT_S)


def test_a_refusal_keeps_its_reason_and_detail(one: DecodePool) -> None:
    error = one.decode(b"refuse").exception(WAIT_S)
    assert isinstance(error, ImageRefused)
    assert error.reason is Reason.CORRUPT
    assert error.detail.startswith("as told xxx")


# ---------------------------------------------------------------- poison


@pytest.mark.parametrize("poison", [b"abort", b"segfault", b"exit", b"lie"])
def test_a_crash_costs_its_own_file_only(one: DecodePool, poison: bytes) -> None:
    futures = [one.decode(data) for data in (b"x", poison, b"y", b"z")]
    assert reason_of(futures[1]) is Reason.DECODER_CRASHED
    before, after = pid_of(futures[0]), pid_of(futures[2])
    assert before != after
    assert pid_of(futures[3]) == after


def test_a_crash_tells_how_the_child_ended(one: DecodePool) -> None:
    with pytest.raises(ImageRefused, match="SIGABRT"):
        one.decode(b"abort").result(WAIT_S)


def test_an_unforeseen_error_is_told_and_costs_no_child(one: DecodePool) -> None:
    future = one.decode(b"raise")
    assert reason_of(future) is Reason.DECODER_CRASHED
    with pytest.raises(ImageRefused, match="LookupError: no such table"):
        future.result()
    assert len({pid_of(one.decode(b"x")), *one.pids}) == 1


@pytest.mark.parametrize("poison", [b"sleep", b"spin"])
def test_a_hang_ends_at_the_deadline_and_costs_its_own_file_only(pool: Pool, poison: bytes) -> None:
    opened = pool(timeout_s=1.0)
    futures = [opened.decode(data) for data in (b"x", poison, b"y", b"z")]
    assert reason_of(futures[1]) is Reason.DECODER_TIMEOUT
    assert pid_of(futures[0]) != pid_of(futures[2]) == pid_of(futures[3])


@pytest.mark.parametrize("poison", [b"allocate", b"grow"])
def test_a_memory_bomb_costs_its_own_file_only(one: DecodePool, poison: bytes) -> None:
    futures = [one.decode(data) for data in (b"x", poison, b"y")]
    assert reason_of(futures[1]) is Reason.DECODER_MEMORY
    assert pid_of(futures[0]) != pid_of(futures[2])


def test_one_poison_after_another_is_survived(pool: Pool) -> None:
    opened = pool(2, timeout_s=1.0)
    orders = [b"abort", b"x", b"sleep", b"x", b"allocate", b"segfault", b"x", b"abort", b"abort", b"x"] * 2
    futures = [opened.decode(order) for order in orders]
    for order, future in zip(orders, futures, strict=True):
        assert (future.exception(WAIT_S) is None) == (order == b"x"), order


def test_damage_left_by_an_earlier_file_is_not_blamed_on_the_next(one: DecodePool) -> None:
    damaging, innocent = one.decode(b"damage"), one.decode(b"x")
    assert pid_of(damaging) != pid_of(innocent)


def test_a_file_that_takes_the_nursery_along_is_refused_in_the_end(one: DecodePool) -> None:
    poison, innocent = one.decode(b"orphan"), one.decode(b"x")
    assert reason_of(poison) is Reason.DECODER_CRASHED
    assert innocent.result(WAIT_S)


def test_thumbnails_of_poison_are_refused_too(one: DecodePool) -> None:
    assert reason_of(one.thumbnail(b"abort", 8)) is Reason.DECODER_CRASHED
    assert reason_of(one.thumbnail(b"long" * 100, 8)) is Reason.DECODER_CRASHED
    assert one.thumbnail(b"ab", 8).result(WAIT_S) == b"ba"


# ---------------------------------------------------------------- children come and go


def test_a_child_is_replaced_after_its_share_of_jobs(pool: Pool) -> None:
    opened = pool(recycle_jobs=4)
    pids = [pid_of(future) for future in [opened.decode(b"x") for _ in range(12)]]
    assert len(set(pids)) == 3
    assert pids == sorted(pids, key=pids.index)


def test_a_child_that_has_grown_is_replaced(pool: Pool) -> None:
    opened = pool(limits=Limits(60_000_000, 1 << 20))
    assert pid_of(opened.decode(b"hoard")) != pid_of(opened.decode(b"x"))


def test_a_child_killed_while_idle_is_replaced(one: DecodePool) -> None:
    first = pid_of(one.decode(b"x"))
    os.kill(first, signal.SIGKILL)
    wait_gone(first)
    assert pid_of(one.decode(b"x")) != first


def test_children_shrug_off_ctrl_c_and_sigterm(one: DecodePool) -> None:
    pid = pid_of(one.decode(b"x"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
        os.kill(one._nursery._process.pid, number)
    assert pid_of(one.decode(b"x")) == pid


def test_a_lost_nursery_is_replaced(pool: Pool) -> None:
    opened = pool(2)
    pid_of(opened.decode(b"x"))
    children, nursery = opened.pids, opened._nursery._process.pid
    os.kill(nursery, signal.SIGKILL)
    for pid in children:
        wait_gone(pid)
    assert {pid_of(opened.decode(b"x")) for _ in range(4)}.isdisjoint(children)


def test_children_are_confined(one: DecodePool) -> None:
    pid = pid_of(one.decode(b"x"))
    status = Path(f"/proc/{pid}/status").read_text()
    limits = {line[:26].strip(): line[26:46].strip() for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert "NoNewPrivs:\t1" in status
    assert "Threads:\t1" in status
    assert limits["Max core file size"] == "0"
    assert limits["Max open files"] == "32"
    assert int(limits["Max address space"]) < 16 << 30
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    # Its socket, two pieces of shared memory (mmap keeps a descriptor of its own), its statm; nothing of this process.
    assert len(os.listdir(f"/proc/{pid}/fd")) == 3 + 1 + 2 * 2 + 1


def test_what_a_child_prints_goes_nowhere(one: DecodePool, capfd: pytest.CaptureFixture[str]) -> None:
    one.decode(b"print").result(WAIT_S)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("handler", ["tests.images.no_such_module", "tests.images.drawing"])
def test_a_decoder_that_cannot_start_says_so(pool: Pool, handler: str) -> None:
    with pytest.raises(CapacityError, match=r"decode workers cannot be started: \w+Error: "):
        pool(handler=handler).decode(b"x").result(WAIT_S)


# ---------------------------------------------------------------- the end


def test_close_fails_what_waits_and_leaves_nothing_behind(pool: Pool, tmp_path: Path) -> None:
    fds = set(os.listdir("/proc/self/fd"))
    opened = pool(2)
    until(lambda: both_idle(opened))
    gates = [Gate(tmp_path, "a"), Gate(tmp_path, "b")]
    futures = [opened.decode(gate.job) for gate in gates]
    with gates[0].shut(), gates[1].shut():
        futures += [opened.decode(b"x") for _ in range(5)]
        children, nursery = opened.pids, opened._nursery._process
        opened.close()
        for future in futures:
            with pytest.raises(Stopped):
                future.result(0)
    assert len(children) == 2
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert nursery.returncode is not None
    assert not any(keeper.is_alive() for keeper in opened._keepers)
    assert set(os.listdir("/proc/self/fd")) == fds


def test_close_during_the_start_is_quick_and_clean(pool: Pool) -> None:
    opened = pool(2, handler="indexer.images.decode")
    future = opened.decode(b"x")
    opened.close()
    with pytest.raises(Stopped):
        future.result(0)


def test_nothing_is_taken_after_close(pool: Pool) -> None:
    opened = pool()
    opened.close()
    opened.close()
    for call in (
        lambda: opened.decode(b"x"),
        lambda: opened.decode(b"x", urgent=True),
        lambda: opened.thumbnail(b"x", 8),
    ):
        with pytest.raises(Stopped):
            call()


SCRIPT = """
print("main is run", flush=True)
from indexer.images.limits import Limits
from indexer.images.pool import DecodePool
from indexer.types import Preprocess

pool = DecodePool(Preprocess(8, (0, 0, 0), (1, 1, 1)), Limits(10**6, 10**6), n_workers=2, handler="tests.images.poison")
pool.decode(b"x").result()
spinning = pool.decode(b"spin")
print(pool._nursery._process.pid, *pool.pids, flush=True)
spinning.result()
"""


def test_no_child_outlives_a_killed_parent_or_runs_its_main(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "main is run\n"
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) >= 2
        parent.kill()
        for pid in pids:
            wait_gone(pid)
        assert parent.stdout.read() == ""


SHORT_LIFE = """
import os
from indexer.images.limits import Limits
from indexer.images.pool import DecodePool
from indexer.types import Preprocess

pool = DecodePool(Preprocess(8, (0, 0, 0), (1, 1, 1)), Limits(10**6, 10**6), n_workers=1, handler="tests.images.poison")
assert pool._nursery._process.poll() is None
os._exit(0)
"""


def test_children_of_a_parent_that_died_before_they_were_ready_end_without_a_word(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SHORT_LIFE)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=environment, timeout=WAIT_S, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
