"""The lane in front of the encoders: one queue, and as many threads to serve it as there are places for an encoder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final

import numpy as np
from numpy.typing import NDArray

from indexer.encoder.batch_size import BatchSize
from indexer.encoder.desk import Desk
from indexer.encoder.scaling import Scaling
from indexer.encoder.worker import Slot, Worker
from indexer.errors import NoTextTower
from indexer.types import Embeddings, EmbeddingSpace, Matrix, Pixels, QueueState

_log = logging.getLogger(__name__)

MAX_BATCH_S: Final = 0.25
"""A query waits for one batch at most; this is how long that should take."""

MAX_URGENT: Final = 1024
"""Pictures and texts of queries that may wait."""

LOOK_S: Final = 1.0
"""How often it is looked at whether there are enough encoders, and whether they answer."""

SILENT_S: Final = 60.0
"""A device that takes longer for one batch hangs: the slowest that there are take some seconds for one picture."""


class EncoderLane:
    """Serves many threads with a few encoders: queries before bulk work, what waits in one batch, no waiting for more.

    Each encoder lives in a thread of its own, which opens it, uses it and closes it. They take from one queue when they
    are free, so a slow one takes less, and what a device is lost with goes to another one. Done-callbacks of futures
    run in those threads and should be short. A future's error may be `ImageRefused` where the picture is to blame,
    `DeviceOutOfMemory` where texts are too many, `DeviceFailed` for queries while every device is lost (each is opened
    anew when it can be, and bulk work waits for that), or whatever else the encoder raises, which the lane survives.
    What is cancelled before it was begun leaves its place in the queue to others. A device that does not answer at all
    is counted out until it does: nobody waits for it, and what it says of work that others have taken over is dropped.
    """

    def __init__(
        self,
        *slots: Slot,
        batch_size: int,
        least: int | None = None,
        max_batch_s: float = MAX_BATCH_S,
        max_bulk: int | None = None,
        max_urgent: int = MAX_URGENT,
        idle_release_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
        silent_s: float = SILENT_S,
    ) -> None:
        """Open the first encoder and return when it is ready; what its slot's `build` raises is raised here.

        The others come up beside it. One that cannot be opened is told of, and tried again.

        Args:
            slots: Where encoders may run; they must give the same embedding space.
            batch_size: Pictures in a batch, at most.
            least: Encoders that there are always, the first ones; the others come and go with the load. None: all.
            max_batch_s: Seconds that a batch should take at most; one picture is always allowed.
            max_bulk: Bulk pictures that may wait before submitting blocks; None: two batches for each slot.
            max_urgent: Pictures and texts of queries that may wait before more are refused.
            idle_release_s: Without work for so long encoders are closed, and opened when there is some; 0: never.
            clock: Seconds, monotonic.
            look_s: How often it is looked at whether there are enough encoders, and whether they answer.
            silent_s: A device that has not answered for so long is counted out.
        """
        self._desk = Desk(
            max_bulk=max_bulk or 2 * batch_size * len(slots),
            max_urgent=max_urgent,
            idle_release_s=idle_release_s,
            clock=clock,
        )
        n_least = least or len(slots)
        self._workers = [
            Worker(
                slot, self._desk, BatchSize(batch_size, max_batch_s), clock,
                is_wanted=i < n_least, name=f"encoder-{i}" if i else "encoder",
            )
            for i, slot in enumerate(slots)
        ]  # fmt: skip
        self._n_least = n_least
        self._scaling = Scaling(n_least, len(slots), clock)
        self._look_s = look_s
        self._silent_s = silent_s
        self._encoder_bytes = 0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="encoders", daemon=True)
        try:
            self._owner = self._workers[0].start()
            for worker in self._workers[1:]:
                worker.start(like=self._owner)
        except BaseException:
            self._desk.closing.set()  # interrupted while the model loads: the thread ends when it is done
            raise
        self._watcher.start()

    @property
    def space(self) -> EmbeddingSpace:
        return self._owner.space

    @property
    def projection(self) -> Matrix | None:
        return self._owner.projection

    @property
    def has_text(self) -> bool:
        return self._owner.has_text

    @property
    def device(self) -> str:
        """The first one's."""
        return self._owner.device

    @property
    def weights_bytes(self) -> int:
        """Memory on the devices that the weights take now."""
        return sum(worker.load.weights_bytes for worker in self._workers)

    @property
    def n_encoded(self) -> int:
        """Bulk pictures encoded since the start."""
        return sum(worker.n_encoded for worker in self._workers)

    @property
    def n_waiting(self) -> int:
        """Pictures and texts queued now."""
        return self._desk.depth

    @property
    def trouble(self) -> str | None:
        """Why nothing can be encoded now; None while all is well, or others go on."""
        troubles = [worker.trouble for worker in self._wanted]
        return None if None in troubles else next(iter(troubles), None)

    @property
    def batch_size(self) -> int:
        """Pictures that the next batch may hold."""
        return max(worker.batch.now for worker in self._wanted)

    def limit_batch(self, *largest: int) -> None:
        """Let batches hold at most so many pictures, on each slot, or on the first and those on devices of its kind.

        What suits is known once the model is.
        """
        workers = self._workers
        if len(largest) == 1:
            workers = [worker for worker in workers if worker.slot.kind == workers[0].slot.kind]
            largest *= len(workers)
        for worker, most in zip(workers, largest, strict=True):
            worker.batch.limit(most)

    @property
    def queue(self) -> QueueState:
        """The queue, and the pace over the last ten seconds."""
        return QueueState(
            depth=self._desk.depth,
            oldest_s=self._desk.oldest_s,
            images_per_s=sum(worker.meter.rate_per_s for worker in self._workers),
            batch_size=self.batch_size,
            rejected_total=self._desk.n_rejected,
            busy_share=self._busy_share,
            devices=tuple(worker.load for worker in self._workers),
        )

    def embed_image(self, pixels: Pixels, *, urgent: bool = False) -> Future[NDArray[np.float16]]:
        """Feature (d,) float16 of one picture's pixels (side, side, 3) uint8.

        Blocks while the bulk queue is full; urgent work raises `Overloaded` instead.

        Raises:
            Overloaded: Too many queries wait.
            Stopped: The lane is closed.
            ValueError: The pixels have another shape or type than the model takes.
        """
        side = self.space.preprocess.side_px
        if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"pixels {pixels.shape} {pixels.dtype}, and the model takes ({side}, {side}, 3) uint8")
        return self._desk.add_query(pixels) if urgent else self._desk.add_bulk(pixels)

    def embed_texts(self, texts: Sequence[str]) -> Future[Embeddings]:
        """Joint embeddings (n, j) float32 of texts, always urgent.

        Raises:
            NoTextTower: The checkpoint has none.
            Overloaded: Too many queries wait.
            Stopped: The lane is closed.
        """
        if not self.has_text:
            raise NoTextTower(
                f"the checkpoint of {self.space.model} has no text tower, so words cannot be searched; set "
                '`[model] pretrained` to one with both towers, such as "laion2b_s32b_b79k" for ViT-H-14'
            )
        return self._desk.add_texts(texts)

    def try_batch(self, pixels: Pixels) -> Future[float]:
        """Encode pixels (n, side, side, 3) of nobody's as one batch of the first device's, for the seconds it takes.

        Queries go before it, and it before bulk work. The future may raise `DeviceOutOfMemory` or `DeviceFailed`.

        Raises:
            Stopped: The lane is closed.
        """
        return self._desk.add_trial(pixels)

    def close(self) -> None:
        """Finish running batches and waiting queries, then end the threads and the encoders.

        Bulk pictures that only wait get `Stopped`, and so does whoever waits to submit: they are as good later, and a
        slow device would hold up the end. One that does not answer is left as it is.
        """
        self._desk.close()
        for worker in self._workers:
            worker.join()
        self._ended.set()
        self._watcher.join()

    # -------------------------------------------------------------- as many as are needed

    @property
    def _wanted(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.is_wanted]

    @property
    def _busy_share(self) -> float:
        wanted = self._wanted
        return sum(worker.meter.busy_share for worker in wanted) / len(wanted)

    def _watch(self) -> None:
        while not self._ended.wait(self._look_s):
            self._look()

    def _look(self) -> None:
        """See that the devices answer, and that there are as many as are needed."""
        for worker in self._workers:
            worker.look(self._silent_s)
        if self._n_least < len(self._workers) and not self._desk.closing.is_set():
            self._scale()

    def _scale(self) -> None:
        """One encoder more or less, if it is time for that, and there is room."""
        at_work = [worker for worker in self._wanted if not worker.is_silent]
        self._encoder_bytes = max(self._encoder_bytes, self._owner.weights_bytes)
        step = self._scaling.step(len(at_work), self._desk.oldest_s, self._busy_share)
        if step > 0 or len(at_work) < self._n_least:
            free = [worker for worker in self._workers if not worker.is_wanted]
            worker = next((each for each in free if each.slot.has_room(self._encoder_bytes)), None)
            if worker is None:
                if step and free:
                    _log.warning("One more encoder would help, and there is no room for it")
                return
            worker.is_wanted = True
            _log.info(
                "One more encoder, on %s: the queue grows old, or another one does not answer", worker.slot.device
            )
        elif step < 0:
            at_work[-1].is_wanted = False
            _log.info("One encoder less, on %s: the others keep up", at_work[-1].slot.device)
        else:
            return
        self._desk.ring()
