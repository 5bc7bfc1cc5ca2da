"""Running the command line inside the test's process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from indexer.cli.commands import cli
from indexer.cli.logs import OURS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind: its exit code, and both streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `indexer ARGUMENTS` in an empty folder, without the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("INDEXER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("indexer.proc.keep_for_good", lambda: None)  # what a test's process holds is not
    loggers = [logging.getLogger(name) for name in (None, *OURS, "indexer.cli.signals")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]

    def invoke(*arguments: str | Path, stdin: bytes = b"") -> Outcome:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="indexer", input=stdin)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    yield invoke
    logging.captureWarnings(False)
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers
