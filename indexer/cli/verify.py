"""`indexer verify`: what is stored held against itself and against the files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.cli.bar import Bar
    from search_api.client import Client
    from search_api.schemas import FindingAnswer, VerifyAnswer

POLL_S: Final = 0.1


@click.command()
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(0, 10_000_000),
    default=0,
    help="Also read N images, chosen at random, and encode them again.",
)
@click.option("--repair", is_flag=True, help="Mend what is found. No file of yours is touched.")
@json_option
@global_options
@pass_invocation
def verify(invocation: Invocation, sample: int, repair: bool, as_json: bool) -> int:
    """Compare catalogue, features, index and files.

    Through the running server if there is one: it goes on answering, and Ctrl-C here only stops the watching. The exit
    code is 1 when something is wrong that was not mended.
    """
    from indexer.cli.bar import Bar
    from indexer.cli.door import FAILED, OK
    from indexer.cli.logs import start_logging
    from indexer.cli.source import server_of
    from indexer.cli.terminal import print_json

    config = invocation.load().config
    console = start_logging("warning", invocation.verbosity)
    with server_of(config) as server, Bar("verifying", console) as bar:
        if server is not None:
            answer = _follow(server, sample, repair, bar)
        else:
            from indexer.engine import verify_offline
            from search_api.answers import verify_answer

            answer = verify_answer(verify_offline(config, sample=sample, repair=repair, on_progress=bar.show))
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    return OK if answer.ok else FAILED


def _follow(server: Client, sample: int, repair: bool, bar: Bar) -> VerifyAnswer:
    """Have the server verify, and show it until it ends. One that ran already may have been asked for less."""
    from indexer.errors import IndexerError

    while True:
        now = server.verify(sample=sample, repair=repair)
        stats = server.stats()
        while now.running:
            bar.show(now)
            time.sleep(POLL_S)
            stats = server.stats()
            now = next((each for each in stats.progress if each.task == "verify"), now)
        if now.error or stats.verify is None:
            raise IndexerError(f"the verification failed: {now.error or 'the log of who ran it tells why'}")
        if stats.verify.sample >= sample and stats.verify.repair >= repair:
            return stats.verify


def _print(answer: VerifyAnswer) -> None:
    from indexer.cli.terminal import print_rows, print_text, say

    again = f", {answer.reencoded:,} images encoded again" if answer.sample else ""
    print_text(
        f"compared {answer.files:,} files, {answer.contents:,} images, {answer.features:,} features and "
        f"{answer.rows:,} rows in {answer.seconds:.1f} s{again}\n"
    )
    if answer.kept:
        print_text(f"{answer.kept:,} features are kept of images that went away\n")
    for note in answer.notes:
        say(f"note: {note}")
    if not answer.found:
        print_text("all is well\n")
        return
    for flaw, n in answer.found.items():
        mended = answer.mended.get(flaw, 0)
        print_text(f"{flaw}: {n:,}" + (f", {mended:,} of them mended" if mended else "") + "\n")
    print_rows(("flaw", "mended", "what", "where"), [_row(each) for each in answer.examples])
    if not answer.ok and not answer.repair:
        say("indexer verify --repair mends what can be mended")


def _row(finding: FindingAnswer) -> tuple[str, str, str, str]:
    number = None if finding.vector_id is None else f"row {finding.vector_id}"
    return finding.flaw, "yes" if finding.mended else "no", finding.what, finding.path or finding.id or number or ""
