"""Where work for the encoders is handed in, waits, and is taken by whichever of their threads is free."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from indexer.encoder.turns import Act, Job, Taker, Turn
from indexer.errors import DeviceFailed, ImageRefused, IndexerError, Overloaded, Stopped
from indexer.types import Pixels, Reason

MAX_RETRY_S: Final = 30.0

SUSPECT_AFTER: Final = 3
"""Losses of a device after which the pictures of a batch go one by one."""

T = TypeVar("T")


class Desk:
    """One queue for all: queries before bulk work, what waits now in one batch, no waiting for more.

    Who takes slowly takes less. What a device was lost with goes to another one first, where there is one. What one
    took whose device then falls silent is taken from it again.
    """

    def __init__(self, *, max_bulk: int, max_urgent: int, idle_release_s: float, clock: Callable[[], float]) -> None:
        self._max_bulk = max_bulk
        self._max_urgent = max_urgent
        self._idle_release_s = idle_release_s
        self._clock = clock
        self._idle_since = clock()
        self._texts: deque[Job[Sequence[str]]] = deque()
        self._queries: deque[Job[Pixels]] = deque()
        self._bulk: deque[Job[Pixels]] = deque()
        self._trials: deque[Job[Pixels]] = deque()  # whole batches
        self._first: Taker | None = None
        self._takers: set[Taker] = set()
        self._turns: dict[Taker, Turn] = {}
        self._open: set[Taker] = set()
        self._free: set[Taker] = set()
        self.n_rejected = 0
        """Queries refused because too many waited."""
        self.closing = threading.Event()
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._room = threading.Condition(lock)

    # -------------------------------------------------------------- at the door

    def add_texts(self, texts: Sequence[str]) -> Future[Any]:
        """Queue a list of texts, urgently. Raises `Overloaded`, `DeviceFailed` while no device answers, `Stopped`."""
        job: Job[Sequence[str]] = Job(tuple(texts), len(texts), self._clock())
        return self._add_urgent(job, self._texts)

    def add_query(self, pixels: Pixels) -> Future[Any]:
        """Queue a picture that somebody asks about. Raises as `add_texts`."""
        return self._add_urgent(Job(pixels, 1, self._clock()), self._queries)

    def add_bulk(self, pixels: Pixels) -> Future[Any]:
        """Queue a picture, once there is room. Raises `Stopped`."""
        with self._work:
            self._room.wait_for(lambda: self.closing.is_set() or len(self._bulk) < self._max_bulk)
            return self._enter(Job(pixels, 1, self._clock()), self._bulk)

    def add_trial(self, pixels: Pixels) -> Future[Any]:
        """Queue a batch to be timed by the first taker, between queries and bulk work. Raises as `add_texts`."""
        with self._work:
            if self._first is not None and self._first.is_silent:
                raise _no_answer()
            return self._enter(Job(pixels, 0, self._clock()), self._trials)

    @property
    def depth(self) -> int:
        """Pictures and texts that wait."""
        with self._work:
            return self._n_urgent() + len(self._bulk)

    @property
    def oldest_s(self) -> float:
        """For how long the first of them has waited."""
        with self._work:
            now = self._clock()
            heads = [queue[0].came_at for queue in (self._texts, self._queries, self._bulk) if queue]
            return now - min(heads, default=now)

    def close(self) -> None:
        """Queries are still answered; bulk pictures get `Stopped`, and so does whoever waits to submit."""
        with self._work:
            self.closing.set()
            waiting = [job for queue in (self._trials, self._bulk) for job in queue if job.start()]
            self._trials.clear()
            self._bulk.clear()
            self._work.notify_all()
            self._room.notify_all()
        for job in waiting:
            job.future.set_exception(_ending())

    def ring(self) -> None:
        """Somebody is wanted, or no more: all look again."""
        with self._work:
            self._work.notify_all()

    def _add_urgent(self, job: Job[T], queue: deque[Job[T]]) -> Future[Any]:
        with self._work:
            if self._takers and not self._able() and not self.closing.is_set():
                raise _no_answer()
            waiting = self._n_urgent()
            if not self.closing.is_set() and waiting and waiting + job.n > self._max_urgent:
                self.n_rejected += 1
                # Each of the open ones takes its share; a device's own pace is known after its first batch.
                pace = sum(1 / taker.pace_s for taker in self._open if taker.pace_s)
                retry_s = min(max(waiting / pace if pace else 0.0, 1.0), MAX_RETRY_S)
                raise Overloaded(f"{waiting} queries wait for the encoder already", retry_s)
            return self._enter(job, queue)

    def _enter(self, job: Job[T], queue: deque[Job[T]]) -> Future[Any]:
        if self.closing.is_set():
            raise Stopped("the encoder is closed")
        queue.append(job)
        job.future.add_done_callback(lambda future: self._leave(job, queue) if future.cancelled() else None)
        self._work.notify_all()  # whoever is woken may have to leave it to another
        return job.future

    def _leave(self, job: Job[T], queue: deque[Job[T]]) -> None:
        """Nobody wants it any more: its place is free for another."""
        with self._work:
            if job in queue:
                queue.remove(job)
                job.start()  # tells those who wait for several at once
                self._room.notify_all()

    def _n_urgent(self) -> int:
        return sum(job.n for job in self._texts) + len(self._queries)

    # -------------------------------------------------------------- to the takers

    def next_turn(self, me: Taker) -> Turn:
        """What there is to do for the one who asks, as soon as there is something."""
        with self._work:
            me.is_silent = False
            self._turns.pop(me, None)
            self._note(me)
            while (turn := self._turn(me)) is None:
                self._free.add(me)
                self._work.wait(self._patience_s(me))
                self._free.discard(me)
            self._turns[me] = turn
            if turn.act is Act.ENCODE and (self._texts or self._queries or self._bulk):
                self._work.notify_all()  # there is more than one could take
            return turn

    def worked(self) -> None:
        """Somebody has just had something to do."""
        self._idle_since = self._clock()

    def let_go(self, me: Taker, jobs: Iterable[Job[Any]]) -> set[Job[Any]]:
        """Those of the jobs that one has not been relieved of; from now on they are nobody's."""
        with self._work:
            return self._let_go(me, jobs)

    def put_back(self, me: Taker, turn: Turn, jobs: Iterable[Job[Any]], *, tried: bool) -> None:
        """What one's device was lost with waits again, before all else of its kind."""
        with self._work:
            self._note(me)
            self._put_back(me, turn, jobs, tried=tried)
            self._work.notify_all()

    def relieve(self, me: Taker, after_s: float) -> bool:
        """If one's device has not answered for so long, have others do what it was given; whether that is new.

        Where there are no others, queries are told, and so is who asks one until the device answers after all.
        """
        with self._work:
            if me.is_silent or me.silent_s < after_s or me not in self._turns:
                return False
            me.is_silent = True
            self._note(me)
            turn = self._turns[me]
            held = self._let_go(me, (*turn.texts, *turn.pictures))
            told = self._told(turn, held)
            self._put_back(me, turn, [job for job in (*turn.texts, *turn.pictures) if job in held - told.keys()])
            told |= dict.fromkeys(self._stranded(), _no_answer())
            self._work.notify_all()
        for job, error in told.items():
            job.future.set_exception(error)
        return True

    def come(self, me: Taker) -> None:
        """One takes from now on."""
        with self._work:
            self._takers.add(me)
            self._first = self._first or me

    def gone(self, me: Taker) -> None:
        """One takes no more. If that was the last, whoever still waits, because it ended by accident, is told."""
        with self._work:
            for group in (self._takers, self._open, self._free):
                group.discard(me)
            if not self._takers:
                self.closing.set()
            turn = self._turns.pop(me, Turn(Act.END))
            left = [*self._let_go(me, (*turn.texts, *turn.pictures)), *self._stranded()]
            self._work.notify_all()
            self._room.notify_all()
        for job in left:
            job.future.set_exception(Stopped("the encoder's thread has ended"))

    def _note(self, me: Taker) -> None:
        """Others go by whether one's encoder is open."""
        if (me in self._open) != (me.is_open and me.is_wanted):
            self._open ^= {me}
            self._work.notify_all()

    def _able(self) -> bool:
        """Whether there is anybody to take what waits, sooner or later."""
        return any(taker.is_wanted and not taker.is_silent for taker in self._takers)

    def _let_go(self, me: Taker, jobs: Iterable[Job[Any]]) -> set[Job[Any]]:
        held = {job for job in jobs if job.holder is me}
        for job in held:
            job.holder = None
        return held

    def _told(self, turn: Turn, held: Iterable[Job[Any]]) -> dict[Job[Any], IndexerError]:
        """What nobody else can do of what a silent device held, and why; alone once more, a picture is to blame."""
        if turn.is_bulk:
            alone = [job for job in held if job.n_lost >= SUSPECT_AFTER]
            error: IndexerError = ImageRefused(Reason.DEVICE_FAILED, "no device answers when it is encoded")
            return dict.fromkeys(held, _ending()) if self.closing.is_set() else dict.fromkeys(alone, error)
        return {} if turn.act is Act.ENCODE and self._able() else dict.fromkeys(held, _no_answer())

    def _put_back(self, me: Taker, turn: Turn, jobs: Iterable[Job[Any]], *, tried: bool = True) -> None:
        for job in reversed(list(jobs)):
            if tried:
                job.n_lost += 1
                job.lost_by.add(me)
            queue: deque[Any] = self._bulk if turn.is_bulk else self._queries if job in turn.pictures else self._texts
            queue.appendleft(job)

    def _stranded(self) -> list[Job[Any]]:
        """Take out what would wait for nobody. Pictures from folders have time, until the end."""
        queues: list[deque[Any]] = []
        if not self._able():
            queues = [self._texts, self._queries, *([self._bulk] if self.closing.is_set() else [])]
        if self._first not in self._takers or self._first.is_silent:
            queues.append(self._trials)
        left = [job for queue in queues for job in queue if job.start()]
        for queue in queues:
            queue.clear()
        return left

    def _turn(self, me: Taker) -> Turn | None:
        urgent = bool(self._texts or self._queries)
        others = self._open - {me}
        if self.closing.is_set() and (not (me.is_wanted and urgent) or (others and not me.is_open)):
            return Turn(Act.END)
        if not me.is_wanted:
            return Turn(Act.LEAVE) if me.is_open else None
        if me.is_lost and not me.rests_s:
            return Turn(Act.OPEN)
        if me.is_open or not (others if me.is_lost else others & self._free):
            turn = self._urgent_turn(me, others) if urgent else None
            if turn is None and me is self._first and (trial := _taken(self._trials, 1, me, set())):
                turn = Turn(Act.TRY, pictures=trial)
            if turn is None and not me.is_lost:
                turn = self._bulk_turn(me, others)
            if turn is not None:
                return turn
        idle_s = self._until_idle_s(me)
        return Turn(Act.LEAVE) if idle_s is not None and idle_s <= 0 else None

    def _urgent_turn(self, me: Taker, others: set[Taker]) -> Turn | None:
        """All waiting texts and a batch of query pictures."""
        limit = me.batch_size
        texts = _taken(self._texts, len(self._texts), me, others)
        return _turn_of(texts, _taken(self._queries, limit, me, others), others, is_bulk=False)

    def _bulk_turn(self, me: Taker, others: set[Taker]) -> Turn | None:
        pictures = _taken(self._bulk, me.batch_size, me, others)
        self._room.notify_all()
        return _turn_of([], pictures, others, is_bulk=True)

    def _patience_s(self, me: Taker) -> float | None:
        """How long to wait at most; None for as long as nothing happens."""
        return me.rests_s if me.is_lost and me.is_wanted else self._until_idle_s(me)

    def _until_idle_s(self, me: Taker) -> float | None:
        """Seconds until an encoder is to be closed; None where it is not open, or never to be."""
        if not (self._idle_release_s and me.is_open):
            return None
        return self._idle_since + self._idle_release_s - self._clock()


def _ending() -> Stopped:
    return Stopped("the service ends; the picture is encoded when it runs again")


def _no_answer() -> DeviceFailed:
    return DeviceFailed("the device does not answer; if it does not come back, the service must be restarted")


def _turn_of(
    texts: list[Job[Sequence[str]]], pictures: list[Job[Pixels]], others: set[Taker], *, is_bulk: bool
) -> Turn | None:
    if not texts and not pictures:
        return None
    n_lost = max(job.n_lost for jobs in (texts, pictures) for job in jobs)
    may_pass_on = bool(others) and n_lost < SUSPECT_AFTER
    return Turn(Act.ENCODE, texts, pictures, is_bulk, may_pass_on)


def _taken(queue: deque[Job[T]], limit: int, me: Taker, others: set[Taker]) -> list[Job[T]]:
    """Take up to `limit` jobs: a suspect one goes alone, and what one was lost with is left to those who were not."""
    taken: list[Job[T]] = []
    left: list[Job[T]] = []
    while queue and len(taken) < limit:
        is_suspect = queue[0].n_lost >= SUSPECT_AFTER
        if is_suspect and taken:
            break
        job = queue.popleft()
        if me in job.lost_by and others - job.lost_by:
            left.append(job)
        elif job.start():
            job.holder = me
            taken.append(job)
            if is_suspect:
                break
    queue.extendleft(reversed(left))
    return taken
