"""`indexer watch-for`: matches of a question, as they come."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from search_api.client import Client
    from search_api.schemas import StandingAnswer


@click.command("watch-for")
@click.argument("text", required=False)
@click.option("--threshold", type=click.FloatRange(-1, 1), help="Least score of a match. Default: better than chance.")
@click.option("--webhook", metavar="URL", help="Also send matches here: https, or http to this machine.")
@click.option("--keep", is_flag=True, help="Let the question stand when this ends, as for a webhook.")
@click.option("--list", "list_them", is_flag=True, help="List the questions that stand.")
@click.option("--forget", metavar="ID", help="End one that stands.")
@json_option
@global_options
@pass_invocation
def watch_for(
    invocation: Invocation,
    text: str | None,
    threshold: float | None,
    webhook: str | None,
    keep: bool,
    list_them: bool,
    forget: str | None,
    as_json: bool,
) -> None:
    """Have the running server tell each new picture that the words describe, weighed as in `indexer search`.

    A line for each match: score, size in pixels and path; with --json a line of JSON. Until Ctrl-C or
    SIGTERM, which also end the question, unless with --keep.
    """
    if sum((text is not None, list_them, forget is not None)) != 1:
        raise click.UsageError("give words to watch for, --list, or --forget ID")

    from indexer.cli.source import server_of
    from indexer.errors import Unreachable

    config = invocation.load().config
    with server_of(config) as client:
        if client is None:
            raise Unreachable(f"no server runs on {config.store_dir}; start one with: indexer serve")
        if text is not None:
            with _ended_by_signals():
                _watch(client, text, threshold, webhook, keep=keep, as_json=as_json)
        elif forget is not None:
            client.unstand(forget)
        else:
            _list(client, as_json)


def _watch(
    client: Client, text: str, threshold: float | None, webhook: str | None, *, keep: bool, as_json: bool
) -> None:
    from indexer.cli.search import words_of
    from indexer.cli.terminal import say
    from search_api.schemas import SearchRequest

    question = SearchRequest(query=words_of(text), score_threshold=threshold)
    made: StandingAnswer | None = None
    try:
        # The state of the index comes at once: from then on nothing is missed.
        for topic, data in client.events(["index", "match"]):
            if made is None:
                made = client.stand(question, name=text, webhook=webhook)
                secret = f"; its webhook is signed with {made.secret}" if made.secret else ""
                say(f"watching for {text!r} from a score of {made.score_threshold:.4f} on ({made.id}){secret}")
            elif topic == "match" and data["standing_id"] == made.id:
                _show(data, as_json)
    finally:
        if made is not None and not keep:
            client.unstand(made.id)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """A service manager's end, and that of the terminal, are as Ctrl-C: the question must not go on standing."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _show(match: dict[str, Any], as_json: bool) -> None:
    import json

    from indexer.cli.terminal import print_rows, print_text

    if as_json:
        print_text(json.dumps(match, ensure_ascii=False) + "\n")
        return
    image = match["image"]
    print_rows(
        ("score", "pixels", "path"), [(f"{match['score']:.4f}", f"{image['width']}x{image['height']}", image["path"])]
    )


def _list(client: Client, as_json: bool) -> None:
    from indexer.cli.terminal import print_json, print_rows

    standing = client.standing()
    if as_json:
        print_json(standing)
        return
    print_rows(
        ("id", "score", "matches", "webhook", "name"),
        [
            (each.id, f"{each.score_threshold:.4f}", str(each.n_matches), each.webhook or "", each.name)
            for each in standing
        ],
    )
