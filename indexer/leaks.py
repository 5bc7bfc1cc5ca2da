"""Memory that grows with the work done and does not come back: found by a statistic that a busy service does not fool.

A process's memory is no clean signal. It grows while it warms up, steps when a larger picture comes than ever before,
climbs and falls in sawteeth as caches fill and are dropped, and creeps as the allocator's free pieces lie worse and
worse. A regression line through all of that has a slope, and a small error, and means nothing: its errors are not
independent, and a random walk has significant trends. So here:

- Growth is measured against work (requests, and pictures encoded), not time: a quiet night is no evidence. What grows
  in the quiet is looked for on an axis of its own: the seconds in which nothing was done, and what came in them alone.
- The work is cut into windows of equal size, and of each the least memory counts (the lower envelope): what a request
  takes for a moment is gone, and so is every tooth shorter than a window. Windows of 11 to 1,991 are watched at the
  same time, so that a fast leak is found soon and a slow one at all.
- What is tested are the increments from window to window. A leak adds to each; without one they are as often down as
  up, however the level wanders. Of 15 increments 14 must be up: by the sign test 5 in 10,000 under the null, for any
  distribution. (The usual trend tests, such as Mann and Kendall's, assume independent levels.)
- Steps: of the two largest increments, what is out of proportion is left out, and the rest must still come to
  `FLOOR_BYTES`. If there are more steps than that, most windows see next to none, and those of a quarter of the size
  surely: the median increments of both must make a good part of it.
- Warm-up and creeping grow slower and slower: without the steps, the last third must have brought nearly what the first
  third has. Sawteeth come down again: only what rises above all that was held before counts.
- The rate is Theil and Sen's (the median of all pairwise slopes, steps taken out), and the lower end of its 99.9 %
  interval must be above zero. Source: Sen, "Estimates of the regression coefficient based on Kendall's tau", 1968.

What is left after all this is a suspect. Memory that some allocator merely keeps comes back when it is asked to give it
back; whoever can, asks, and acquits the suspect or confirms it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Final, NamedTuple

from indexer.types import Leak

WARM_UP: Final = 8
"""Work after which memory is looked at: first calls set up pools, threads and plans."""

SCALES: Final = tuple(round(11 * 2 ** (i / 2)) for i in range(16))
"""Work in a window."""

N_WINDOWS: Final = 16
N_UP: Final = 14
N_STEPS: Final = 2
STEP: Final = 3.0
"""Of the two largest increments those are steps that are so many times as large as the usual one."""

N_KEPT: Final = 64

FLOOR_BYTES: Final = 130_000_000
"""Warming up, caches and larger pictures may bring as much: growth below this, over all windows, is no matter."""

IDLE_FLOOR_BYTES: Final = 32_000_000
"""The same where nothing is done, and next to nothing should come: 16 windows of half an hour show 4 MB an hour."""

QUIET_S: Final = 10.0
"""What work has left behind goes within this."""

STEADY: Final = 0.8
"""How much of the growth of the first third that of the last must be."""

SPREAD: Final = 0.25
"""How much of the growth the usual increment must make, and of the rate windows of a quarter of the size must see."""

_FINER: Final = 4
"""Places in `SCALES` from a size to a quarter of it."""

_TAKEN: Final = 25
"""The lower end of the 99.9 % interval of 120 pairwise slopes among 16 points is the 26th: 3.09 deviations of S."""


class Window(NamedTuple):
    """The least memory over some work: where it lies on the axis of work, when it began, and how much it was."""

    work: float
    at: float
    low_bytes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What a test found: bytes a unit of work, from when on, and how much in all without steps."""

    bytes_per_work: float
    bytes_per_s: float
    since: float
    n_bytes: int


def growth(windows: Sequence[Window], floor_bytes: int = FLOOR_BYTES) -> Growth | None:
    """Steady growth over the last windows; None where there is none, or it is nothing that lasts. See above."""
    if len(windows) < N_WINDOWS:
        return None
    before, last = windows[:-N_WINDOWS], windows[-N_WINDOWS:]
    rises = _rises(last)
    if sum(rise > 0 for rise in rises) < N_UP:
        return None
    usual = median(rises)
    steps = [i for i in sorted(range(len(rises)), key=rises.__getitem__)[-N_STEPS:] if rises[i] > STEP * usual]
    steady = sum(rise for i, rise in enumerate(rises) if i not in steps)
    if steady < floor_bytes or usual * len(rises) < SPREAD * steady:
        return None
    if last[-1].low_bytes - max((window.low_bytes for window in before), default=last[0].low_bytes) < steady / 2:
        return None
    levels = [float(last[0].low_bytes)]
    for i, rise in enumerate(rises):
        levels.append(levels[-1] + (usual if i in steps else rise))
    third = N_WINDOWS // 3
    if levels[-1] - levels[-1 - third] < STEADY * (levels[third] - levels[0]):
        return None
    points = [(window.work, level) for window, level in zip(last, levels, strict=True)]
    slopes = sorted((y2 - y1) / (x2 - x1) for i, (x1, y1) in enumerate(points) for x2, y2 in points[i + 1 :])
    if slopes[_TAKEN] <= 0:
        return None
    rate = median(slopes)
    seconds = max(last[-1].at - last[0].at, 1e-3)
    since = next(window.at for window, rise in zip(last, rises, strict=False) if rise >= usual / 2)
    return Growth(rate, rate * (last[-1].work - last[0].work) / seconds, since, steady)


def is_spread(found: Growth, finer: Sequence[Window]) -> bool:
    """Whether smaller windows rise too, as they do not where a few steps make all of the growth."""
    if len(finer) < N_WINDOWS:
        return True
    rise_per_work = median(_rises(finer)) / (finer[1].work - finer[0].work)
    return rise_per_work >= SPREAD * found.bytes_per_work


def _rises(windows: Sequence[Window]) -> list[int]:
    return [after.low_bytes - before.low_bytes for before, after in pairwise(windows)]


@dataclass(slots=True)
class _Scale:
    """Windows of one size."""

    size: int
    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=N_KEPT))
    open: Window | None = None

    def observe(self, work: int, at: float, n_bytes: int) -> bool:
        """Whether that closed a window."""
        middle = (work // self.size + 0.5) * self.size
        if self.open is not None and middle <= self.open.work:  # less, where threads have overtaken each other
            if n_bytes < self.open.low_bytes:
                self.open = self.open._replace(low_bytes=n_bytes)
            return False
        closed, self.open = self.open, Window(middle, at, n_bytes)
        if closed is None:
            return False
        self.windows.append(closed)
        return True


class Component:
    """One memory, watched. For one thread at a time."""

    def __init__(self, name: str, *, idle: bool = False) -> None:
        self.name = name
        self._idle = idle
        self._floor_bytes = IDLE_FLOOR_BYTES if idle else FLOOR_BYTES
        self._scales = [_Scale(size) for size in SCALES]
        self._rate = 0.0  # of the leak, bytes a unit of work
        self.suspect: Growth | None = None
        """What was found, and is not confirmed."""
        self.leak: Leak | None = None

    def observe(self, work: int, at: float, n_bytes: int) -> None:
        """It was so large when so much work was done."""
        if work < WARM_UP:
            return
        smaller: list[_Scale | None] = [*[None] * _FINER, *self._scales]
        for finer, scale in zip(smaller, self._scales, strict=False):
            if scale.observe(work, at, n_bytes):
                self._test(scale, finer)

    def confirm(self) -> Leak:
        """The suspect, which there is, is a leak."""
        found, self.suspect = self.suspect, None
        assert found is not None
        since = min(found.since, self.leak.since) if self.leak else found.since
        told = _idle_sentence(self.name, found) if self._idle else _sentence(self.name, found)
        per_request = 0.0 if self._idle else found.bytes_per_work
        self.leak = Leak(self.name, found.bytes_per_s, per_request, since, told)
        self._rate = found.bytes_per_work
        return self.leak

    def _test(self, scale: _Scale, finer: _Scale | None) -> None:
        windows = list(scale.windows)
        found = growth(windows, self._floor_bytes)
        if found is not None and (finer is None or is_spread(found, list(finer.windows))):
            self.suspect = found
            if self.leak is not None:
                self.confirm()
        elif self.leak is not None and _has_stopped(self._rate, windows, self._floor_bytes):
            self.leak = None
            self._scales = [_Scale(size) for size in SCALES]  # what was seen so far is explained


def _has_stopped(rate: float, windows: Sequence[Window], floor_bytes: int) -> bool:
    """Whether hardly anything has come in windows in which much should have."""
    last = windows[-N_WINDOWS // 2 :]
    expected = rate * (last[-1].work - last[0].work)
    return expected >= floor_bytes / 4 and last[-1].low_bytes - last[0].low_bytes < expected / 4


class Leaks:
    """Every memory that is watched, by name. Safe in any thread.

    Args:
        idle: Whether the axis is that of seconds in which nothing was done, not of work.
    """

    def __init__(self, *, idle: bool = False) -> None:
        self._idle = idle
        self._lock = threading.Lock()
        self._components: dict[str, Component] = {}

    def observe(self, work: int, at: float, sizes: Mapping[str, int]) -> bool:
        """So large were these when so much work was done; whether there is a suspect now."""
        with self._lock:
            for name, n_bytes in sizes.items():
                component = self._components.setdefault(name, Component(name, idle=self._idle))
                component.observe(work, at, n_bytes)
            return any(component.suspect for component in self._components.values())

    def suspects(self) -> dict[str, int]:
        """What grows and is not confirmed: how many bytes of each should come back if it is merely kept."""
        with self._lock:
            components = self._components.values()
            return {each.name: each.suspect.n_bytes for each in components if each.suspect is not None}

    def judge(self, came_back: Mapping[str, int]) -> list[Leak]:
        """Acquit the suspects of which half came back, and confirm the others; the leaks that were not known before."""
        new = []
        with self._lock:
            for name, n_bytes in came_back.items():
                component = self._components[name]
                if component.suspect is None:
                    continue
                if n_bytes >= component.suspect.n_bytes / 2:
                    self._components[name] = Component(name, idle=self._idle)  # what was seen so far is no evidence
                    continue
                was_known = component.leak is not None
                leak = component.confirm()
                if not was_known:
                    new.append(leak)
        return new

    def now(self) -> tuple[Leak, ...]:
        """The leaks that go on."""
        with self._lock:
            return tuple(each.leak for each in self._components.values() if each.leak is not None)


def _sentence(name: str, found: Growth) -> str:
    return (
        f"the memory of {name} grows by {_size(found.bytes_per_work)} a request, {_size(found.bytes_per_s)} a second "
        "now, and does not come back"
    )


def _idle_sentence(name: str, found: Growth) -> str:
    return (
        f"the memory of {name} grows by {_size(3600 * found.bytes_per_work)} an hour while nothing is asked of it, "
        "and does not come back"
    )


class Quiet:
    """The axis of idle time: seconds in which nothing was done, and how much each memory has gained in them alone."""

    def __init__(self) -> None:
        self._since = 0.0
        self._last: tuple[float, Mapping[str, int]] | None = None
        self._seconds = 0.0
        self._gained: dict[str, int] = {}

    def look(self, at: float, sizes: Mapping[str, int], *, busy: bool) -> tuple[int, Mapping[str, int]] | None:
        """So large are these; seconds and gains so far, or None where it is not quiet, or not for long.

        Args:
            at: Seconds since the epoch.
            sizes: Bytes by name.
            busy: Whether anything has been done since the last look.
        """
        before, self._last = self._last, (at, sizes)
        if before is None or busy:
            self._since = at
        if before is None or not before[0] >= self._since + QUIET_S or at < before[0]:
            return None
        self._seconds += at - before[0]
        for name, n_bytes in sizes.items():
            self._gained[name] = self._gained.get(name, 0) + n_bytes - before[1].get(name, n_bytes)
        return int(self._seconds), dict(self._gained)


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:,.1f} kB"
