"""The options that every verb takes, before or after its name, and the settings that they lead to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from indexer.config import Loaded

Command = TypeVar("Command", bound=Callable[..., Any])

_PANEL: Final = "Global options"


@dataclass(slots=True)
class Invocation:
    """What the global options say; filled while the command line is read.

    Attributes:
        file: `--config`.
        flags: `section.key` -> text, from `--set`.
        verbosity: How many `-v` less how many `-q`.
    """

    file: Path | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    verbosity: int = 0

    def load(self, flags: Mapping[str, Any] | None = None) -> Loaded:
        """The settings; `flags` are a verb's own, which win over `--set`.

        Raises:
            ConfigError: One line per wrong key.
        """
        from indexer.config import load

        return load(self.file, {**self.flags, **(flags or {})})


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def global_options(command: Command) -> Command:
    """Adds --config, --set, -v and -q. What stands before the verb and what stands after it adds up."""
    for option in reversed(_GLOBAL):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _set_file(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Invocation).file = value


def _add_flags(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    for text in values:
        key, separator, value = text.partition("=")
        if not separator:
            raise click.BadParameter(f"{text!r} is not SECTION.KEY=VALUE, such as watch.settle_s=2", ctx, param)
        ctx.ensure_object(Invocation).flags[key.strip()] = value


def _raise_verbosity(ctx: click.Context, _param: click.Parameter, count: int) -> None:
    ctx.ensure_object(Invocation).verbosity += count


def _lower_verbosity(ctx: click.Context, _param: click.Parameter, count: int) -> None:
    ctx.ensure_object(Invocation).verbosity -= count


_GLOBAL: Final = (
    click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_set_file,
        expose_value=False,
        panel=_PANEL,
        help="Settings. Default: $INDEXER_CONFIG, else config.toml here, if any.",
    ),
    click.option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        multiple=True,
        callback=_add_flags,
        expose_value=False,
        panel=_PANEL,
        help="Overrule one setting; may be repeated.",
    ),
    click.option(
        "-v",
        "--verbose",
        metavar="",
        count=True,
        callback=_raise_verbosity,
        expose_value=False,
        panel=_PANEL,
        help="Say more; -vv shows the trace of an error.",
    ),
    click.option(
        "-q",
        "--quiet",
        metavar="",
        count=True,
        callback=_lower_verbosity,
        expose_value=False,
        panel=_PANEL,
        help="Say less: warnings and errors; -qq errors only.",
    ),
    click.option_panel("Options"),
    click.option_panel(_PANEL),
)
