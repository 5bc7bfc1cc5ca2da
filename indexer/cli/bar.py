"""A progress bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

if TYPE_CHECKING:
    from indexer.types import Progress
    from search_api.schemas import ProgressAnswer

LINE_EVERY_S: Final = 5.0
"""Often enough to see that it moves, seldom enough for a log file."""


class Bar:
    """Shows how a long task stands, on stderr. Gone when it ends: the closing line is the caller's."""

    def __init__(self, title: str, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._console = console
        self._clock = clock
        self._next_line_s = clock() + LINE_EVERY_S
        self._rich = (
            RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )
            if console.is_terminal
            else None
        )
        self._task = self._rich.add_task(title, total=None, rate="") if self._rich else None

    def __enter__(self) -> Bar:
        if self._rich:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich:
            self._rich.stop()

    def show(self, progress: Progress | ProgressAnswer) -> None:
        """Any thread may call it, as often as it likes."""
        rate = f"{progress.rate_per_s:,.0f}/s" if progress.rate_per_s > 0 else ""
        if self._rich and self._task is not None:
            self._rich.update(self._task, completed=progress.n_done, total=progress.n_total or None, rate=rate)
            return
        now_s = self._clock()
        if now_s < self._next_line_s:
            return
        self._next_line_s = now_s + LINE_EVERY_S
        left = f", {progress.eta_s:,.0f} s left" if progress.eta_s is not None else ""
        pace = f" ({rate}{left})" if rate else ""
        self._console.print(
            f"{self._title}: {progress.n_done:,} of {progress.n_total:,}{pace}", markup=False, highlight=False
        )
