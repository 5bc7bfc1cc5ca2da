"""Dirty paths wait here until the file system has left them alone."""

from __future__ import annotations

import enum
import heapq
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indexer.types import FilePath, Settled, Stamp, display_path
from indexer.watch.accept import Exclude
from indexer.watch.looking import Look, Lstat
from indexer.watch.writers import has_writer as somebody_writes

logger = logging.getLogger(__name__)

# Paths looked at between two hand-outs, some milliseconds of lstat: a backlog does not hide a deletion for long.
N_LOOK = 1_024
# A file that is open for writing is looked at again at least this often; its close event comes sooner. Seconds.
WRITER_WAIT_MAX_S = 2.0
# A vanished path rests this much longer than a file: the other half of a rename, which is a file, then comes first.
GONE_FACTOR = 1.1


class _Place(enum.Enum):
    FRESH = enum.auto()  # to be looked at
    WAITING = enum.auto()  # looked at, not at rest yet
    READY = enum.auto()  # was at rest when last looked at; looked at again before it is handed out
    LOOKING = enum.auto()  # a taker has it


class _Lane(enum.IntEnum):
    """Ready paths go out in this order: what costs no encoding before what does, changes before what a scan found."""

    CHEAP = 0  # gone, or renamed or touched: written before, changed only now
    WRITTEN = 1
    FOUND = 2  # long at rest when first looked at


@dataclass(slots=True)
class _Dirty:
    """A dirty path. Times are of the monotonic clock, seconds."""

    path: FilePath
    added_s: float
    hinted_s: float  # last add
    place: _Place = _Place.FRESH
    turn: int = 0  # rises whenever it is put somewhere: what stands elsewhere under an older number is void
    again: bool = False  # hinted while a taker had it
    lane: _Lane | None = None
    stamp: Stamp | None = None
    since_s: float = 0.0  # when this stamp was first seen
    writer_wait_s: float = 0.0  # 0 unless it waits for a writer only


class SettleQueue:
    """Implements `indexer.ports.Settle`.

    A file is at rest when its stamp has not changed for `settle_s` (the file system's own times say so, or two looks so
    far apart do, since clocks differ and times can be set) and nobody has it open for writing. Events only make a path
    dirty; they prove nothing, so a storm of them about an unchanged file delays neither it nor anything else. A file
    that keeps changing is never handed out and costs one look per `settle_s`. A path with no file there is at rest when
    `settle_s` have passed since it was last heard of.

    Args:
        settle_s: Quiet time, seconds.
        exclude: What is left out is handed out as gone.
        on_overflow: Called by a taker when paths were dropped because `n_max` were dirty, and there is room again: a
            rescan brings them back.
        n_max: Dirty paths to hold; about 400 bytes each.
        monotonic, wall_ns, lstat, has_writer: The world, exchangeable for tests.
    """

    def __init__(
        self,
        settle_s: float,
        *,
        exclude: Exclude | None = None,
        on_overflow: Callable[[], None] = lambda: None,
        n_max: int = 200_000,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
        lstat: Lstat = os.lstat,
        has_writer: Callable[[FilePath], bool] = somebody_writes,
    ) -> None:
        self._settle_s = settle_s
        self._exclude = exclude or Exclude((), ())
        self._on_overflow = on_overflow
        self._n_max = n_max
        self._monotonic = monotonic
        self._wall_ns = wall_ns
        self._lstat = lstat
        self._has_writer = has_writer
        self._changed = threading.Condition(threading.Lock())
        self._closed = False
        self._overflowed = False
        self._dirty: dict[FilePath, _Dirty] = {}
        self._looking: dict[FilePath, _Dirty] = {}
        self._in_flight: dict[FilePath, bool] = {}  # -> added again
        self._fresh: deque[tuple[_Dirty, int]] = deque()
        self._waiting: list[tuple[float, int, _Dirty, int]] = []  # heap of (due_s, n, path, turn)
        self._ready: tuple[deque[tuple[_Dirty, int]], ...] = tuple(deque() for _ in _Lane)
        self._number = itertools.count()

    # ------------------------------------------------------------ hints

    def add(self, path: FilePath) -> None:
        with self._changed:
            if path.endswith(b"/"):
                self._hint_below(path)
            elif path in self._in_flight:
                self._in_flight[path] = True
            elif path in self._dirty:
                self._hint(self._dirty[path])
            elif len(self._dirty) < self._n_max:
                self._begin(path)
            else:
                self._overflowed = True

    def done(self, path: FilePath) -> None:
        with self._changed:
            if self._in_flight.pop(path, False):
                self._begin(path)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # ------------------------------------------------------------ for people

    def __len__(self) -> int:
        with self._changed:
            return len(self._dirty) + len(self._in_flight)

    @property
    def oldest_s(self) -> float:
        with self._changed:
            oldest = next(iter(self._dirty.values()), None)
            return self._monotonic() - oldest.added_s if oldest else 0.0

    def state(self, path: FilePath) -> str | None:
        with self._changed:
            dirty = self._dirty.get(path)
            if dirty is None:
                return "in flight" if path in self._in_flight else None
            if dirty.place is _Place.READY:
                return "queued"
            return "open for writing" if dirty.writer_wait_s else "settling"

    def age_s(self, path: FilePath) -> float | None:
        with self._changed:
            dirty = self._dirty.get(path)
            return None if dirty is None else self._monotonic() - dirty.added_s

    # ------------------------------------------------------------ taking

    def take(self, limit: int, timeout_s: float) -> list[Settled]:
        deadline_s = self._monotonic() + timeout_s
        while True:
            fresh, ready, room_again = self._gather(limit, deadline_s)
            if room_again:
                self._on_overflow()
            elif not fresh and not ready:
                return []
            settled = self._look(fresh, ready)
            if settled:
                return settled

    def _gather(self, limit: int, deadline_s: float) -> tuple[list[_Dirty], list[_Dirty], bool]:
        """Wait for something to look at: fresh paths, ready ones, and whether dropped ones can be had again."""
        with self._changed:
            while True:
                if self._closed:
                    return [], [], False
                now_s = self._monotonic()
                self._wake(now_s)
                fresh = self._draw(self._fresh, N_LOOK)
                ready: list[_Dirty] = []
                for lane in self._ready:
                    ready += self._draw(lane, limit - len(ready))
                room_again = self._overflowed and len(self._dirty) <= self._n_max // 2
                if room_again:
                    self._overflowed = False
                if fresh or ready or room_again or now_s >= deadline_s:
                    return fresh, ready, room_again
                due_s = self._waiting[0][0] if self._waiting else deadline_s
                self._changed.wait(max(0.0, min(due_s, deadline_s) - now_s))

    def _wake(self, now_s: float) -> None:
        """Waiting paths whose time has come are ready for their turn."""
        waiting = self._waiting
        for _ in range(N_LOOK):  # bounded: the lock keeps event handlers out
            if not waiting or waiting[0][0] > now_s:
                return
            _, _, dirty, turn = heapq.heappop(waiting)
            if dirty.turn == turn:
                self._make_ready(dirty)

    def _draw(self, line: deque[tuple[_Dirty, int]], limit: int) -> list[_Dirty]:
        drawn: list[_Dirty] = []
        while line and len(drawn) < limit:
            dirty, turn = line.popleft()
            if dirty.turn == turn:
                dirty.place = _Place.LOOKING
                self._looking[dirty.path] = dirty
                drawn.append(dirty)
        return drawn

    def _look(self, fresh: Sequence[_Dirty], ready: Sequence[_Dirty]) -> list[Settled]:
        """Look at paths outside of the lock, then put each where it belongs."""
        look = Look(self._exclude, self._lstat)
        rests = [(dirty, self._rest_in_s(dirty, look)) for dirty in fresh]
        handed: dict[FilePath, Settled] = {}
        for dirty in ready:
            rest_s = self._rest_in_s(dirty, look)
            if rest_s is not None and rest_s <= 0:
                rest_s = self._writer_wait_s(dirty)
                if rest_s == 0:
                    handed[dirty.path] = Settled(dirty.path, dirty.stamp)
            rests.append((dirty, rest_s))
        with self._changed:
            for dirty, rest_s in rests:
                self._put(dirty, rest_s, dirty.path in handed)
            if self._dirty:
                self._changed.notify()  # another taker's wait may now be too long
        return sorted(handed.values(), key=lambda settled: settled.stamp is None)

    def _rest_in_s(self, dirty: _Dirty, look: Look) -> float | None:
        """Seconds until this path can be at rest, judged by a look at it now; None when nothing can be known of it."""
        try:
            stamp = look.stamp(dirty.path)
        except OSError as e:
            logger.warning("%s: %s; the next scan looks at it again", display_path(dirty.path), e.strerror)
            return None
        now_s = self._monotonic()
        first = dirty.lane is None
        if first or stamp != dirty.stamp:
            dirty.stamp, dirty.since_s, dirty.writer_wait_s = stamp, now_s, 0.0
        if stamp is None:
            dirty.lane = _Lane.CHEAP
            return max(dirty.since_s, dirty.hinted_s) + self._settle_s * GONE_FACTOR - now_s
        wall_ns = self._wall_ns()
        age_s = (wall_ns - max(stamp.mtime_ns, stamp.ctime_ns)) / 1e9
        if first:
            written = (wall_ns - stamp.mtime_ns) / 1e9 < self._settle_s
            dirty.lane = _Lane.FOUND if age_s >= self._settle_s else _Lane.WRITTEN if written else _Lane.CHEAP
        return self._settle_s - max(age_s, now_s - dirty.since_s)

    def _writer_wait_s(self, dirty: _Dirty) -> float:
        """How long to leave a path at rest to its writer; 0 if there is none."""
        if dirty.stamp is None or not self._has_writer(dirty.path):
            return 0.0
        dirty.writer_wait_s = min(WRITER_WAIT_MAX_S, 2 * dirty.writer_wait_s or self._settle_s)
        return dirty.writer_wait_s

    # ------------------------------------------------------------ places (the lock is held)

    def _begin(self, path: FilePath) -> None:
        now_s = self._monotonic()
        dirty = self._dirty[path] = _Dirty(path, now_s, now_s)
        self._make_fresh(dirty)

    def _hint(self, dirty: _Dirty) -> None:
        dirty.hinted_s = self._monotonic()
        if dirty.place is _Place.LOOKING:
            dirty.again = True
        elif dirty.place is _Place.READY or dirty.writer_wait_s:  # it may have gone; the writer may have closed it
            self._make_fresh(dirty)

    def _hint_below(self, folder: FilePath) -> None:
        """What is with a taker or in flight may be from before the change; all else is looked at before it goes out."""
        for path in self._in_flight:
            if path.startswith(folder):
                self._in_flight[path] = True
        for path, dirty in self._looking.items():
            if path.startswith(folder):
                dirty.again = True

    def _make_fresh(self, dirty: _Dirty) -> None:
        dirty.place, dirty.again = _Place.FRESH, False
        dirty.turn += 1
        self._fresh.append((dirty, dirty.turn))
        self._changed.notify()

    def _make_ready(self, dirty: _Dirty) -> None:
        dirty.place = _Place.READY
        dirty.turn += 1
        self._ready[dirty.lane or _Lane.CHEAP].append((dirty, dirty.turn))

    def _put(self, dirty: _Dirty, rest_s: float | None, handed_out: bool) -> None:
        """Where a path goes after a look."""
        del self._looking[dirty.path]
        if handed_out:
            del self._dirty[dirty.path]
            self._in_flight[dirty.path] = dirty.again
        elif dirty.again:
            self._make_fresh(dirty)
        elif rest_s is None:
            del self._dirty[dirty.path]
        elif rest_s > 0:
            dirty.place = _Place.WAITING
            dirty.turn += 1
            heapq.heappush(self._waiting, (self._monotonic() + rest_s, next(self._number), dirty, dirty.turn))
        else:
            self._make_ready(dirty)
