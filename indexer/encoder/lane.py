"""The queues in front of an encoder, and the thread that owns it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.encoder.batch_size import BatchSize
from indexer.encoder.meter import Meter
from indexer.encoder.owner import Owner
from indexer.errors import DeviceFailed, ImageRefused, NoTextTower, Overloaded, Stopped
from indexer.ports import Encoder
from indexer.types import Embeddings, EmbeddingSpace, Matrix, Pixels, QueueState, Reason

_log = logging.getLogger(__name__)

MAX_BATCH_S: Final = 0.25
"""A query waits for one batch at most; this is how long that should take."""

MAX_URGENT: Final = 1024
"""Pictures and texts of queries that may wait."""

MAX_RETRY_S: Final = 30.0

SUSPECT_AFTER: Final = 3
"""Losses of the device after which the pictures of a batch go one by one."""

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Job(Generic[T]):
    """One picture, or one list of texts, and who waits for it."""

    item: T
    n: int
    came_at: float
    future: Future[Any] = field(default_factory=Future)
    n_lost: int = 0
    """How often the device was lost for good with this one in a batch."""


@dataclass(slots=True)
class _Turn:
    """What the owner takes from the queues at once; `is_bulk` where its pictures are nobody's question."""

    texts: list[_Job[Sequence[str]]]
    pictures: list[_Job[Pixels]]
    is_bulk: bool
    is_idle: bool = False
    """Nothing is there, and was not for so long that the encoder is to be closed."""


class EncoderLane:
    """Serves many threads with one encoder: queries before bulk work, what waits now in one batch, no waiting for more.

    The encoder lives in a thread of its own, which opens it, uses it and closes it. Done-callbacks of futures run in
    that thread and should be short. A future's error may be `ImageRefused` where the picture is to blame,
    `DeviceOutOfMemory` where texts are too many, `DeviceFailed` for queries while the device is lost (it is opened anew
    when it can be, and bulk work waits for that), or whatever else the encoder raises, which the lane survives.
    """

    def __init__(
        self,
        build: Callable[[], Encoder],
        *,
        batch_size: int,
        max_batch_s: float = MAX_BATCH_S,
        max_bulk: int | None = None,
        max_urgent: int = MAX_URGENT,
        idle_release_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the encoder and return when it is ready; what `build` raises is raised here.

        Args:
            build: Opens the encoder; called in the lane's thread, and again there when its device failed.
            batch_size: Pictures in a batch, at most.
            max_batch_s: Seconds that a batch should take at most; one picture is always allowed.
            max_bulk: Bulk pictures that may wait before submitting blocks; None: two batches.
            max_urgent: Pictures and texts of queries that may wait before more are refused.
            idle_release_s: Without work for so long the encoder is closed, and opened when there is some; 0: never.
            clock: Seconds, monotonic.
        """
        self._build = build
        self._clock = clock
        self._idle_release_s = idle_release_s
        self._idle_since = clock()
        self._batch = BatchSize(batch_size, max_batch_s)
        self._meter = Meter(clock)
        self._max_bulk = max_bulk or 2 * batch_size
        self._max_urgent = max_urgent
        self._texts: deque[_Job[Sequence[str]]] = deque()
        self._queries: deque[_Job[Pixels]] = deque()
        self._bulk: deque[_Job[Pixels]] = deque()
        self._again: list[_Job[Pixels]] = []  # bulk pictures that a lost device has left without an answer
        self._n_encoded = 0
        self._n_rejected = 0
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._closing = threading.Event()
        opened: Future[Owner] = Future()
        self._thread = threading.Thread(target=self._own, args=(opened,), name="encoder", daemon=True)
        self._thread.start()
        try:
            self._owner = opened.result()
        except BaseException:
            self._closing.set()  # interrupted while the model loads: the thread ends when it is done
            raise

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
        return self._owner.device

    @property
    def weights_bytes(self) -> int:
        """Memory on the device that the weights take now."""
        return self._owner.weights_bytes

    @property
    def n_encoded(self) -> int:
        """Bulk pictures encoded since the start."""
        return self._n_encoded

    @property
    def n_waiting(self) -> int:
        """Pictures and texts queued now."""
        with self._work:
            return self._n_urgent() + len(self._bulk) + len(self._again)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be encoded now; None while all is well."""
        if not self._thread.is_alive():
            return "the encoder's thread has ended"
        return self._owner.trouble

    @property
    def batch_size(self) -> int:
        """Pictures that the next batch may hold."""
        return self._batch.now

    def limit_batch(self, largest: int) -> None:
        """Let batches hold at most so many pictures: what suits the model is known when it is open."""
        self._batch.limit(largest)

    @property
    def queue(self) -> QueueState:
        """The queues, and the pace over the last ten seconds."""
        with self._work:
            queues: tuple[Sequence[_Job[Any]], ...] = (self._texts, self._queries, self._bulk, self._again)
            depth = sum(job.n for queue in queues for job in queue)
            now = self._clock()
            oldest_s = now - min((queue[0].came_at for queue in queues if queue), default=now)
        return QueueState(
            depth, oldest_s, self._meter.rate_per_s, self._batch.now, self._n_rejected, self._meter.busy_share
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
        job = _Job(pixels, 1, self._clock())
        with self._work:
            if urgent:
                self._admit(job.n)
                self._queries.append(job)
            else:
                self._room.wait_for(lambda: self._closing.is_set() or len(self._bulk) < self._max_bulk)
                self._refuse_when_closing()
                self._bulk.append(job)
            self._work.notify()
        return job.future

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
        job: _Job[Sequence[str]] = _Job(tuple(texts), len(texts), self._clock())
        with self._work:
            self._admit(job.n)
            self._texts.append(job)
            self._work.notify()
        return job.future

    def close(self) -> None:
        """Finish the running batch and waiting queries, then end the thread and the encoder.

        Bulk pictures that only wait get `Stopped`, and so does whoever waits to submit: they are as good later, and a
        slow device would hold up the end.
        """
        with self._work:
            self._closing.set()
            waiting = _started(self._bulk, len(self._bulk))
            self._work.notify_all()
            self._room.notify_all()
        for job in waiting:
            job.future.set_exception(Stopped("the service ends; the picture is encoded when it runs again"))
        self._thread.join()

    # -------------------------------------------------------------- at the door, under the lock

    def _n_urgent(self) -> int:
        return sum(job.n for job in self._texts) + len(self._queries)

    def _admit(self, n: int) -> None:
        self._refuse_when_closing()
        waiting = self._n_urgent()
        if waiting and waiting + n > self._max_urgent:
            self._n_rejected += 1
            retry_s = min(max(waiting * self._batch.seconds_per_image, 1.0), MAX_RETRY_S)
            raise Overloaded(f"{waiting} queries wait for the encoder already", retry_s)

    def _refuse_when_closing(self) -> None:
        if self._closing.is_set():
            raise Stopped("the encoder is closed")

    # -------------------------------------------------------------- in the owner's thread

    def _own(self, opened: Future[Owner]) -> None:
        try:
            owner = Owner(self._build, self._batch, self._meter, clock=self._clock, wait=self._closing.wait)
        except BaseException as error:  # noqa: BLE001  # whoever constructs the lane is to see it, whatever it is
            opened.set_exception(error)
            return
        opened.set_result(owner)
        try:
            while (turn := self._next_turn(owner)) is not None:
                if turn.is_idle:
                    owner.release()
                else:
                    self._serve(owner, turn)
                self._idle_since = self._clock()
        finally:
            owner.close()
            self._abandon()

    def _next_turn(self, owner: Owner) -> _Turn | None:
        """All waiting texts and a batch of query pictures; without queries a batch of bulk ones. None at the end."""
        with self._work:
            while not (self._texts or self._queries):
                if self._closing.is_set():
                    return None
                rests_s = owner.rests_s
                if not rests_s and (self._again or self._bulk):
                    return self._bulk_turn(self._batch.now)
                idle_s = self._until_idle_s(owner)
                if idle_s is not None and idle_s <= 0:
                    return _Turn([], [], is_bulk=False, is_idle=True)
                self._work.wait(rests_s or idle_s)
            limit = self._batch.now
            texts = _started(self._texts, len(self._texts))
            return _Turn(texts, _started(self._queries, limit), is_bulk=False)

    def _until_idle_s(self, owner: Owner) -> float | None:
        """Seconds until the encoder is to be closed; None where it is not open, or never to be."""
        if not (self._idle_release_s and owner.is_open):
            return None
        return self._idle_since + self._idle_release_s - self._clock()

    def _bulk_turn(self, limit: int) -> _Turn:
        if self._again and self._again[0].n_lost >= SUSPECT_AFTER:
            limit = 1  # one of a batch that loses the device again and again
        pictures, self._again = self._again[:limit], self._again[limit:]
        pictures += _started(self._bulk, limit - len(pictures))
        self._room.notify_all()
        return _Turn([], pictures, is_bulk=True)

    def _serve(self, owner: Owner, turn: _Turn) -> None:
        if turn.texts:
            _tell(zip(turn.texts, _attempt(owner.embeddings, turn.texts), strict=True))
        if turn.pictures:
            answered = list(zip(turn.pictures, _attempt(owner.features, turn.pictures), strict=True))
            if turn.is_bulk:
                answered = self._keep_lost(answered, owner.has_tried)
                self._n_encoded += sum(not isinstance(answer, Exception) for _, answer in answered)
            _tell(answered)

    def _keep_lost(self, answered: list[tuple[_Job[Pixels], Any]], tried: bool) -> list[tuple[_Job[Pixels], Any]]:
        """Put back what has no answer because the device was lost; alone and lost again, a picture is to blame."""
        lost = [job for job, answer in answered if isinstance(answer, DeviceFailed)]
        for job in lost:
            job.n_lost += tried
        if tried and len(answered) == 1 and lost and lost[0].n_lost > SUSPECT_AFTER:
            return [(lost[0], ImageRefused(Reason.DEVICE_FAILED, "the device is lost whenever it is encoded"))]
        with self._work:
            self._again = lost + self._again
        return [(job, answer) for job, answer in answered if not isinstance(answer, DeviceFailed)]

    def _abandon(self) -> None:
        """The thread ends: whoever still waits, because it ended by accident, is told."""
        with self._work:
            self._closing.set()
            queues: tuple[deque[_Job[Any]], ...] = (self._texts, self._queries, self._bulk)
            left = [*self._again, *(job for queue in queues for job in _started(queue, len(queue)))]
            self._room.notify_all()
        for job in left:
            job.future.set_exception(Stopped("the encoder's thread has ended"))


def _started(queue: deque[_Job[T]], limit: int) -> list[_Job[T]]:
    """Take up to `limit` jobs that nobody has cancelled."""
    jobs: list[_Job[T]] = []
    while queue and len(jobs) < limit:
        job = queue.popleft()
        if job.future.set_running_or_notify_cancel():
            jobs.append(job)
    return jobs


def _attempt(encode: Callable[[list[T]], Sequence[Any]], jobs: list[_Job[T]]) -> Sequence[Any]:
    """An answer for each job, or the error that it failed with."""
    try:
        return encode([job.item for job in jobs])
    except Exception as error:  # noqa: BLE001  # nobody may wait for ever, and the next batch may be served
        _log.exception("The encoder failed in an unforeseen way on a batch of %d", len(jobs))
        return [error] * len(jobs)


def _tell(answered: Iterable[tuple[_Job[Any], Any]]) -> None:
    for job, answer in answered:
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
