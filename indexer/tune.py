"""Which batch size is best on a device: measured, short of the edge of its memory."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Protocol

import numpy as np

from indexer.errors import DeviceOutOfMemory
from indexer.ports import MemoryMeter
from indexer.types import BatchRow, EmbeddingSpace, Pixels, Tuning

logger = logging.getLogger(__name__)

TOLERANCE: Final = 0.03
"""The smallest batch within this of the best rate is chosen: it takes less memory, and a query waits for less."""

SLACK: Final = 1.05
"""How far over the longest time a median may be: the size that should just meet it is measured, and time is noisy."""

N_WARM_UPS: Final = 2
"""Batches before the first that counts: libraries make their plans for each new size."""

N_FIRST: Final = 3
"""Batches that tell whether a larger size is worth a try."""

ROUNDS_S: Final = 3.0
MIN_ROUNDS: Final = 5
MAX_ROUNDS: Final = 30
"""Afterwards every size has its turn in each round, so that what slows the machine for a while slows all of them."""


class Measurable(Protocol):
    """An encoder, as far as its batches are measured."""

    @property
    def space(self) -> EmbeddingSpace: ...
    @property
    def device(self) -> str: ...
    def encode_pixels(self, pixels: Pixels) -> object:
        """Encode pixels (n, side, side, 3). Raises `DeviceOutOfMemory`, `DeviceFailed`."""
        ...


@dataclass(slots=True, eq=False)
class _Trial:
    """One size, what it took, and the times of its batches."""

    pixels: Pixels = field(repr=False)
    memory_bytes: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.pixels)

    @property
    def latency_s(self) -> float:
        return median(self.seconds)

    @property
    def quickest_s(self) -> float:
        """What the size can do, whatever else the machine did meanwhile."""
        return min(self.seconds)

    @property
    def row(self) -> BatchRow:
        return BatchRow(self.size, self.memory_bytes, self.size / self.latency_s, 1e3 * self.latency_s)


class _Bench:
    """An encoder under measurement."""

    def __init__(self, encoder: Measurable, meter: MemoryMeter, clock: Callable[[], float]) -> None:
        self._encoder = encoder
        self._meter = meter
        self._clock = clock
        self._rng = np.random.default_rng(0)

    def trial(self, size: int) -> _Trial | None:
        """The first look at a size; None where it does not fit."""
        side = self._encoder.space.preprocess.side_px
        trial = _Trial(self._rng.integers(0, 256, (size, side, side, 3), np.uint8))
        self._meter.start()
        try:
            for _ in range(N_WARM_UPS):
                self._encoder.encode_pixels(trial.pixels)
            for _ in range(N_FIRST):
                self.time(trial)
        except DeviceOutOfMemory as error:
            logger.warning("A batch of %d did not fit, against expectation: %s", size, error)
            return None
        trial.memory_bytes = self._meter.peak_bytes()
        logger.info("batch %d: %.0f MB, %.1f images/s", size, trial.memory_bytes / 1e6, trial.row.images_per_s)
        return trial

    def time(self, trial: _Trial) -> None:
        """One more batch. Raises `DeviceOutOfMemory`."""
        started = self._clock()
        self._encoder.encode_pixels(trial.pixels)
        trial.seconds.append(max(self._clock() - started, 1e-9))

    def rounds(self, trials: list[_Trial], matters: Callable[[_Trial], bool]) -> None:
        """Time the sizes that matter in turn; one that does not fit any more is taken out."""
        contenders = [trial for trial in trials if matters(trial)]
        until = self._clock() + ROUNDS_S
        for n_done in range(MAX_ROUNDS):
            if n_done >= MIN_ROUNDS and self._clock() >= until:
                break
            for trial in list(contenders):
                try:
                    self.time(trial)
                except DeviceOutOfMemory as error:
                    logger.warning("A batch of %d fitted at first only: %s", trial.size, error)
                    contenders.remove(trial)
                    if len(trials) > 1:
                        trials.remove(trial)


def tune(
    encoder: Measurable,
    meter: MemoryMeter,
    *,
    most: int,
    longest_s: float,
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], float] = time.time,
) -> Tuning:
    """Measure batches of 1, 2, 4, … pictures until memory, time or `most` sets an end, and choose one.

    Memory is predicted on the line through the last two sizes (for the second, through one picture and none): a size
    that would not fit is not tried, but the largest that should is. That holds as long as a picture takes no more in a
    larger batch than in a smaller one; an out-of-memory is survived all the same.

    Args:
        encoder: Nobody else uses the device while one of its batches is timed.
        meter: Of the encoder's device.
        most: The largest batch to measure.
        longest_s: Batches that take longer are not chosen, except a single picture.
        clock: Seconds, monotonic; of batches alone where others come between them.
        now: Seconds since the epoch.

    Raises:
        DeviceOutOfMemory: Not even one picture fits.
        DeviceFailed: The device is lost.
    """
    bench = _Bench(encoder, meter, clock)
    trials, ended = _sweep(bench, meter, most, longest_s)
    if not trials:
        raise DeviceOutOfMemory(f"{encoder.device}: not even one picture fits into its memory beside the model")
    budget_bytes = meter.budget_bytes
    bench.rounds(trials, lambda trial: trial.size == 1 or trial.quickest_s <= longest_s * SLACK)
    rows = tuple(trial.row for trial in trials)
    space = encoder.space
    return Tuning(
        size=choice(rows, budget_bytes, longest_s),
        rows=rows,
        ended=ended,
        budget_bytes=budget_bytes,
        longest_ms=1e3 * longest_s,
        device=meter.device_name,
        model=space.model,
        precision=space.precision,
        fingerprint=space.fingerprint,
        measured_at=now(),
    )


def _sweep(bench: _Bench, meter: MemoryMeter, most: int, longest_s: float) -> tuple[list[_Trial], str]:
    """Ascending sizes, and why there are no more."""
    meter.start()
    trials: list[_Trial] = []
    before = (0, meter.peak_bytes())  # no picture: the weights alone
    size, is_edge = 1, False
    while (trial := bench.trial(size)) is not None:
        trials.append(trial)
        if trial.quickest_s > longest_s:
            return _with_longest(bench, trials, longest_s), "time"
        if size >= most:
            return trials, "asked"
        last = (size, trial.memory_bytes)
        doubled = min(2 * size, most)
        fitting = _fitting(before, last, meter.budget_bytes)
        # On a straight line the edge is met at the first try. Where the line bends, later tries must bring something.
        if fitting < doubled and (fitting <= size or (is_edge and fitting < size + max(1, size // 8))):
            return trials, "memory"
        before, size, is_edge = last, min(doubled, fitting), fitting < doubled
    return trials, "out_of_memory"


def _fitting(before: tuple[int, int], last: tuple[int, int], budget_bytes: int) -> int:
    """The most pictures that fit, on the line through two (size, bytes)."""
    (n_before, bytes_before), (n_last, bytes_last) = before, last
    grown = bytes_last - bytes_before
    room = budget_bytes - bytes_last
    if room < 0:
        return 0
    return sys.maxsize if grown <= 0 else n_last + room * (n_last - n_before) // grown


def _with_longest(bench: _Bench, trials: list[_Trial], longest_s: float) -> list[_Trial]:
    """The last size took too long, and half of it did not: between them is the largest that takes no longer."""
    if len(trials) == 1:
        return trials
    quick, slow = trials[-2:]
    share = (longest_s - quick.quickest_s) / (slow.quickest_s - quick.quickest_s)
    size = quick.size + int(share * (slow.size - quick.size) + 1e-9)
    between = bench.trial(size) if quick.size < size < slow.size else None
    return [*trials[:-1], between, slow] if between else trials


def choice(rows: Sequence[BatchRow], budget_bytes: int, longest_s: float) -> int:
    """The smallest size within 3 % of the best rate, of those that fit into memory and time; the first if none does."""
    usable = [row for row in rows if _is_usable(row, budget_bytes, longest_s)] or rows[:1]
    best = max(row.images_per_s for row in usable)
    return next(row.size for row in usable if row.images_per_s >= (1 - TOLERANCE) * best)


def _is_usable(row: BatchRow, budget_bytes: int, longest_s: float) -> bool:
    return row.memory_bytes <= budget_bytes and row.latency_ms <= 1e3 * longest_s * SLACK
