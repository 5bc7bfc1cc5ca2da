"""Logging of one run, on stderr."""

from __future__ import annotations

import logging
from typing import Final

from rich.console import Console
from rich.text import Text

LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
OURS: Final = ("indexer", "search_api")


class Stderr(Console):
    """The console behind stderr; its reader may go away without ending the program."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        """Say no more. Rich would raise `SystemExit`, in whatever thread has something to log."""
        self.quiet = True


def start_logging(level: str, verbosity: int) -> Console:
    """Log to stderr, at `level` shifted by `verbosity`; returns the console, for progress bars to share.

    Other libraries are heard from WARNING on, with -vv from one level above ours. Replaces what an earlier call set up.
    """
    chosen = LEVELS.index(logging.getLevelNamesMapping()[level.upper()]) - verbosity
    ours = LEVELS[min(max(chosen, 0), len(LEVELS) - 1)]
    console = Stderr()
    handler = ConsoleHandler(console)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbosity >= 2 else max(logging.WARNING, ours))
    for name in OURS:
        logging.getLogger(name).setLevel(ours)
    logging.captureWarnings(True)
    return console


class ConsoleHandler(logging.Handler):
    """Writes records through a rich console, so that a progress bar on it stays below them."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if record.levelno >= logging.WARNING:
                time, _, rest = text.partition(" ")
                text = f"{time} {record.levelname.lower()}: {rest}"
            style = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}.get(record.levelno, "")
            self._console.print(Text(text, style=style), soft_wrap=True)
        except Exception:  # noqa: BLE001  a log line must never end the work that it tells of
            self.handleError(record)
