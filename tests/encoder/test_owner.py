"""Every picture gets exactly its own answer, whatever the device does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.encoder.batch_size import BatchSize
from indexer.encoder.lane import SILENT_S
from indexer.encoder.meter import Meter
from indexer.encoder.owner import REOPEN_DELAYS_S, REST_S, Owner
from indexer.errors import DeviceFailed, DeviceOutOfMemory, ImageRefused, IndexerError, ModelUnavailable
from indexer.types import Embeddings, Pixels, Reason
from tests.fakes.encoder import StubEncoder, pixels_of


class Bench:
    """An owner over stub encoders, with time that stands still unless somebody waits."""

    def __init__(self, **faults: object) -> None:
        self.now = 0.0
        self.opened: list[StubEncoder] = []
        self.refuse_opening: IndexerError | None = None
        self.faults = faults
        self.batch = BatchSize(64, max_batch_s=1.0)
        self.owner = Owner(self.open, self.batch, Meter(self.clock), clock=self.clock, wait=self.wait)

    def open(self) -> StubEncoder:
        if self.refuse_opening is not None:
            raise self.refuse_opening
        encoder = StubEncoder()
        for name, fault in self.faults.items():
            setattr(encoder, name, fault)
        self.opened.append(encoder)
        return encoder

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    @property
    def batches(self) -> list[int]:
        return [n for encoder in self.opened for n in encoder.batches]


PICTURES = [pixels_of(i) for i in range(40)]
FEATURES = [StubEncoder().feature_of(picture) for picture in PICTURES]


def among(labels: set[int]) -> Callable[[Pixels], bool]:
    chosen = {PICTURES[label].tobytes() for label in labels}
    return lambda pixels: pixels.tobytes() in chosen


def test_features_come_in_the_order_of_the_pictures() -> None:
    bench = Bench()
    answers = bench.owner.features(PICTURES)
    assert np.array_equal(np.stack(answers), np.stack(FEATURES))  # type: ignore[arg-type]
    assert bench.batches == [40]


def test_out_of_memory_halves_until_it_fits_and_loses_nobody() -> None:
    bench = Bench(fits=10)
    answers = bench.owner.features(PICTURES)
    assert np.array_equal(np.stack(answers), np.stack(FEATURES))  # type: ignore[arg-type]
    assert bench.batches == [40, 20, 10, 10, 20, 10, 10]
    assert bench.batch.now == 10
    assert len(bench.opened) == 1


def test_a_picture_that_does_not_fit_alone_is_refused() -> None:
    answers = Bench(fits=0).owner.features(PICTURES[:2])
    assert [reason_of(answer) for answer in answers] == [Reason.DEVICE_MEMORY] * 2


def test_a_row_of_nonsense_is_looked_at_once_more_alone() -> None:
    bench = Bench(nonsense=among({3}))
    answers = bench.owner.features(PICTURES)
    assert reason_of(answers[3]) is Reason.BAD_FEATURE
    assert bench.batches == [40, 1]
    assert all(np.array_equal(answers[i], FEATURES[i]) for i in range(40) if i != 3)


def test_nonsense_that_passes_is_forgotten() -> None:
    seen: list[Pixels] = []

    def at_first(pixels: Pixels) -> bool:
        seen.append(pixels)
        return len(seen) <= 2

    answers = Bench(nonsense=at_first).owner.features(PICTURES)
    assert np.array_equal(np.stack(answers), np.stack(FEATURES))  # type: ignore[arg-type]


def test_a_device_that_fails_once_is_opened_anew_and_the_batch_repeated() -> None:
    bench = Bench()
    bench.opened[0].before = lambda n: fail("cable out")
    answers = bench.owner.features(PICTURES)
    assert np.array_equal(np.stack(answers), np.stack(FEATURES))  # type: ignore[arg-type]
    assert [encoder.batches for encoder in bench.opened] == [[40], [40]]
    assert bench.opened[0].closed


def test_a_picture_that_breaks_the_device_is_found_and_its_neighbours_live() -> None:
    bench = Bench(breaks=among({17}))
    answers = bench.owner.features(PICTURES)
    assert reason_of(answers[17]) is Reason.DEVICE_FAILED
    assert all(np.array_equal(answers[i], FEATURES[i]) for i in range(40) if i != 17)
    # Once as it was, once again, and then one half at each of the levels down to the one picture.
    assert len(bench.opened) <= 1 + 2 + 6


def test_a_device_that_stays_lost_fails_all_and_rests_before_it_is_tried_again() -> None:
    bench = Bench()
    bench.opened[0].before = lambda n: fail("off the bus")
    bench.refuse_opening = ModelUnavailable("no device")
    assert all(isinstance(answer, DeviceFailed) for answer in bench.owner.features(PICTURES))
    assert bench.now == sum(REOPEN_DELAYS_S)

    lost_at = bench.now
    assert isinstance(bench.owner.features(PICTURES)[0], DeviceFailed)
    assert bench.now == lost_at  # at once

    bench.refuse_opening = None
    bench.now += REST_S
    assert np.array_equal(np.stack(bench.owner.features(PICTURES)), np.stack(FEATURES))  # type: ignore[arg-type]


def test_what_was_encoded_before_the_device_was_lost_is_kept() -> None:
    bench = Bench(fits=20)

    def second_half_fails(n: int) -> None:
        if bench.batches[-2:] == [20, 20]:
            bench.refuse_opening = ModelUnavailable("gone")
            fail("gone")

    bench.opened[0].before = second_half_fails
    answers = bench.owner.features(PICTURES)
    assert np.array_equal(np.stack(answers[:20]), np.stack(FEATURES[:20]))  # type: ignore[arg-type]
    assert all(isinstance(answer, DeviceFailed) for answer in answers[20:])


def test_another_model_in_the_place_of_a_lost_one_is_not_used() -> None:
    bench = Bench()
    bench.opened[0].before = lambda n: fail("gone")
    bench.owner._build = lambda: StubEncoder(seed=1)
    answers = bench.owner.features(PICTURES[:2])
    assert all(isinstance(answer, DeviceFailed) for answer in answers)


def test_an_error_that_is_nobodys_business_passes() -> None:
    def surprise(n: int) -> None:
        raise ZeroDivisionError

    bench = Bench(before=surprise)
    with pytest.raises(ZeroDivisionError):
        bench.owner.features(PICTURES)


def test_texts_of_several_requests_go_together_and_come_back_apart() -> None:
    bench = Bench()
    first, second, third = bench.owner.embeddings([["a", "b"], [], ["c"]])
    encoder = bench.opened[0]
    assert encoder.text_calls == [["a", "b", "c"]]
    assert np.array_equal(first, [encoder.embedding_of("a"), encoder.embedding_of("b")])  # type: ignore[arg-type]
    assert np.shape(second) == (0, 16)  # type: ignore[arg-type]
    assert np.array_equal(third, [encoder.embedding_of("c")])  # type: ignore[arg-type]


def test_texts_that_are_too_many_together_are_tried_apart() -> None:
    bench = Bench(fits=2)
    fine, too_many, also_fine = bench.owner.embeddings([["a"], ["b"] * 3, ["c", "d"]])
    assert (np.shape(fine), np.shape(also_fine)) == ((1, 16), (2, 16))  # type: ignore[arg-type]
    assert isinstance(too_many, DeviceOutOfMemory)


def test_closing_a_device_that_fails_at_it_is_quiet() -> None:
    bench = Bench()
    bench.opened[0].close = lambda: fail("gone")  # type: ignore[method-assign]
    bench.owner.close()


labels = st.sets(st.integers(0, len(PICTURES) - 1), max_size=4)


@settings(deadline=None)
@given(fits=st.integers(1, 40), breaks=labels, nonsense=labels, hiccups=st.sets(st.integers(0, 12)))
def test_whatever_happens_each_picture_has_its_own_feature_or_its_own_reason(
    fits: int, breaks: set[int], nonsense: set[int], hiccups: set[int]
) -> None:
    calls = iter(range(10_000))
    bench = Bench(
        fits=fits,
        breaks=among(breaks),
        nonsense=among(nonsense),
        before=lambda n: fail("hiccup") if next(calls) in hiccups else None,
    )
    answers = bench.owner.features(PICTURES)
    for i, answer in enumerate(answers):
        if i in breaks:
            assert reason_of(answer) is Reason.DEVICE_FAILED
        elif i in nonsense:
            assert reason_of(answer) in (Reason.BAD_FEATURE, Reason.DEVICE_FAILED)
        elif isinstance(answer, ImageRefused):
            # Bad luck: after a failure that was not its own, the device failed of itself when it stood alone.
            assert answer.reason is Reason.DEVICE_FAILED
            assert len(hiccups) >= (1 if breaks else 2)
        else:
            assert np.array_equal(answer, FEATURES[i])  # type: ignore[arg-type]


def fail(message: str) -> None:
    raise DeviceFailed(message)


def reason_of(answer: object) -> Reason | None:
    return answer.reason if isinstance(answer, ImageRefused) else None


def test_a_slow_device_with_thousands_of_texts_does_not_seem_to_hang() -> None:
    bench = Bench()
    (encoder,) = bench.opened
    encode, waited = encoder.encode_texts, []

    def slowly(texts: Sequence[str]) -> Embeddings:
        bench.now += 0.5 * len(texts)
        waited.append(bench.owner.silent_s)
        return encode(texts)

    encoder.encode_texts = slowly  # type: ignore[method-assign]
    requests = [[f"{i} {j}" for j in range(i % 7)] for i in range(600)]
    answers = bench.owner.embeddings(requests)
    for texts, answer in zip(requests, answers, strict=True):
        assert np.array_equal(answer, encode(texts))  # type: ignore[arg-type]
    assert max(waited) <= SILENT_S
