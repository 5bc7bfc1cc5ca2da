"""`tune batch` inside a running service: batches are timed between queries, and the choice is used at once."""

from __future__ import annotations

from collections.abc import Callable

from indexer.config import Config
from indexer.engine.parts import IMAGES_ON_THEIR_WAY, Parts
from indexer.engine.task import Summary, Task
from indexer.errors import InputError, NotTuned
from indexer.ports import Embedder
from indexer.store.data_dir import DataDir
from indexer.store.tuned import keep_tuning
from indexer.tune import N_FIRST, N_WARM_UPS, tune
from indexer.types import BatchLimit, Pixels, Progress, Tuning

Tried = Callable[[int], None]
"""Called before each batch, with how many there may be in all; raises `Stopped` to end it."""


class _BehindLane:
    """What the tuner measures. Its clock counts its own batches' seconds: waiting for queries is not their fault."""

    def __init__(self, embedder: Embedder, device: str, n_total: int, tried: Tried) -> None:
        self.space = embedder.space
        self.device = device
        self._embedder = embedder
        self._n_total = n_total
        self._tried = tried
        self._seconds = 0.0

    def clock(self) -> float:
        return self._seconds

    def encode_pixels(self, pixels: Pixels) -> None:
        self._tried(self._n_total)
        self._seconds += self._embedder.try_batch(pixels).result()


def measure_batches(config: Config, data: DataDir, embedder: Embedder, tried: Tried) -> Tuning:
    """Measure batches on the first device, beside the service's work, and keep the result.

    Raises:
        Stopped: The service goes down.
        DeviceOutOfMemory, DeviceFailed: Not even one picture fits, or the device is lost.
        StoreFull: The result cannot be kept.
    """
    from indexer.encoder.device import place
    from indexer.encoder.lane import MAX_BATCH_S
    from indexer.encoder.memory import meter_of

    placement = place(config.model.devices[0], config.model.precision)
    most = IMAGES_ON_THEIR_WAY[placement.device.type] // 2
    n_total = most.bit_length() * (N_WARM_UPS + 2 * N_FIRST)
    behind = _BehindLane(embedder, str(placement.device), n_total, tried)
    tuning = tune(behind, meter_of(placement), most=most, longest_s=MAX_BATCH_S, clock=behind.clock)
    keep_tuning(data.tuned, tuning)
    return tuning


class Retuning:
    """Runs one measurement at a time in a thread of its own, and knows which batch size is in force.

    Args:
        parts: Whose batches they are.
        measure: As `measure_batches`; None where nothing can be measured.
        use: Called with a new size that is to be in force.
    """

    def __init__(self, parts: Parts, measure: Callable[[Tried], Tuning] | None, use: Callable[[int], None]) -> None:
        self._measure = measure
        self._use = use
        self._tuning = parts.tuning
        self.batch = parts.batch
        self._task = Task("tune", "batches could not be measured")

    @property
    def progress(self) -> Progress | None:
        """The running or the last measurement."""
        return self._task.progress

    @property
    def tuning(self) -> Tuning:
        """What was measured last, also before this start; raises `NotTuned`."""
        if self._tuning is None:
            raise NotTuned(
                "No batch was measured on this device with this model; run: indexer tune batch, or POST /api/tune"
            )
        return self._tuning

    def start(self) -> Progress:
        """Begin, or join the one that runs.

        Raises:
            InputError: Nothing can be measured here.
            Stopped: The service is going down.
        """
        measure = self._measure
        if measure is None:
            raise InputError("this engine only answers; run a server to measure batches")
        return self._task.start("tune", lambda: self._run(measure))

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of the measurement that runs; whether it came."""
        return self._task.wait(timeout_s)

    def close(self) -> None:
        """End after the batch that is being timed."""
        self._task.close()

    def _run(self, measure: Callable[[Tried], Tuning]) -> Summary:
        tuning = self._tuning = measure(self._tried)
        if self.batch.source != "configured":
            self.batch = BatchLimit(tuning.size, "tuned")
            self._use(tuning.size)
        return {"size": tuning.size}

    def _tried(self, n_total: int) -> None:
        n_done = self._task.progress.n_done if self._task.progress else 0
        # How many there will be shows only as it goes.
        self._task.report(min(n_done + 1, n_total - 1), n_total, with_eta=False)
