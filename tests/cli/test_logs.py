"""Logging on stderr: what is heard at which verbosity, and who may not be hurt by it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from indexer.cli.logs import start_logging
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("level", "verbosity", "heard"),
    [
        ("info", 0, ["info", "warning", "error"]),
        ("info", 1, ["debug", "info", "warning", "error"]),
        ("info", -1, ["warning", "error"]),
        ("info", -2, ["error"]),
        ("info", -9, ["error"]),
        ("error", 0, ["error"]),
        ("debug", 0, ["debug", "info", "warning", "error"]),
    ],
)
def test_verbosity_shifts_the_level(
    run: Run, capsys: pytest.CaptureFixture[str], level: str, verbosity: int, heard: list[str]
) -> None:
    start_logging(level, verbosity)
    logger = logging.getLogger("indexer.somewhere")
    for name in ("debug", "info", "warning", "error"):
        logger.log(getattr(logging, name.upper()), "%s said", name)
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split()[-2] for line in said.err.splitlines()] == heard


def test_other_libraries_are_heard_from_warnings_on(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("debug", 0)
    logging.getLogger("httpx").info("chatter")
    logging.getLogger("httpx").warning("trouble")
    said = capsys.readouterr().err
    assert "chatter" not in said
    assert "trouble" in said


def test_markup_and_long_lines_are_left_as_they_are(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging("info", 0)
    logging.getLogger("indexer").warning("[red]%s", "x" * 300)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("warning: [red]" + "x" * 300)


def test_a_reader_of_stderr_that_goes_away_ends_nothing() -> None:
    program = (
        "import logging, sys\n"
        "from indexer.cli.logs import start_logging\n"
        "start_logging('info', 0)\n"
        "sys.stdin.read()\n"
        "logging.getLogger('indexer').warning('to nobody')\n"
        "logging.getLogger('indexer').warning('again')\n"
        "print('still here')\n"
    )
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer
    )
    os.close(reader)
    os.close(writer)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"still here\n")
