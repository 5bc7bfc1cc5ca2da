"""`indexer duplicates`: what is there more than once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.cli.source import Source
    from indexer.types import Tier
    from search_api.schemas import DuplicatesAnswer

_POLL_S: Final = 0.2


@click.command()
@click.option(
    "--tier",
    type=click.Choice(["same", "variant", "similar"]),
    default="same",
    show_default=True,
    help="same: the same bytes. variant: the same picture encoded again, resized or lightly cropped. similar: scenes "
    "that are alike.",
)
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many groups.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Groups to skip.")
@json_option
@global_options
@pass_invocation
def duplicates(invocation: Invocation, tier: str, limit: int, offset: int, as_json: bool) -> None:
    """Find pictures that are there more than once. Nothing is deleted.

    A line for each file: number of its group, score (the least cosine in the group), size in pixels, bytes, path; the
    largest picture of a group first. Variants and similar scenes are searched for when the index has changed, which
    takes a while where there are many pictures.
    """
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_json, print_rows, say
    from indexer.types import Tier

    with open_source(invocation.load().config, invocation.verbosity) as source:
        answer = _newest(source, Tier(tier), limit, offset)
    if as_json:
        print_json(answer)
        return
    rows = [
        (str(number), f"{group.score:.4f}", f"{image.width}x{image.height}", str(image.size_bytes), path)
        for number, group in enumerate(answer.groups, offset + 1)
        for image in group.images
        for path in image.paths
    ]
    print_rows(("group", "score", "pixels", "bytes", "path"), rows)
    if not answer.total:
        say("nothing is there more than once")
    elif offset + len(answer.groups) < answer.total:
        say(f"{len(answer.groups)} of {answer.total:,} groups; the next: --offset {offset + limit}")


def _newest(source: Source, tier: Tier, limit: int, offset: int) -> DuplicatesAnswer:
    """Wait for the search that runs; whatever changes after it is left for the next question."""
    from rich.console import Console

    from indexer.cli.bar import Bar

    with Bar("duplicates", Console(stderr=True)) as bar:
        answer = source.duplicates(tier, limit, offset)
        n_done = -1
        while answer.progress and answer.progress.running and n_done <= answer.progress.n_done:
            n_done = answer.progress.n_done
            bar.show(answer.progress)
            time.sleep(_POLL_S)
            answer = source.duplicates(tier, limit, offset)
        return answer
