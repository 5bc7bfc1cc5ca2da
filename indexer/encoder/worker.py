"""The thread that owns one encoder and takes from the desk what it can do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from indexer.encoder.batch_size import BatchSize
from indexer.encoder.desk import SUSPECT_AFTER, Desk
from indexer.encoder.meter import Meter
from indexer.encoder.owner import Owner
from indexer.encoder.turns import Act, Job, Turn
from indexer.errors import DeviceFailed, ImageRefused
from indexer.ports import Encoder
from indexer.types import DeviceLoad, Reason

_log = logging.getLogger(__name__)

T = TypeVar("T")


def _always(_n_bytes: int) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Slot:
    """Where an encoder may run.

    Attributes:
        build: Opens it; called in the thread that owns it, and again there when its device failed.
        device: As people and torch name it.
        has_room: Whether so many bytes of weights, and a batch beside them, fit there now.
        kind: The device as its maker calls it.
    """

    build: Callable[[], Encoder]
    device: str = ""
    has_room: Callable[[int], bool] = _always
    kind: str = ""


class Worker:
    """Opens an encoder in a thread of its own, serves the desk with it, and closes it there: the desk's `Taker`."""

    def __init__(
        self, slot: Slot, desk: Desk, batch: BatchSize, clock: Callable[[], float], *, is_wanted: bool, name: str
    ) -> None:
        self.slot = slot
        self.is_wanted = is_wanted
        self.is_silent = False
        self.batch = batch
        self.meter = Meter(clock)
        self.n_encoded = 0
        """Bulk pictures."""
        self._desk = desk
        self._clock = clock
        self._owner: Owner
        self._opened: Future[Owner] = Future()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, like: Owner | None = None) -> Owner:
        """Begin, and return when the encoder is open; where it is to be `like` another, at once.

        Raises:
            Whatever the slot's `build` does.
        """
        self._like = like
        self._thread.start()
        self._owner = self._opened.result()
        return self._owner

    def join(self) -> None:
        """Wait for its end; not for a device that does not answer."""
        if self._thread.ident is not None:
            self._over.wait()
            if not self.is_silent:
                self._thread.join()

    def look(self, after_s: float) -> None:
        """Called now and then, elsewhere: a device that has not answered for so long is counted out until it does."""
        if self._desk.relieve(self, after_s):
            _log.error("%s", self.trouble)
            self._over.set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_open(self) -> bool:
        return self._owner.is_open and not self.is_silent

    @property
    def silent_s(self) -> float:
        return self._owner.silent_s

    @property
    def is_lost(self) -> bool:
        return self._owner.is_lost

    @property
    def rests_s(self) -> float:
        return self._owner.rests_s

    @property
    def batch_size(self) -> int:
        return self.batch.now

    @property
    def pace_s(self) -> float:
        return self.batch.seconds_per_image

    @property
    def trouble(self) -> str | None:
        """Why there is no encoder, though it is wanted."""
        if not self.is_alive:
            return "the encoder's thread has ended"
        if self.is_silent:
            return (
                f"{self._owner.device} has not answered for {self.silent_s:.0f} s; if it stays so, restart the service"
            )
        return self._owner.trouble if self.is_wanted else None

    @property
    def load(self) -> DeviceLoad:
        """What it is doing now."""
        owner = self._owner
        state = "open" if self.is_open else "stopped" if not self.is_wanted else "lost" if self.trouble else "closed"
        return DeviceLoad(
            device=owner.device or self.slot.device,
            state=state,
            images_per_s=self.meter.rate_per_s,
            busy_share=self.meter.busy_share,
            batch_size=self.batch.now,
            encoded_total=self.n_encoded,
            weights_bytes=owner.weights_bytes,
            trouble=self.trouble,
        )

    # -------------------------------------------------------------- in its thread

    def _run(self) -> None:
        desk = self._desk
        try:
            owner = Owner(
                self.slot.build, self.batch, self.meter, clock=self._clock, wait=desk.closing.wait, like=self._like
            )
        except BaseException as error:  # noqa: BLE001  # whoever constructs the lane is to see it, whatever it is
            self._over.set()
            self._opened.set_exception(error)
            return
        self._owner = owner
        desk.come(self)
        self._opened.set_result(owner)
        try:
            while (turn := desk.next_turn(self)).act is not Act.END:
                self._do(owner, turn)
                del turn  # its pictures are not to be kept until there are others
                if self.is_silent:
                    _log.warning("%s answers again", owner.device)
                    self._over.clear()
        finally:
            owner.close()
            desk.gone(self)
            self._over.set()

    def _do(self, owner: Owner, turn: Turn) -> None:
        if turn.act is Act.LEAVE:
            owner.release()
            return
        if turn.act is Act.TRY:
            self._tell(turn, turn.pictures, _attempt(lambda batch: [owner.timed(batch[0])], turn.pictures), True)
        elif turn.act is Act.OPEN:
            owner.recover()
        else:
            self._encode(owner, turn)
        self._desk.worked()

    def _encode(self, owner: Owner, turn: Turn) -> None:
        if turn.texts:
            answers = _attempt(lambda items: owner.embeddings(items, may_pass_on=turn.may_pass_on), turn.texts)
            self._tell(turn, turn.texts, answers, owner.has_tried)
        if turn.pictures and not self.is_silent:  # else others have them
            answers = _attempt(lambda items: owner.features(items, may_pass_on=turn.may_pass_on), turn.pictures)
            self._tell(turn, turn.pictures, answers, owner.has_tried)

    def _tell(self, turn: Turn, jobs: Sequence[Job[Any]], answers: Sequence[Any], tried: bool) -> None:
        """Hand the answers over, or back what the device was lost with; alone and lost again, a picture is to blame."""
        held = self._desk.let_go(self, jobs)
        answered = [(job, answer) for job, answer in zip(jobs, answers, strict=True) if job in held]
        if turn.is_bulk and tried and _is_to_blame(answered):
            error = ImageRefused(Reason.DEVICE_FAILED, "the device is lost whenever it is encoded")
            answered = [(answered[0][0], error)]
        if turn.is_bulk or turn.may_pass_on:
            lost = [job for job, answer in answered if isinstance(answer, DeviceFailed)]
            if lost:
                self._desk.put_back(self, turn, lost, tried=tried)
            answered = [(job, answer) for job, answer in answered if not isinstance(answer, DeviceFailed)]
        if turn.is_bulk:
            self.n_encoded += sum(not isinstance(answer, Exception) for _, answer in answered)
        _hand_over(answered)


def _is_to_blame(answered: Sequence[tuple[Job[Any], Any]]) -> bool:
    return len(answered) == 1 and isinstance(answered[0][1], DeviceFailed) and answered[0][0].n_lost >= SUSPECT_AFTER


def _attempt(encode: Callable[[list[T]], Sequence[Any]], jobs: Sequence[Job[T]]) -> Sequence[Any]:
    """An answer for each job, or the error that it failed with."""
    try:
        return encode([job.item for job in jobs])
    except Exception as error:  # noqa: BLE001  # nobody may wait for ever, and the next batch may be served
        _log.exception("The encoder failed in an unforeseen way on a batch of %d", len(jobs))
        return [error] * len(jobs)


def _hand_over(answered: Iterable[tuple[Job[Any], Any]]) -> None:
    for job, answer in answered:
        job.item = None  # the future, and what its callbacks hold, may live for long
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)
