"""The lane: who is served when, and that nobody waits for ever."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.encoder import owner
from indexer.encoder.lane import EncoderLane
from indexer.encoder.worker import Slot
from indexer.errors import (
    ConfigError,
    DeviceFailed,
    DeviceOutOfMemory,
    ImageRefused,
    NoTextTower,
    Overloaded,
    Stopped,
)
from indexer.types import Pixels, Reason
from tests.fakes.encoder import StubEncoder, pixels_of

TIMEOUT_S = 20


class Gate:
    """Holds the encoder inside its calls until it is opened."""

    def __init__(self, encoder: StubEncoder) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        encoder.before = self._pass

    def _pass(self, n: int) -> None:
        self.entered.set()
        assert self.opened.wait(TIMEOUT_S)


@pytest.fixture
def encoder() -> StubEncoder:
    return StubEncoder()


@pytest.fixture
def lane(encoder: StubEncoder) -> Iterator[EncoderLane]:
    lane = fast_lane(encoder)
    yield lane
    lane.close()


def fast_lane(encoder: StubEncoder, batch_size: int = 8, **options: int) -> EncoderLane:
    """A lane that knows already how fast its encoder is, so that batches have their full size."""
    lane = EncoderLane(Slot(lambda: encoder), batch_size=batch_size, clock=lambda: 0.0, **options)  # type: ignore[arg-type]
    lane.embed_image(pixels_of("first")).result(TIMEOUT_S)
    encoder.batches.clear()
    return lane


def occupied(lane: EncoderLane, encoder: StubEncoder) -> tuple[Gate, Future[np.ndarray]]:
    """The lane's encoder held in the middle of a picture."""
    gate = Gate(encoder)
    held = lane.embed_image(pixels_of("held"))
    assert gate.entered.wait(TIMEOUT_S)
    encoder.batches.clear()
    return gate, held


def blocking(lane: EncoderLane, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody is about to wait for room; by the time that the lane's lock is free again, he waits."""
    reached, wait_for = threading.Event(), lane._desk._room.wait_for

    def announced(predicate: Callable[[], bool]) -> bool:
        reached.set()
        return wait_for(predicate)

    monkeypatch.setattr(lane._desk._room, "wait_for", announced)
    return reached


def test_a_picture_gets_its_feature(lane: EncoderLane, encoder: StubEncoder) -> None:
    feature = lane.embed_image(pixels_of("cat")).result(TIMEOUT_S)
    assert feature.dtype == np.float16
    assert np.array_equal(feature, encoder.feature_of(pixels_of("cat")))


def test_pictures_are_not_kept_until_others_come(lane: EncoderLane) -> None:
    pixels = pixels_of("cat").copy()
    kept = weakref.ref(pixels)
    lane.embed_image(pixels).result(TIMEOUT_S)
    del pixels
    pause = threading.Event()
    assert any(kept() is None or pause.wait(0.01) for _ in range(500))


def test_texts_get_their_embeddings(lane: EncoderLane, encoder: StubEncoder) -> None:
    embeddings = lane.embed_texts(["a cat", "a dog"]).result(TIMEOUT_S)
    assert np.array_equal(embeddings, [encoder.embedding_of("a cat"), encoder.embedding_of("a dog")])
    assert lane.embed_texts([]).result(TIMEOUT_S).shape == (0, 16)


def test_the_lane_tells_what_its_encoder_is(lane: EncoderLane, encoder: StubEncoder) -> None:
    assert lane.space == encoder.space
    assert lane.projection is encoder.projection
    assert (lane.has_text, lane.device) == (True, "stub")


def test_pictures_that_wait_go_together_and_nobody_waits_for_company(lane: EncoderLane, encoder: StubEncoder) -> None:
    gate, _ = occupied(lane, encoder)
    waiting = [lane.embed_image(pixels_of(i)) for i in range(13)]
    assert lane.n_waiting == 13
    gate.opened.set()
    wait(waiting, TIMEOUT_S)
    assert encoder.batches == [8, 5]
    assert lane.n_waiting == 0
    assert lane.n_encoded == 15


def test_queries_overtake_bulk_work(lane: EncoderLane, encoder: StubEncoder) -> None:
    gate, _ = occupied(lane, encoder)
    done: list[str] = []
    bulk = [lane.embed_image(pixels_of(i)) for i in range(16)]
    query = lane.embed_image(pixels_of("query"), urgent=True)
    text = lane.embed_texts(["words"])
    for future in bulk:
        future.add_done_callback(lambda _: done.append("bulk"))
    query.add_done_callback(lambda _: done.append("query"))
    text.add_done_callback(lambda _: done.append("text"))
    gate.opened.set()
    wait([*bulk, query, text], TIMEOUT_S)
    assert done == ["text", "query"] + 16 * ["bulk"]


def test_many_concurrent_queries_are_answered_in_few_batches(lane: EncoderLane, encoder: StubEncoder) -> None:
    gate, _ = occupied(lane, encoder)
    texts = [lane.embed_texts([f"text {i}"]) for i in range(32)]
    pictures = [lane.embed_image(pixels_of(i), urgent=True) for i in range(32)]
    gate.opened.set()
    wait([*texts, *pictures], TIMEOUT_S)
    assert len(encoder.text_calls) == 1
    assert encoder.batches == [8, 8, 8, 8]
    for i, future in enumerate(texts):
        assert np.array_equal(future.result(), [encoder.embedding_of(f"text {i}")])
    for i, future in enumerate(pictures):
        assert np.array_equal(future.result(), encoder.feature_of(pixels_of(i)))


def test_slow_pictures_go_one_by_one_so_that_a_query_waits_for_one_at_most() -> None:
    encoder, seconds = StubEncoder(), iter(range(10_000))
    lane = EncoderLane(Slot(lambda: encoder), batch_size=8, clock=lambda: float(next(seconds)))
    gate, held = occupied(lane, encoder)
    bulk = [lane.embed_image(pixels_of(i)) for i in range(5)]
    gate.opened.set()
    wait([held, *bulk], TIMEOUT_S)
    lane.close()
    assert encoder.batches == [1] * 5
    assert lane.batch_size == 1


def test_what_was_cancelled_is_not_encoded(lane: EncoderLane, encoder: StubEncoder) -> None:
    gate, _ = occupied(lane, encoder)
    unwanted = [lane.embed_image(pixels_of(i)) for i in range(4)]
    wanted = lane.embed_image(pixels_of("wanted"))
    unheard = lane.embed_texts(["never mind"])
    assert all(future.cancel() for future in [*unwanted, unheard])
    gate.opened.set()
    assert np.array_equal(wanted.result(TIMEOUT_S), encoder.feature_of(pixels_of("wanted")))
    assert encoder.batches == [1]
    assert encoder.text_calls == []
    with pytest.raises(CancelledError):
        unwanted[0].result(TIMEOUT_S)


def test_bulk_submitters_wait_while_their_queue_is_full(encoder: StubEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = fast_lane(encoder, max_bulk=4)
    gate, _ = occupied(lane, encoder)
    for i in range(4):
        lane.embed_image(pixels_of(i))
    fifth: list[Future[np.ndarray]] = []
    submitter = threading.Thread(target=lambda: fifth.append(lane.embed_image(pixels_of("fifth"))), daemon=True)
    reached = blocking(lane, monkeypatch)
    submitter.start()
    assert reached.wait(TIMEOUT_S)
    assert lane.n_waiting == 4
    assert submitter.is_alive()
    lane.embed_image(pixels_of("query"), urgent=True)  # does not wait
    gate.opened.set()
    submitter.join(TIMEOUT_S)
    assert np.array_equal(fifth[0].result(TIMEOUT_S), encoder.feature_of(pixels_of("fifth")))
    lane.close()


def test_too_many_queries_are_refused_with_a_time_to_come_back(encoder: StubEncoder) -> None:
    lane = fast_lane(encoder, max_urgent=3)
    gate, _ = occupied(lane, encoder)
    lane.embed_texts(["one", "two"])
    lane.embed_image(pixels_of("three"), urgent=True)
    with pytest.raises(Overloaded) as refusal:
        lane.embed_image(pixels_of("four"), urgent=True)
    assert refusal.value.retry_after_s >= 1
    with pytest.raises(Overloaded):
        lane.embed_texts(["four"])
    queue = lane.queue
    assert (queue.depth, queue.rejected_total, queue.batch_size) == (3, 2, 8)
    gate.opened.set()
    lane.close()


def test_the_queue_tells_how_long_its_first_has_waited(encoder: StubEncoder) -> None:
    now = [100.0]
    lane = EncoderLane(Slot(lambda: encoder), batch_size=8, clock=lambda: now[0])
    lane.embed_image(pixels_of("first")).result(TIMEOUT_S)
    assert lane.queue.oldest_s == 0
    gate, _ = occupied(lane, encoder)
    lane.embed_image(pixels_of("bulk"))
    now[0] = 103.0
    lane.embed_texts(["later", "still"])
    assert (lane.queue.oldest_s, lane.queue.depth) == (3.0, 3)
    gate.opened.set()
    lane.close()


def test_an_idle_encoder_leaves_and_comes_back_for_whoever_asks() -> None:
    encoders: list[StubEncoder] = []
    closed = threading.Event()

    class Encoder(StubEncoder):
        def close(self) -> None:
            super().close()
            closed.set()

    def build() -> StubEncoder:
        encoders.append(Encoder())
        return encoders[-1]

    lane = EncoderLane(Slot(build), batch_size=8, idle_release_s=0.02)
    for turn in range(1, 4):
        bulk, urgent = lane.embed_image(pixels_of(turn)), lane.embed_image(pixels_of(-turn), urgent=True)
        assert np.array_equal(bulk.result(TIMEOUT_S), encoders[0].feature_of(pixels_of(turn)))
        assert np.array_equal(urgent.result(TIMEOUT_S), encoders[0].feature_of(pixels_of(-turn)))
        assert closed.wait(TIMEOUT_S)
        assert lane.trouble is None
        closed.clear()
    lane.close()
    assert all(encoder.closed for encoder in encoders)
    assert len(encoders) >= 2


def test_an_encoder_that_has_left_takes_no_memory() -> None:
    closed = threading.Event()
    encoder = StubEncoder()
    encoder.close = closed.set  # type: ignore[method-assign]
    lane = EncoderLane(Slot(lambda: encoder), batch_size=8, idle_release_s=0.02)
    assert closed.wait(TIMEOUT_S)
    assert lane.weights_bytes == 0
    texts = lane.embed_texts(["it is opened again"])
    assert texts.result(TIMEOUT_S).shape == (1, 16)
    lane.close()


def test_an_encoder_at_work_does_not_leave(encoder: StubEncoder) -> None:
    now = [0.0]
    lane = EncoderLane(Slot(lambda: encoder), batch_size=8, idle_release_s=10.0, clock=lambda: now[0])
    for _ in range(20):
        now[0] += 9.0
        lane.embed_image(pixels_of("first"), urgent=True).result(TIMEOUT_S)
    assert not encoder.closed
    lane.close()


def test_one_request_larger_than_the_queue_is_admitted_when_nobody_waits(encoder: StubEncoder) -> None:
    lane = fast_lane(encoder, max_urgent=3)
    assert len(lane.embed_texts(list("abcdef")).result(TIMEOUT_S)) == 6
    lane.close()


def test_pixels_of_another_shape_or_type_are_the_callers_mistake(lane: EncoderLane) -> None:
    with pytest.raises(ValueError, match="pixels"):
        lane.embed_image(pixels_of("wide", 9))
    with pytest.raises(ValueError, match="float32"):
        lane.embed_image(pixels_of("cat").astype(np.float32))  # type: ignore[arg-type]


def test_words_without_a_text_tower_are_refused_at_once() -> None:
    lane = EncoderLane(Slot(lambda: StubEncoder(has_text=False)), batch_size=8)
    with pytest.raises(NoTextTower, match="pretrained"):
        lane.embed_texts(["a cat"])
    lane.close()


def test_what_goes_wrong_at_opening_reaches_the_caller() -> None:
    def build() -> StubEncoder:
        raise ConfigError("model.device: none here")

    with pytest.raises(ConfigError, match=r"model\.device"):
        EncoderLane(Slot(build), batch_size=8)


def test_the_encoder_lives_in_one_thread() -> None:
    threads: set[str] = set()

    def build() -> StubEncoder:
        threads.add(threading.current_thread().name)
        encoder = StubEncoder()
        encoder.before = lambda n: threads.add(threading.current_thread().name)
        return encoder

    lane = EncoderLane(Slot(build), batch_size=8)
    lane.embed_image(pixels_of("cat")).result(TIMEOUT_S)
    lane.embed_texts(["cat"]).result(TIMEOUT_S)
    lane.close()
    assert threads == {"encoder"}


def test_an_unforeseen_error_reaches_everyone_and_the_lane_lives_on(lane: EncoderLane, encoder: StubEncoder) -> None:
    gate, _ = occupied(lane, encoder)
    doomed = [lane.embed_image(pixels_of(i)) for i in range(3)]

    def surprise(n: int) -> None:
        raise ZeroDivisionError("a defect")

    encoder.before = surprise
    gate.opened.set()
    for future in doomed:
        with pytest.raises(ZeroDivisionError):
            future.result(TIMEOUT_S)
    encoder.before = lambda n: None
    assert np.array_equal(lane.embed_image(pixels_of("cat")).result(TIMEOUT_S), encoder.feature_of(pixels_of("cat")))


def test_closing_finishes_the_running_batch_and_queries_and_hands_bulk_work_back(encoder: StubEncoder) -> None:
    lane = fast_lane(encoder)
    gate, held = occupied(lane, encoder)
    finished = [held, lane.embed_image(pixels_of("query"), urgent=True), lane.embed_texts(["words"])]
    handed_back = [lane.embed_image(pixels_of(i)) for i in range(12)]
    closer = threading.Thread(target=lane.close, daemon=True)
    closer.start()
    for future in handed_back:
        with pytest.raises(Stopped):
            future.result(TIMEOUT_S)
    gate.opened.set()
    closer.join(TIMEOUT_S)
    assert all(future.done() and future.exception() is None for future in finished)
    assert encoder.closed
    for submit in (
        lambda: lane.embed_image(pixels_of("late")),
        lambda: lane.embed_image(pixels_of("late"), urgent=True),
        lambda: lane.embed_texts(["late"]),
    ):
        with pytest.raises(Stopped):
            submit()
    lane.close()  # twice is once


def test_closing_wakes_those_who_wait_to_submit(encoder: StubEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = fast_lane(encoder, max_bulk=1)
    gate, _ = occupied(lane, encoder)
    lane.embed_image(pixels_of("queued"))
    met: list[Exception] = []

    def submit() -> None:
        try:
            lane.embed_image(pixels_of("blocked"))
        except Stopped as stopped:
            met.append(stopped)

    submitter, closer = threading.Thread(target=submit, daemon=True), threading.Thread(target=lane.close, daemon=True)
    reached = blocking(lane, monkeypatch)
    submitter.start()
    assert reached.wait(TIMEOUT_S)
    closer.start()
    submitter.join(TIMEOUT_S)
    assert len(met) == 1
    gate.opened.set()
    closer.join(TIMEOUT_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_leaves_nobody_waiting(encoder: StubEncoder) -> None:
    lane = fast_lane(encoder)
    gate, _ = occupied(lane, encoder)
    left = [lane.embed_image(pixels_of("left")), lane.embed_texts(["left"])]
    lane._workers[0].batch = None  # type: ignore[assignment]  # what only a defect of the lane itself could do
    gate.opened.set()
    for future in left:
        with pytest.raises(Stopped):
            future.result(TIMEOUT_S)
    with pytest.raises(Stopped):
        lane.embed_image(pixels_of("late"))
    lane.close()
    assert encoder.closed


def test_a_picture_that_loses_the_device_for_long_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_DELAYS_S", (0.0,))
    monkeypatch.setattr(owner, "REST_S", 0.01)
    poison = pixels_of("poison")
    n_failed_opens = 0
    lost = False

    def build() -> StubEncoder:
        nonlocal n_failed_opens, lost
        if lost:
            n_failed_opens += 1
            lost = False  # gone for longer than it is tried at once, then back
            raise DeviceFailed("still away")
        encoder = StubEncoder()
        encoder.breaks = breaks
        return encoder

    def breaks(pixels: Pixels) -> bool:
        nonlocal lost
        lost = lost or np.array_equal(pixels, poison)
        return lost

    lane = EncoderLane(Slot(build), batch_size=8)
    neighbours = [pixels_of(i) for i in range(6)]
    futures = [lane.embed_image(pixels) for pixels in (*neighbours[:3], poison, *neighbours[3:])]
    done = [future for i, future in enumerate(futures) if i != 3]
    reference = StubEncoder()
    assert all(
        np.array_equal(future.result(TIMEOUT_S), reference.feature_of(pixels))
        for future, pixels in zip(done, neighbours, strict=True)
    )
    with pytest.raises(ImageRefused, match="whenever it is encoded"):
        futures[3].result(TIMEOUT_S)
    assert n_failed_opens >= 3
    lane.close()


@settings(max_examples=40, deadline=None)
@given(
    fits=st.integers(1, 8),
    breaks=st.sets(st.integers(0, 29), max_size=2),
    nonsense=st.sets(st.integers(0, 29), max_size=3),
    hiccups=st.sets(st.integers(0, 20), max_size=4),
    urgent=st.sets(st.integers(0, 29)),
    cancelled=st.sets(st.integers(0, 29), max_size=5),
    n_threads=st.integers(1, 3),
)
def test_everyone_is_answered_with_his_own_whatever_happens(
    fits: int,
    breaks: set[int],
    nonsense: set[int],
    hiccups: set[int],
    urgent: set[int],
    cancelled: set[int],
    n_threads: int,
) -> None:
    pictures = [pixels_of(i) for i in range(30)]
    broken = {pictures[i].tobytes() for i in breaks}
    blurred = {pictures[i].tobytes() for i in nonsense}
    calls = iter(range(100_000))

    def hiccup(n: int) -> None:
        if next(calls) in hiccups:
            raise DeviceFailed("hiccup")

    def build() -> StubEncoder:
        encoder = StubEncoder()
        encoder.fits, encoder.before = fits, hiccup
        encoder.breaks = lambda pixels: pixels.tobytes() in broken
        encoder.nonsense = lambda pixels: pixels.tobytes() in blurred
        return encoder

    lane = EncoderLane(Slot(build), batch_size=8)
    futures: dict[int, Future[np.ndarray]] = {}

    def submit(mine: range) -> None:
        for i in mine:
            futures[i] = lane.embed_image(pictures[i], urgent=i in urgent)
            if i in cancelled:
                futures[i].cancel()

    threads = [threading.Thread(target=submit, args=(range(k, 30, n_threads),), daemon=True) for k in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    text = lane.embed_texts(["words"])
    wait([*futures.values(), text], TIMEOUT_S)
    lane.close()

    reference = StubEncoder()
    assert len(futures) == 30
    for i, future in futures.items():
        assert future.done()
        if future.cancelled():
            assert i in cancelled
        elif isinstance(error := future.exception(), ImageRefused):
            assert error.reason in (Reason.DEVICE_FAILED, Reason.BAD_FEATURE)
            assert i in breaks | nonsense or len(hiccups) >= (1 if breaks else 2)
        else:
            assert i not in breaks | nonsense
            assert np.array_equal(future.result(), reference.feature_of(pictures[i]))
    error = text.exception(0)
    assert (
        isinstance(error, DeviceFailed) if error else np.array_equal(text.result(), [reference.embedding_of("words")])
    )


def test_a_trial_goes_between_queries_and_bulk_work_and_tells_its_time(encoder: StubEncoder) -> None:
    ticks = iter(range(1_000_000))
    lane = EncoderLane(Slot(lambda: encoder), batch_size=4, clock=lambda: float(next(ticks)))
    try:
        gate, held = occupied(lane, encoder)
        bulk = lane.embed_image(pixels_of("bulk"))
        trial = lane.try_batch(np.stack([pixels_of(str(i)) for i in range(6)]))
        query = lane.embed_image(pixels_of("query"), urgent=True)
        assert lane.queue.depth == 2
        gate.opened.set()
        wait([held, bulk, trial, query], TIMEOUT_S)
        assert encoder.batches == [1, 6, 1]
        assert trial.result() > 0
        assert lane.n_encoded == 2
    finally:
        lane.close()


@pytest.mark.parametrize("error", [DeviceOutOfMemory("it does not fit"), DeviceFailed("it is lost"), KeyError("odd")])
def test_a_trial_that_fails_is_told_as_it_is_and_the_lane_lives_on(encoder: StubEncoder, error: Exception) -> None:
    builds = iter([encoder, StubEncoder()])
    lane = EncoderLane(Slot(lambda: next(builds)), batch_size=8)
    try:
        encoder.before = lambda n: _raise(error) if n == 6 else None
        trial = lane.try_batch(np.stack([pixels_of(str(i)) for i in range(6)]))
        assert trial.exception(TIMEOUT_S) is error
        assert encoder.batches == [6]
        assert lane.embed_image(pixels_of("next")).result(TIMEOUT_S).shape == (32,)
    finally:
        lane.close()


def test_trials_that_wait_are_told_of_the_end(encoder: StubEncoder) -> None:
    lane = fast_lane(encoder)
    gate, held = occupied(lane, encoder)
    trial = lane.try_batch(np.stack([pixels_of("a")]))
    closing = threading.Thread(target=lane.close)
    closing.start()
    assert isinstance(trial.exception(TIMEOUT_S), Stopped)
    gate.opened.set()
    closing.join(TIMEOUT_S)
    assert held.done()


def _raise(error: Exception) -> None:
    raise error
