"""A device that never answers: nobody waits for it, and its work is done elsewhere or told to be undone."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.encoder.desk import SUSPECT_AFTER
from indexer.encoder.lane import SILENT_S, EncoderLane
from indexer.encoder.owner import OPENING_S
from indexer.encoder.worker import Slot
from indexer.errors import DeviceFailed, ImageRefused, Stopped
from tests.encoder.test_devices import FEATURES, PICTURES, TIMEOUT_S, Device, answers, eventually, fail, lane_of
from tests.fakes.encoder import StubEncoder


class Stage:
    """Devices behind a lane whose clock stands until it is told to go on; `hang` holds one in its next batch."""

    def __init__(self, *names: str, **options: float) -> None:
        self.now = 0.0
        self.devices = [Device(name) for name in names]
        self.doors: list[threading.Event] = []
        self.lane = lane_of(*self.devices, clock=lambda: self.now, look_s=1000, **options)  # type: ignore[arg-type]

    def hang(self, *devices: Device) -> threading.Semaphore:
        """Released each time that one of them is held."""
        held, door = threading.Semaphore(0), threading.Event()
        self.doors.append(door)
        for device in devices:
            device.before = lambda n: (held.release(), door.wait(TIMEOUT_S))
        return held

    def pass_time(self, seconds: float = SILENT_S) -> None:
        self.now += seconds
        self.lane._look()

    def end(self) -> None:
        for device in self.devices:
            device.before = lambda n: None
        for door in self.doors:
            door.set()
        self.lane.close()


def test_its_batch_goes_to_another_and_its_own_late_answer_is_dropped() -> None:
    stage = Stage("sick", "sound", max_bulk=100)
    sick = stage.devices[0]
    held = stage.hang(sick)
    futures: list[Future[np.ndarray]] = []
    while not held.acquire(blocking=False):  # until the sick one has taken something
        futures.append(stage.lane.embed_image(PICTURES[len(futures)]))
        assert eventually(lambda: held._value > 0 or all(future.done() for future in futures))
    assert not all(future.done() for future in futures)
    stage.pass_time(SILENT_S - 1)
    assert stage.lane.queue.devices[0].trouble is None
    stage.pass_time(1)
    assert np.array_equal(answers(futures), FEATURES[: len(futures)])
    load, other = stage.lane.queue.devices
    assert (load.state, other.state) == ("lost", "open")
    assert load.trouble == "sick has not answered for 60 s; if it stays so, restart the service"
    assert stage.lane.trouble is None
    n_encoded = stage.lane.n_encoded
    assert n_encoded == len(futures)
    sick.before = lambda n: None
    stage.doors[0].set()
    assert eventually(lambda: stage.lane.queue.devices[0].state == "open")
    assert stage.lane.n_encoded == n_encoded
    assert np.array_equal(answers([stage.lane.embed_image(pixels) for pixels in PICTURES]), FEATURES)
    stage.end()


def test_while_none_answers_queries_are_told_at_once_and_pictures_wait_for_its_return() -> None:
    stage = Stage("only", max_bulk=100)
    held = stage.hang(*stage.devices)
    begun = stage.lane.embed_image(PICTURES[0], urgent=True)
    assert held.acquire(timeout=TIMEOUT_S)
    waiting = [stage.lane.embed_texts(["words"]), stage.lane.try_batch(PICTURES[0][None])]
    bulk = stage.lane.embed_image(PICTURES[1])
    assert stage.lane.trouble is None
    stage.pass_time()
    for future in (begun, *waiting):
        with pytest.raises(DeviceFailed, match="does not answer"):
            future.result(TIMEOUT_S)
    assert "only has not answered for 60 s" in (stage.lane.trouble or "")
    for ask in (
        lambda: stage.lane.embed_texts(["words"]),
        lambda: stage.lane.embed_image(PICTURES[2], urgent=True),
        lambda: stage.lane.try_batch(PICTURES[2][None]),
    ):
        with pytest.raises(DeviceFailed, match="does not answer"):
            ask()
    assert not bulk.done()
    stage.devices[0].before = lambda n: None
    stage.doors[0].set()
    assert np.array_equal(answers([bulk]), FEATURES[1:2])
    assert stage.lane.trouble is None
    assert np.array_equal(answers([stage.lane.embed_image(PICTURES[2], urgent=True)]), FEATURES[2:3])
    stage.end()


def test_closing_leaves_it_as_it_is_and_hands_its_pictures_back() -> None:
    stage = Stage("only", max_bulk=100)
    held = stage.hang(*stage.devices)
    futures = [stage.lane.embed_image(pixels) for pixels in PICTURES[:3]]
    assert held.acquire(timeout=TIMEOUT_S)
    stage.pass_time()
    closer = threading.Thread(target=stage.lane.close, daemon=True)
    closer.start()
    closer.join(TIMEOUT_S)
    assert not closer.is_alive()
    assert all(isinstance(future.exception(TIMEOUT_S), Stopped) for future in futures)
    stage.end()


def test_one_that_falls_silent_while_the_lane_closes_is_not_waited_for_either() -> None:
    stage = Stage("only")
    held = stage.hang(*stage.devices)
    begun, bulk = stage.lane.embed_texts(["words"]), stage.lane.embed_image(PICTURES[0])
    assert held.acquire(timeout=TIMEOUT_S)
    closer = threading.Thread(target=stage.lane.close, daemon=True)
    closer.start()
    assert isinstance(bulk.exception(TIMEOUT_S), Stopped)
    assert closer.is_alive()
    stage.pass_time()
    closer.join(TIMEOUT_S)
    assert not closer.is_alive()
    assert isinstance(begun.exception(TIMEOUT_S), DeviceFailed)
    stage.end()


def test_a_spare_takes_the_place_of_one_that_does_not_answer() -> None:
    stage = Stage("first", "spare", least=1)
    held = stage.hang(stage.devices[0])
    begun = stage.lane.embed_image(PICTURES[0])
    assert held.acquire(timeout=TIMEOUT_S)
    assert stage.lane.queue.devices[1].state == "stopped"
    stage.pass_time()
    assert np.array_equal(answers([begun]), FEATURES[:1])
    for _ in range(200):  # however quiet it is, the one that is left is not sent away
        stage.pass_time(1)
    assert np.array_equal(answers([stage.lane.embed_image(PICTURES[1], urgent=True)]), FEATURES[1:2])
    stage.end()


def test_one_that_hangs_while_it_is_opened_anew_is_given_ten_minutes() -> None:
    stage = Stage("only", max_bulk=100)
    opening, door = threading.Event(), threading.Event()
    stage.doors.append(door)
    build = stage.devices[0]._build

    def hang() -> StubEncoder:
        opening.set()
        door.wait(TIMEOUT_S)
        return build()

    stage.lane._workers[0]._owner._build = hang
    stage.devices[0].before = lambda n: fail("off the bus") if not opening.is_set() else None
    begun = stage.lane.embed_image(PICTURES[0], urgent=True)
    assert opening.wait(TIMEOUT_S)
    stage.pass_time(OPENING_S + SILENT_S - 1)
    assert not begun.done()
    stage.pass_time(1)
    with pytest.raises(DeviceFailed, match="does not answer"):
        begun.result(TIMEOUT_S)
    assert "has not answered" in str(stage.lane.trouble)
    door.set()
    assert eventually(lambda: stage.lane.trouble is None)
    assert np.array_equal(answers([stage.lane.embed_image(PICTURES[0])]), FEATURES[:1])
    stage.end()


def test_one_that_hangs_while_it_is_closed_does_not_keep_the_lane_from_closing() -> None:
    stage = Stage("only")
    closing, door = threading.Event(), threading.Event()
    stage.doors.append(door)
    stage.devices[0].opened[0].close = lambda: (closing.set(), door.wait(TIMEOUT_S))  # type: ignore[assignment, return-value]
    closer = threading.Thread(target=stage.lane.close, daemon=True)
    closer.start()
    assert closing.wait(TIMEOUT_S)
    stage.pass_time()
    closer.join(TIMEOUT_S)
    assert not closer.is_alive()
    stage.end()


def test_a_picture_that_silences_every_device_is_refused_alone() -> None:
    stage = Stage("only", max_bulk=100)
    held, doors = threading.Semaphore(0), [threading.Event() for _ in range(SUSPECT_AFTER + 1)]
    closed = iter(doors)
    stage.devices[0].before = lambda n: (held.release(), next(closed).wait(TIMEOUT_S))
    poison = stage.lane.embed_image(PICTURES[0])
    for door in doors:
        assert held.acquire(timeout=TIMEOUT_S)
        assert not poison.done()
        stage.pass_time()
        door.set()
    error = poison.exception(TIMEOUT_S)
    assert isinstance(error, ImageRefused)
    assert "no device answers" in str(error)
    stage.end()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.floats(1e-5, 1e-3), st.sets(st.integers(0, 39)))
def test_whoever_is_counted_out_when_everyone_is_answered_once_with_his_own(
    n_devices: int, silent_s: float, urgent: set[int]
) -> None:
    pause = threading.Event()
    devices = [Device(str(i), lambda n: pause.wait(2e-4)) for i in range(n_devices)]
    lane = EncoderLane(*(device.slot for device in devices), batch_size=8, silent_s=silent_s, look_s=1e-4)
    futures: list[Future[np.ndarray] | None] = []
    for i, pixels in enumerate(PICTURES[:40]):
        try:
            futures.append(lane.embed_image(pixels, urgent=i in urgent))
        except DeviceFailed:
            futures.append(None)
    for future, feature in zip(futures, FEATURES, strict=False):
        if future is not None and future.exception(TIMEOUT_S) is None:
            assert np.array_equal(future.result(), feature)
        elif future is not None:
            assert isinstance(future.exception(), DeviceFailed | ImageRefused)
    assert lane.n_waiting == 0
    lane.close()


def test_a_measured_size_is_for_devices_of_the_kind_that_it_was_measured_on() -> None:
    first, other, twin = (Device(name) for name in ("a", "b", "c"))
    slots = [Slot(d.slot.build, "", kind=kind) for d, kind in ((first, "H100"), (other, "T4"), (twin, "H100"))]
    lane = EncoderLane(*slots, batch_size=8)
    for worker in lane._workers:
        worker.batch.succeeded(8, 1e-4)
    lane.limit_batch(64, 16, 64)
    lane.limit_batch(32)
    assert [worker.batch.now for worker in lane._workers] == [32, 16, 32]
    lane.close()
