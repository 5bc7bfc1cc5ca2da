"""`tune batch` inside a running service: batches are timed between queries, and the choice is used at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from indexer.config import Config
from indexer.engine.parts import IMAGES_ON_THEIR_WAY, Parts
from indexer.errors import InputError, NotTuned, Stopped
from indexer.ports import Embedder
from indexer.store.data_dir import DataDir
from indexer.store.tuned import keep_tuning
from indexer.tune import N_FIRST, N_WARM_UPS, tune
from indexer.types import BatchLimit, Pixels, Progress, Tuning

logger = logging.getLogger(__name__)

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
        self.progress: Progress | None = None
        """The running or the last measurement."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._started = 0.0
        self._thread: threading.Thread | None = None

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
        with self._lock:
            if self._stopping.is_set():
                raise Stopped("the service is going down")
            if self.progress is None or not self.progress.running:
                self._started = time.monotonic()
                self.progress = Progress("tune", True, 0, 0, 0.0, None)
                self._thread = threading.Thread(target=self._run, args=(measure,), name="tune", daemon=True)
                self._thread.start()
            return self.progress

    def close(self) -> None:
        """End after the batch that is being timed."""
        with self._lock:
            self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, measure: Callable[[Tried], Tuning]) -> None:
        error = ""
        summary: dict[str, int | float] = {}
        try:
            tuning = self._tuning = measure(self._tried)
            summary = {"size": tuning.size}
            if self.batch.source != "configured":
                self.batch = BatchLimit(tuning.size, "tuned")
                self._use(tuning.size)
        except Stopped as e:
            error = str(e)
        except Exception as e:  # a worker's loop: the reason goes to whoever asks, the service goes on
            logger.exception("batches could not be measured")
            error = str(e) or type(e).__name__
        summary["seconds"] = round(time.monotonic() - self._started, 3)
        assert self.progress is not None
        self.progress = replace(self.progress, running=False, eta_s=0.0, summary=summary, error=error)

    def _tried(self, n_total: int) -> None:
        if self._stopping.is_set():
            raise Stopped("the service is going down")
        assert self.progress is not None
        n_done = min(self.progress.n_done + 1, n_total - 1)  # how many there will be shows only as it goes
        rate = n_done / max(time.monotonic() - self._started, 1e-3)
        self.progress = replace(self.progress, n_done=n_done, n_total=n_total, rate_per_s=rate)
