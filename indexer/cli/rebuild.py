"""`indexer rebuild` and `indexer rescan`: the index, or what is known of the folders, made right again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.cli.bar import Bar
    from indexer.types import Progress
    from search_api.client import Client
    from search_api.schemas import ProgressAnswer

POLL_S: Final = 0.1
"""Often enough that a rebuild of a second shows movement, seldom enough not to slow it."""


@click.command()
@click.option("--reencode", is_flag=True, help="Encode every picture again instead of using the cached features.")
@json_option
@global_options
@pass_invocation
def rebuild(invocation: Invocation, reencode: bool, as_json: bool) -> int:
    """Make the index anew from what is stored.

    Writes every row again from the catalogue and the cached features. Through the running server if there is one: it
    goes on answering, and Ctrl-C here only stops the watching. The exit code is 3 when a picture was not to be had
    again.
    """
    from indexer.cli.bar import Bar
    from indexer.cli.logs import start_logging
    from indexer.cli.source import server_of

    config = invocation.load().config
    console = start_logging("warning", invocation.verbosity)
    with server_of(config) as server, Bar("encoding anew" if reencode else "rebuilding", console) as bar:
        if server is not None:
            end: Progress | ProgressAnswer = _follow(server, reencode, bar)
        else:
            from indexer.engine import rebuild_offline

            end = rebuild_offline(config, reencode=reencode, on_progress=bar.show)
    return _tell(end, as_json)


@click.command()
@click.option(
    "--confirm-gone",
    is_flag=True,
    help="Files that are missing are gone: the service doubts it when a folder has lost too many at once.",
)
@global_options
@pass_invocation
def rescan(invocation: Invocation, confirm_gone: bool) -> None:
    """Have the running server look at its folders.

    It compares them with what it knows, now; it does so anyway at its start and every `watch.rescan_s`.
    """
    from indexer.cli.source import server_of
    from indexer.cli.terminal import say
    from indexer.errors import Unreachable

    config = invocation.load().config
    with server_of(config) as server:
        if server is None:
            raise Unreachable(f"no server runs on {config.store_dir}; start one with: indexer serve")
        server.rescan(confirm_gone=confirm_gone)
    say("the rescan has begun; `indexer status` shows what it finds")


def _follow(server: Client, reencode: bool, bar: Bar) -> ProgressAnswer:
    """Begin a rebuild, or join the one that runs, and show it until it ends."""
    now = server.rebuild(reencode=reencode)
    while now.running:
        bar.show(now)
        time.sleep(POLL_S)
        now = next((each for each in server.stats().progress if each.task == now.task), now)
    return now


def _tell(end: Progress | ProgressAnswer, as_json: bool) -> int:
    from indexer.cli.door import FAILED, OK, PARTIAL
    from indexer.cli.terminal import print_json, print_text, say

    if end.error:
        say(f"error: the rebuild failed: {end.error}")
        return FAILED
    summary = end.summary
    if as_json:
        print_json(dict(summary))
    live, restored, encoded, missing = (int(summary[key]) for key in ("live", "restored", "encoded", "missing"))
    if not as_json:
        print_text(
            f"rebuilt {live:,} images in {summary['seconds']:.1f} s: "
            f"{restored:,} restored, {encoded:,} encoded, {missing:,} missing\n"
        )
    return PARTIAL if missing else OK
