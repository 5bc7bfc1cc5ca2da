"""Help is quick, because it loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from indexer.cli.commands import cli
from tests.cli.conftest import Run

HEAVY = (
    "torch", "faiss", "open_clip", "numpy", "PIL", "pydantic", "litestar", "msgspec", "uvicorn", "httpx",
    "watchdog", "diskcache", "sqlite3", "asyncio",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["--version"], ["no-such-verb"]])
def test_help_loads_no_heavy_module(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from indexer.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        f"    print('loaded', sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.stderr.splitlines()[-1] == "loaded []"


def test_the_package_is_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "indexer", "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    assert "Usage: indexer" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_every_verb_has_help_that_names_the_global_options(run: Run, verb: str) -> None:
    outcome = run(verb, "--help")
    assert outcome.code == 0
    assert f"indexer {verb}" in outcome.out
    assert "--config" in outcome.out
    assert cli.commands[verb].get_short_help_str()


@pytest.mark.parametrize(
    "arguments", [["no-such-verb"], ["stop", "--no-such-option"], ["--set", "nonsense", "stop"], []]
)
def test_a_wrong_command_line_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).code == 2


@pytest.mark.parametrize(("with_torch", "torn_down"), [(True, False), (False, True)])
def test_the_interpreter_is_not_taken_apart_once_torch_is_loaded(with_torch: bool, torn_down: bool) -> None:
    program = (
        "import atexit, sys\n"
        + ("sys.modules['torch'] = sys\n" if with_torch else "")
        + "atexit.register(print, 'torn down')\n"
        "from indexer.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", program, "--set", "nonsense"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 2
    assert "nonsense" in result.stderr
    assert ("torn down" in result.stdout) == torn_down
