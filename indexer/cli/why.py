"""`indexer why`: what is known of one path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from search_api.schemas import WhyAnswer


@click.command()
@click.argument("path")
@json_option
@global_options
@pass_invocation
def why(invocation: Invocation, path: str, as_json: bool) -> None:
    """Tell what is known of PATH, and why it can be found or not.

    Asks the running server if there is one, else reads the store itself.
    """
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_facts, print_json, print_text, printable

    config = invocation.load().config
    folders = [os.fsencode(folder) for folder in config.folders]
    with open_source(config, invocation.verbosity) as source:
        answer = source.why(as_watched(os.fsencode(path), folders))
        if as_json:
            print_json(answer)
            return
        print_text(f"{printable(answer.sentence)}\n")
        print_facts([*_facts(answer), ("answered by", source.name)])


def as_watched(path: bytes, folders: Sequence[bytes]) -> bytes:
    """The absolute path; where links lead there, as it is spelt below the watched folders."""
    plain = os.path.abspath(path)
    resolved = os.path.join(os.path.realpath(os.path.dirname(plain)), os.path.basename(plain))
    below = [each for each in (plain, resolved) if any(each.startswith(f.rstrip(b"/") + b"/") for f in folders)]
    return below[0] if below else plain


def _facts(answer: WhyAnswer) -> Iterator[tuple[str, str]]:
    yield "path", answer.path
    yield "standing", answer.standing
    yield "searchable", "yes" if answer.searchable else "no"
    if answer.rule:
        yield "rule", answer.rule
    if answer.waits_s is not None:
        yield "waits for", f"{answer.waits_s:,.1f} s"
    if answer.reason:
        yield "refused", answer.reason
    if answer.detail:
        yield "detail", answer.detail
    if answer.recorded:
        yield "recorded", answer.recorded
    if answer.id:
        yield "id", answer.id
        yield "vector id", str(answer.vector_id)
    for path in answer.same_content:
        yield "same content", path
