"""The one door between the program and its shell: exit codes, and errors as one message.

    0    done
    1    failed
    2    the command line or the configuration cannot be used
    3    done in part: what is missing was said
    4    no server answers, or another process holds the store
    130  interrupted (serve, watch and demo end with 0: a stop is what they wait for)

Verbs return their exit code, None for 0; anything else is raised and translated here.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any, Final

import rich_click as click
from click.exceptions import Exit

from indexer.cli.options import Invocation

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
UNREACHABLE: Final = 4
INTERRUPTED: Final = 130


class Door(click.RichGroup):
    """A group whose verbs return their exit code, and whose errors end as one message on stderr."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's
        """As they were added, not by the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        invocation = ctx.ensure_object(Invocation)
        try:
            code = super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = INTERRUPTED
        except (click.ClickException, Exit, click.Abort, BrokenPipeError):
            raise  # click's own door knows these; a reader that went away is no error to speak of
        except Exception as e:  # noqa: BLE001  the door
            code = tell(e, trace=invocation.verbosity >= 2)
        ctx.exit(code or OK)


def tell(error: Exception, *, trace: bool) -> int:
    """Say what went wrong on stderr, with its trace on request, and return the exit code.

    An error that nobody raised on purpose is a defect of the program: its trace is always shown.
    """
    code = exit_code(error)
    if trace or code is None:
        traceback.print_exception(error, file=sys.stderr)
    message = str(error) if code is not None else f"unexpected {type(error).__name__}: {error}; this is a defect"
    first, *more = message.splitlines() or [type(error).__name__]
    click.echo("\n       ".join([f"error: {first}", *more]), err=True)
    return FAILED if code is None else code


def exit_code(error: BaseException) -> int | None:
    """The exit code of anything in the tree of `indexer.errors`; None for an error that nobody raised on purpose."""
    from indexer import errors  # here, because it brings NumPy along and help needs no errors

    table: dict[type, int] = {
        errors.IndexerError: FAILED,
        errors.ConfigError: USAGE,
        errors.StoreLocked: UNREACHABLE,
        errors.Unreachable: UNREACHABLE,
    }
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)
