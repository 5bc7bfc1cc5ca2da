"""Progress: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from indexer.cli.bar import LINE_EVERY_S, Bar
from indexer.types import Progress


def at(n_done: int, rate_per_s: float = 0.0, eta_s: float | None = None) -> Progress:
    return Progress("index", True, n_done, 2000, rate_per_s, eta_s)


def test_without_a_terminal_a_line_comes_now_and_then() -> None:
    now_s = 0.0
    stream = io.StringIO()
    with Bar("indexing", Console(file=stream), clock=lambda: now_s) as bar:
        for step in range(25):
            now_s = step * LINE_EVERY_S / 10
            bar.show(at(step, 7.0, 12.0))
    assert stream.getvalue() == ("indexing: 10 of 2,000 (7/s, 12 s left)\nindexing: 20 of 2,000 (7/s, 12 s left)\n")


def test_a_short_task_writes_nothing_without_a_terminal() -> None:
    stream = io.StringIO()
    with Bar("indexing", Console(file=stream), clock=lambda: 0.0) as bar:
        bar.show(at(2000))
    assert stream.getvalue() == ""


def test_on_a_terminal_it_shows_where_the_task_stands_and_leaves_nothing_behind() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with Bar("indexing", console) as bar:
        bar.show(at(1500, 7.0))
    shown = stream.getvalue()
    assert "1500/2000" in shown
    assert "7/s" in shown
    assert shown.endswith("\x1b[2K")  # the line is cleared
