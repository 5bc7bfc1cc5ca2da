"""Errors end as an exit code and one message."""

from __future__ import annotations

import inspect
import re

import pytest
import rich_click as click

from indexer import errors
from indexer.cli.door import Door, exit_code
from indexer.cli.options import global_options
from indexer.errors import ImageRefused, IndexerError
from indexer.types import Reason
from tests.cli.conftest import Outcome


def kinds() -> list[type[IndexerError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, IndexerError)]


def documented() -> dict[str, int]:
    """The exit codes that the drawn tree promises; one that stays inside would be a failure."""
    rows = re.findall(r"(\w+)\s+(\d|-)\s+(?:-|\d{3})", errors.__doc__ or "")
    return {name: 1 if code == "-" else int(code) for name, code in rows}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_has_the_exit_code_that_its_tree_promises(kind: type[IndexerError]) -> None:
    promised = documented().get(kind.__name__, 1)
    error = ImageRefused(Reason.CORRUPT, "bad") if kind is ImageRefused else kind("bad")
    assert exit_code(error) == promised


def test_the_tree_names_every_error_but_its_root() -> None:
    assert set(documented()) == {kind.__name__ for kind in kinds()} - {"IndexerError"}


def raising(error: BaseException, *arguments: str) -> Outcome:
    """Run a verb that raises."""
    from click.testing import CliRunner

    @click.group(cls=Door)
    @global_options
    def cli() -> None: ...

    @cli.command()
    @global_options
    def fail() -> None:
        raise error

    result = CliRunner().invoke(cli, ["fail", *arguments])
    return Outcome(result.exit_code, result.stdout, result.stderr)


def test_an_error_is_one_message_on_stderr_without_a_trace() -> None:
    outcome = raising(errors.StoreLocked("another process writes here"))
    assert outcome == Outcome(4, "", "error: another process writes here\n")


def test_further_lines_of_an_error_stand_below_its_first() -> None:
    assert raising(errors.ConfigError("one\ntwo")).err == "error: one\n       two\n"


def test_the_trace_comes_with_vv_only() -> None:
    error = errors.ModelUnavailable("no weights")
    assert "Traceback" not in raising(error, "-v").err
    verbose = raising(error, "-vv")
    assert "Traceback" in verbose.err
    assert verbose.err.endswith("error: no weights\n")
    assert verbose.code == 1


def test_an_error_that_nobody_raised_on_purpose_shows_its_trace_and_fails() -> None:
    outcome = raising(KeyError("x"))
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1].startswith("error: unexpected KeyError")


def test_ctrl_c_is_130() -> None:
    assert raising(KeyboardInterrupt()) == Outcome(130, "", "interrupted\n")


def test_a_verbs_result_is_the_exit_code() -> None:
    from click.testing import CliRunner

    @click.group(cls=Door)
    def cli() -> None: ...

    @cli.command()
    def part() -> int:
        return 3

    @cli.command()
    def whole() -> None: ...

    assert CliRunner().invoke(cli, ["part"]).exit_code == 3
    assert CliRunner().invoke(cli, ["whole"]).exit_code == 0
