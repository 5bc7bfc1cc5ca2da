"""Several encoders behind one queue: who takes what, and that a lost one costs nobody an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.encoder import owner
from indexer.encoder.lane import EncoderLane
from indexer.encoder.worker import Slot
from indexer.errors import DeviceFailed, DeviceOutOfMemory, Overloaded
from indexer.types import Pixels
from tests.fakes.encoder import StubEncoder, pixels_of

TIMEOUT_S = 20
PICTURES = [pixels_of(i) for i in range(60)]
FEATURES = [StubEncoder().feature_of(pixels) for pixels in PICTURES]


def eventually(check: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(check() or pause.wait(0.005) for _ in range(2000))


class Device:
    """Opens stub encoders; what becomes of a batch is up to `before`, and whether it opens up to `refuses`."""

    def __init__(self, name: str, before: Callable[[int], object] = lambda n: None, seed: int = 0) -> None:
        self.before = before
        self.refuses: Exception | None = None
        self.opened: list[StubEncoder] = []
        self._seed = seed
        self.slot = Slot(self._build, name)
        self._name = name

    def _build(self) -> StubEncoder:
        if self.refuses is not None:
            raise self.refuses
        encoder = StubEncoder(seed=self._seed)
        encoder.device = self._name
        encoder.before = self._meet
        self.opened.append(encoder)
        return encoder

    def _meet(self, n: int) -> None:
        self.before(n)

    @property
    def n_images(self) -> int:
        return sum(encoder.n_images for encoder in self.opened)

    @property
    def is_open(self) -> bool:
        return bool(self.opened) and not self.opened[-1].closed


def lane_of(*devices: Device, **options: float) -> EncoderLane:
    """A lane whose encoders are all open, and known to be fast."""
    lane = EncoderLane(*(device.slot for device in devices), batch_size=8, **options)  # type: ignore[arg-type]
    for worker in lane._workers:
        worker.batch.succeeded(8, 1e-4)
    if "least" not in options:
        assert eventually(lambda: all(load.state == "open" for load in lane.queue.devices))
    return lane


def fail(message: str) -> None:
    raise DeviceFailed(message)


def answers(futures: list[Future[np.ndarray]]) -> np.ndarray:
    return np.stack([future.result(TIMEOUT_S) for future in futures])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_DELAYS_S", (0.0,))
    monkeypatch.setattr(owner, "REST_S", 0.02)


def test_encoders_work_at_once_and_everyone_gets_his_own() -> None:
    together = threading.Barrier(2)
    devices = [Device(name, lambda n: together.wait(TIMEOUT_S)) for name in ("a", "b")]
    lane = lane_of(*devices)
    futures = [lane.embed_image(pixels, urgent=True) for pixels in PICTURES[:16]]  # two batches: both, or neither, move
    assert np.array_equal(answers(futures), FEATURES[:16])
    assert all(device.n_images for device in devices)
    lane.close()
    assert not any(device.is_open for device in devices)


def test_a_slow_one_takes_less() -> None:
    go = threading.Event()
    slow, fast = Device("slow", lambda n: go.wait(TIMEOUT_S)), Device("fast")
    lane = lane_of(slow, fast, max_bulk=100)
    futures = [lane.embed_image(pixels) for pixels in PICTURES]
    assert eventually(lambda: fast.n_images >= len(PICTURES) - 8)
    go.set()
    assert np.array_equal(answers(futures), FEATURES)
    assert slow.n_images <= 8
    queue = lane.queue
    assert [load.device for load in queue.devices] == ["slow", "fast"]
    assert sum(load.encoded_total for load in queue.devices) == lane.n_encoded == len(PICTURES)
    lane.close()


def test_what_a_device_is_lost_with_goes_to_another_and_the_lost_one_comes_back() -> None:
    frail, sound = Device("frail"), Device("sound")
    lane = lane_of(frail, sound)
    hold, entered = threading.Event(), threading.Event()
    sound.before = lambda n: (entered.set(), hold.wait(TIMEOUT_S))
    held: list[Future[np.ndarray]] = []
    while not entered.is_set():
        held.append(lane.embed_image(PICTURES[0], urgent=True))
        assert eventually(lambda: held[-1].done() or entered.is_set())
    frail.before = lambda n: fail("off the bus")
    passed_on = [lane.embed_image(PICTURES[1], urgent=True), lane.embed_texts(["words"])]
    assert eventually(lambda: len(frail.opened) == 2)
    assert eventually(lambda: lane.queue.devices[0].state == "open")
    assert not any(future.done() for future in passed_on)
    hold.set()
    assert np.array_equal(answers([*held, passed_on[0]])[-1], FEATURES[1])
    assert passed_on[1].result(TIMEOUT_S).shape == (1, 16)
    assert lane.trouble is None
    lane.close()


def test_one_that_fails_for_ever_loses_nothing_and_is_told_of() -> None:
    dead, sound = Device("dead"), Device("sound")
    lane = lane_of(dead, sound)
    assert np.array_equal(answers([lane.embed_image(pixels) for pixels in PICTURES]), FEATURES)
    dead.before = lambda n: fail("fallen off the bus")
    told: list[str] = []
    for turn in range(200):  # until it has taken, and lost, something twice
        futures = [lane.embed_image(pixels, urgent=turn % 2 == 0) for pixels in PICTURES]
        assert np.array_equal(answers(futures), FEATURES)
        assert lane.embed_texts(["words"]).result(TIMEOUT_S).shape == (1, 16)
        assert lane.trouble is None
        if trouble := lane.queue.devices[0].trouble:
            told.append(trouble)
        if len(told) > 1:
            break
    assert "dead fails again and again: fallen off the bus" in told
    lane.close()


def test_while_all_are_lost_queries_are_told_and_pictures_wait() -> None:
    devices = [Device("a"), Device("b")]
    lane = lane_of(*devices)
    for device in devices:
        device.before, device.refuses = lambda n: fail("power cut"), DeviceFailed("power cut")
    bulk = [lane.embed_image(pixels) for pixels in PICTURES[:16]]
    assert eventually(lambda: lane.trouble is not None)
    with pytest.raises(DeviceFailed):
        lane.embed_texts(["words"]).result(TIMEOUT_S)
    assert {load.state for load in lane.queue.devices} == {"lost"}
    for device in devices:
        device.before, device.refuses = lambda n: None, None
    assert np.array_equal(answers(bulk), FEATURES[:16])
    assert eventually(lambda: lane.trouble is None)
    lane.close()


def test_one_that_cannot_be_opened_at_the_start_is_told_of_and_tried_again() -> None:
    sound, full = Device("sound"), Device("full")
    full.refuses = DeviceOutOfMemory("other programs hold it")
    lane = EncoderLane(sound.slot, full.slot, batch_size=8)
    assert eventually(lambda: "other programs" in (lane.queue.devices[1].trouble or ""))
    assert lane.trouble is None
    assert np.array_equal(answers([lane.embed_image(PICTURES[0])]), FEATURES[:1])
    full.refuses = None
    assert eventually(lambda: lane.queue.devices[1].state == "open")
    lane.close()


def test_one_with_another_model_is_never_used() -> None:
    mine, other = Device("mine"), Device("other", seed=1)
    lane = EncoderLane(mine.slot, other.slot, batch_size=8)
    assert eventually(lambda: "another model" in (lane.queue.devices[1].trouble or ""))
    assert np.array_equal(answers([lane.embed_image(pixels) for pixels in PICTURES]), FEATURES)
    assert other.n_images == 0
    lane.close()


def test_an_idle_pair_leaves_and_one_comes_back_for_little_work() -> None:
    devices = [Device("a"), Device("b")]
    lane = lane_of(*devices, idle_release_s=0.05)
    assert eventually(lambda: lane.weights_bytes == 0)
    n_opened = sum(len(device.opened) for device in devices)
    assert np.array_equal(answers([lane.embed_image(PICTURES[0])]), FEATURES[:1])
    assert sum(len(device.opened) for device in devices) in (n_opened + 1, n_opened + 2)
    assert lane.trouble is None
    lane.close()


def test_a_queue_that_grows_old_brings_another_encoder_and_quiet_sends_it_away() -> None:
    now = [0.0]
    first, second = Device("first"), Device("second")
    lane = lane_of(first, second, least=1, clock=lambda: now[0], look_s=1000)  # type: ignore[arg-type]
    assert [load.state for load in lane.queue.devices] == ["open", "stopped"]
    hold = threading.Event()
    first.before = lambda n: hold.wait(TIMEOUT_S)
    futures = [lane.embed_image(pixels) for pixels in PICTURES[:16]]
    for now[0] in range(1, 8):
        lane._scale()
    assert eventually(lambda: lane.queue.devices[1].state == "open")
    assert eventually(lambda: second.n_images > 0)
    hold.set()
    assert np.array_equal(answers(futures), FEATURES[:16])
    for now[0] in range(100, 170):
        lane._scale()
    assert eventually(lambda: lane.queue.devices[1].state == "stopped")
    assert second.opened[-1].closed
    assert np.array_equal(answers([lane.embed_image(PICTURES[0])]), FEATURES[:1])
    lane.close()


def test_without_room_there_is_no_further_encoder() -> None:
    now = [0.0]
    asked: list[int] = []
    first, second = Device("first"), Device("second")
    hold = threading.Event()
    slot = Slot(second.slot.build, "second", lambda n_bytes: asked.append(n_bytes) is not None)
    lane = EncoderLane(first.slot, slot, batch_size=8, least=1, clock=lambda: now[0], look_s=1000)
    first.before = lambda n: hold.wait(TIMEOUT_S)
    futures = [lane.embed_image(pixels) for pixels in PICTURES[:4]]
    for now[0] in range(1, 20):
        lane._scale()
    assert set(asked) == {1000}
    assert second.opened == []
    hold.set()
    answers(futures)
    lane.close()


def test_what_is_cancelled_leaves_its_place() -> None:
    device, hold, entered = Device("a"), threading.Event(), threading.Event()
    lane = lane_of(device, max_urgent=3, max_bulk=2)
    device.before = lambda n: (entered.set(), hold.wait(TIMEOUT_S))
    held = lane.embed_image(PICTURES[0], urgent=True)
    assert entered.wait(TIMEOUT_S)
    waiting = [lane.embed_texts(["one", "two"]), lane.embed_image(PICTURES[1], urgent=True)]
    with pytest.raises(Overloaded):
        lane.embed_texts(["more"])
    assert waiting[0].cancel()
    kept = lane.embed_texts(["more", "words"])
    bulk = [lane.embed_image(pixels) for pixels in PICTURES[2:4]]
    late: list[Future[np.ndarray]] = []
    submitter = threading.Thread(target=lambda: late.append(lane.embed_image(PICTURES[4])), daemon=True)
    submitter.start()
    assert bulk[0].cancel()
    submitter.join(TIMEOUT_S)
    assert len(late) == 1
    assert lane.n_waiting == 5
    hold.set()
    wait([held, kept, *late], TIMEOUT_S)
    assert device.opened[0].text_calls == [["more", "words"]]
    lane.close()


def test_closing_answers_queries_and_hands_bulk_work_back() -> None:
    hold = threading.Event()
    entered = threading.Semaphore(0)
    devices = [Device(name) for name in "ab"]
    lane = lane_of(*devices, max_bulk=100)
    for device in devices:
        device.before = lambda n: (entered.release(), hold.wait(TIMEOUT_S))
    running = [lane.embed_image(pixels, urgent=True) for pixels in PICTURES[:16]]
    assert entered.acquire(timeout=TIMEOUT_S)
    assert entered.acquire(timeout=TIMEOUT_S)
    query = lane.embed_texts(["words"])
    bulk = [lane.embed_image(pixels) for pixels in PICTURES[16:24]]
    closer = threading.Thread(target=lane.close, daemon=True)
    closer.start()
    assert all("ends" in str(future.exception(TIMEOUT_S)) for future in bulk)
    hold.set()
    closer.join(TIMEOUT_S)
    assert np.array_equal(answers(running), FEATURES[:16])
    assert query.result(0).shape == (1, 16)
    assert not any(device.is_open for device in devices)


@settings(max_examples=30, deadline=None)
@given(
    n_devices=st.integers(2, 4),
    fits=st.integers(1, 8),
    hiccups=st.sets(st.integers(0, 40), max_size=6),
    dead=st.integers(0, 3),
    urgent=st.sets(st.integers(0, 39)),
    cancelled=st.sets(st.integers(0, 39), max_size=5),
)
def test_with_a_sound_device_left_everyone_gets_his_own(
    n_devices: int, fits: int, hiccups: set[int], dead: int, urgent: set[int], cancelled: set[int]
) -> None:
    calls = iter(range(1_000_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, "REOPEN_DELAYS_S", (0.0,))
        patch.setattr(owner, "REST_S", 0.01)

        def device(i: int) -> Device:
            def meet(n: int) -> None:
                if i and (i == dead or next(calls) in hiccups):  # the first is sound
                    fail("dead")
                if n > fits:
                    raise DeviceOutOfMemory("too many")

            return Device(f"d{i}", meet)

        lane = EncoderLane(*(device(i).slot for i in range(n_devices)), batch_size=8)
        futures = [lane.embed_image(pixels, urgent=i in urgent) for i, pixels in enumerate(PICTURES[:40])]
        for i in cancelled:
            futures[i].cancel()
        done = [(i, future) for i, future in enumerate(futures) if not future.cancelled()]
        assert np.array_equal(answers([future for _, future in done]), [FEATURES[i] for i, _ in done])
        assert lane.embed_texts(["words"]).result(TIMEOUT_S).shape == (1, 16)
        assert lane.n_waiting == 0
        lane.close()


def poisoned(pixels: Pixels) -> bool:
    return np.array_equal(pixels, PICTURES[7])


def test_a_picture_that_breaks_every_device_is_refused_alone() -> None:
    devices = [Device(name) for name in "ab"]
    lane = lane_of(*devices)
    for device in devices:
        device.before = lambda n: [setattr(each, "breaks", poisoned) for one in devices for each in one.opened]
    futures = [lane.embed_image(pixels) for pixels in PICTURES[:16]]
    assert np.array_equal(answers([*futures[:7], *futures[8:]]), [*FEATURES[:7], *FEATURES[8:16]])
    assert "device_failed" in str(futures[7].exception(TIMEOUT_S))
    assert lane.trouble is None
    lane.close()
