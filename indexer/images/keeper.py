"""One child's keeper: a thread that hands it pictures, waits no longer than allowed, and replaces it when it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Final

from indexer.errors import CapacityError, Stopped
from indexer.images.jobs import Job, JobQueue
from indexer.images.nursery import Child, Nursery
from indexer.images.wire import MESSAGE_BYTES, N_SLOTS, Reply, Request
from indexer.types import Decoded, ImageInfo, Reason

logger = logging.getLogger(__name__)

# A second picture is handed over while the first is in work only if both are small: there the pause between two would
# show, and an urgent picture does not wait long behind them.
_AHEAD_BYTES: Final = 512 << 10


class Keeper(threading.Thread):
    """Serves `jobs` with one child at a time until the queue is closed.

    Args:
        name: Of the thread.
        jobs: Where pictures come from.
        nursery: Where children come from.
        side_px: Side of the pixels that a child answers with.
        timeout_s: Time a child has for one picture.
    """

    def __init__(self, name: str, jobs: JobQueue, nursery: Nursery, side_px: int, timeout_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self._jobs = jobs
        self._nursery = nursery
        self._side_px = side_px
        self._timeout_s = timeout_s
        self._child: Child | None = None
        self._waiting: deque[Job] = deque()
        self._sent: deque[tuple[Job, int]] = deque()
        """Jobs with the child, and their slots; the first is the one in work."""
        self._since = 0.0
        """When the first of `_sent` came to be in work."""

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child else None

    def run(self) -> None:
        try:
            self._child = self._nursery.fork()
        except Stopped:
            return
        except CapacityError as e:
            logger.warning("no decode worker at the start: %s", e)
        while not self._jobs.closed:
            try:
                self._take()
                if self._waiting or self._sent:
                    self._hand_over()
                if self._sent:
                    self._listen()
            except Stopped:
                break
            except CapacityError as e:
                self._fail_all(e)
            except Exception as e:  # a worker's loop: whoever waits must hear of it
                logger.exception("decode worker failed")
                self._fail_all(e)
        self._fail_all(Stopped("the decoder was closed"))

    def _take(self) -> None:
        if not self._waiting and not self._sent and (job := self._jobs.take()):
            self._waiting.append(job)

    def _hand_over(self) -> None:
        """Give the child what it may hold: the picture in work and, if both are small, the next."""
        if self._child is None:
            self._child = self._nursery.fork()
        while len(self._sent) < N_SLOTS:
            if not self._waiting:
                room = _AHEAD_BYTES - sum(len(job.data) for job, _ in self._sent)
                job = self._jobs.take_more(room)
                if job is None:
                    return
                self._waiting.append(job)
            if not self._send(self._child, self._waiting[0]):
                return
            self._waiting.popleft()

    def _send(self, child: Child, job: Job) -> bool:
        slot = 1 - self._sent[0][1] if self._sent else 0
        n_bytes = child.slots[slot].put(job.data)
        try:
            child.jobs.send(Request(slot, n_bytes, job.side_px).pack())
        except OSError:
            # It is dead. With a picture in work `_listen` will see that; an idle one was killed from outside.
            if not self._sent:
                self._drop()
            return False
        if not self._sent:
            self._since = time.monotonic()
        self._sent.append((job, slot))
        return True

    def _listen(self) -> None:
        """Wait for the picture in work: its result, its refusal, or the child's end."""
        child = self._child
        if child is None:
            raise RuntimeError("a picture is with no child")
        try:
            message = self._receive(child)
        except TimeoutError:
            self._blame(child, Reason.DECODER_TIMEOUT, f"not decoded within {self._timeout_s:g} s", certain=True)
            return
        job, slot = self._sent[0]
        try:
            reply = Reply.unpack(message)
            result = self._result(child, job, slot, reply)
        except (ValueError, TypeError, RecursionError):
            self._blame(child, Reason.DECODER_CRASHED, "its decoder ended", certain=False)
            return
        if reply.reason is Reason.DECODER_MEMORY:
            self._blame(child, reply.reason, reply.detail, certain=False)
            return
        self._sent.popleft()
        self._since = time.monotonic()
        child.n_served += 1
        if reply.reason is None:
            job.future.set_result(result)
        else:
            job.refuse(reply.reason, reply.detail)
        if reply.retiring:
            self._drop()

    def _receive(self, child: Child) -> bytes:
        """The next message, empty at the child's end."""
        child.jobs.settimeout(max(self._since + self._timeout_s - time.monotonic(), 0.001))
        for _ in range(2):
            try:
                return child.jobs.recv(MESSAGE_BYTES)
            except ConnectionResetError:
                # It went with a request unread. The kernel reports that before a reply sent earlier.
                continue
        return b""

    def _result(self, child: Child, job: Job, slot: int, reply: Reply) -> Decoded | bytes | None:
        """What lies in the slot; raises `ValueError` when it is not what was asked for."""
        if reply.slot != slot:
            raise ValueError("an answer to nothing")
        if reply.reason is not None:
            return None
        if job.side_px is not None:
            if reply.n_bytes > 3 * job.side_px**2 + 65_536:
                raise ValueError("too long for a thumbnail")
            return child.slots[slot].take(reply.n_bytes)
        if reply.n_bytes != 3 * self._side_px**2:
            raise ValueError("not the pixels asked for")
        pixels = child.slots[slot].take_pixels(self._side_px)
        return Decoded(pixels, ImageInfo(reply.format, reply.width_px, reply.height_px, len(job.data)))

    def _blame(self, child: Child, reason: Reason, detail: str, *, certain: bool) -> None:
        """The child is lost over the picture in work: refuse it, or give it one more try on a fresh child."""
        job, _ = self._sent.popleft()
        ending = self._drop()
        if self._jobs.closed:
            self._waiting.appendleft(job)
        elif certain or job.retried or (child.n_served == 0 and ending):
            logger.warning("picture refused, its decoder was lost: %s: %s (%s)", reason, detail, ending)
            job.refuse(reason, f"{detail} ({ending})" if reason is Reason.DECODER_CRASHED else detail)
        else:
            job.retried = True
            self._waiting.appendleft(job)

    def _drop(self) -> str | None:
        """End the child; what it still had waits for the next one. Says how it ended, if that is known."""
        self._waiting.extendleft(job for job, _ in reversed(self._sent))
        self._sent.clear()
        child, self._child = self._child, None
        return self._nursery.end(child) if child else None

    def _fail_all(self, error: Exception) -> None:
        self._drop()
        for job in self._waiting:
            job.future.set_exception(error)
        self._waiting.clear()
