"""`indexer config`: the settings in force, and where each comes from."""

from __future__ import annotations

import json
from typing import Any

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation


@click.group()
@global_options
def config() -> None:
    """Show or check the settings."""


@config.command()
@json_option
@global_options
@pass_invocation
def show(invocation: Invocation, as_json: bool) -> None:
    """Print every setting in force, and whether a flag, the environment, the file or the default set it.

    The output is a valid configuration file (but for the API's keys, which are hidden).
    """
    from indexer.cli.terminal import print_json, print_text
    from indexer.config import SECRETS

    loaded = invocation.load()
    settings = loaded.config.model_dump(mode="json")
    settings["api"].update({key: "(hidden)" for key in SECRETS if settings["api"][key]})
    if as_json:
        print_json({
            section: {
                key: {"value": value, "source": loaded.sources[f"{section}.{key}"]} for key, value in values.items()
            }
            for section, values in settings.items()
        })  # fmt: skip
        return
    blocks = [f"# file: {loaded.file or 'none'}"]
    for section, values in settings.items():
        lines = [
            f"{key} = {toml_value(value)}  # {loaded.sources[f'{section}.{key}']}" for key, value in values.items()
        ]
        blocks.append("\n".join([f"[{section}]", *lines]))
    print_text("\n\n".join(blocks) + "\n")


@config.command()
@global_options
@pass_invocation
def validate(invocation: Invocation) -> None:
    """Check the settings: exit code 0, or 2 with one line for each that cannot be used."""
    from indexer.cli.api_settings import api_settings
    from indexer.cli.terminal import say

    loaded = invocation.load()
    api_settings(loaded.config)
    say(f"{loaded.file or 'defaults'}: valid")


def toml_value(value: Any) -> str:
    """A string, number, boolean or list of them as TOML (https://toml.io/en/v1.0.0#string)."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    # JSON's spelling is TOML's, but that TOML wants DEL escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
