"""`indexer tune`: settings found by measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.types import IndexTuning, Tuning

_ENDS: Final = {
    "asked": "no larger batch was asked for",
    "memory": "a larger batch would not fit into the {budget} that may be taken",
    "time": "a larger batch would take more than {longest:.0f} ms, and a query waits for one",
    "out_of_memory": "a larger batch did not fit",
}


@click.group()
@global_options
def tune() -> None:
    """Find settings by measuring."""


@tune.command()
@click.option(
    "--max",
    "most",
    metavar="N",
    type=click.IntRange(1, 4096),
    help="The largest batch to measure. Default: what a service can fill, 512 on a GPU and 32 on a CPU.",
)
@json_option
@global_options
@pass_invocation
def batch(invocation: Invocation, most: int | None, as_json: bool) -> None:
    """Measure batch sizes and keep the best.

    Loads the model and measures memory, images a second and latency of batches of 1, 2, 4, ... pictures, short of the
    edge of the memory. From its next start `serve` uses the choice where `model.batch_size` is "auto". No server may
    run on this store: it would be measured too.
    """
    from indexer.cli.logs import start_logging
    from indexer.cli.terminal import print_json
    from indexer.engine import tune_batch
    from search_api.answers import tuning_answer

    config = invocation.load().config
    start_logging("info", invocation.verbosity)
    tuning = tune_batch(config, most)
    if as_json:
        print_json(tuning_answer(tuning))
    else:
        _print(tuning)
    _tell_what_follows(tuning, config.model.batch_size)


def _print(tuning: Tuning) -> None:
    from indexer.cli.terminal import print_rows

    print_rows(
        ("batch", "memory", "images/s", "latency p50", ""),
        [
            (
                str(row.size),
                f"{row.memory_bytes / 1e6:,.0f} MB",
                f"{row.images_per_s:,.1f}",
                f"{row.latency_ms:,.1f} ms",
                "chosen" if row.size == tuning.size else "",
            )
            for row in tuning.rows
        ],
    )


def _tell_what_follows(tuning: Tuning, configured: int | str) -> None:
    from indexer.cli.terminal import say

    end = _ENDS[tuning.ended].format(budget=f"{tuning.budget_bytes / 1e9:,.1f} GB", longest=tuning.longest_ms)
    say(f"{tuning.model} in {tuning.precision} on {tuning.device}: {end}")
    if configured == "auto":
        say(f"batches of {tuning.size} are kept for it; `indexer serve` uses them from its next start")
    else:
        say(f'{tuning.size} is kept, but the configuration\'s model.batch_size = {configured} wins until it is "auto"')


@tune.command()
@click.option(
    "--recall",
    metavar="SHARE",
    type=click.FloatRange(0.5, 0.9999),
    help="Share of the ten nearest images to find. Default: index.recall.",
)
@json_option
@global_options
@pass_invocation
def index(invocation: Invocation, recall: float | None, as_json: bool) -> None:
    """Measure searches and keep the fastest that finds enough.

    Looks for images that are held out and for common words, exactly and through ever more lists, and prints recall,
    time and memory of each way. From its next start `serve` uses the choice where `index.kind` is "auto". No server may
    run on this store: it would be measured too.
    """
    from dataclasses import asdict

    from indexer.cli.logs import start_logging
    from indexer.cli.terminal import print_json
    from indexer.engine import tune_index

    config = invocation.load().config
    start_logging("info", invocation.verbosity)
    tuning = tune_index(config, recall or config.index.recall)
    if as_json:
        print_json(asdict(tuning))
    else:
        _print_points(tuning)
    _tell_choice(tuning, config.index.kind)


def _print_points(tuning: IndexTuning) -> None:
    from indexer.cli.terminal import print_rows

    print_rows(
        ("lists", "candidates", "recall@10", "p50", "p99", "memory", ""),
        [
            (
                f"{point.n_probe} of {tuning.n_lists}" if point.n_probe else "all, exactly",
                f"{point.factor} a hit" if point.n_probe else "",
                f"{point.recall:.4f}",
                f"{point.p50_ms:,.2f} ms",
                f"{point.p99_ms:,.2f} ms",
                f"{point.n_bytes / 1e6:,.1f} MB" if point.n_probe else "",
                "chosen" if point == tuning.chosen else "",
            )
            for point in tuning.points
        ],
    )


def _tell_choice(tuning: IndexTuning, configured: str) -> None:
    from indexer.cli.terminal import say

    how = f"{tuning.chosen.n_probe} of {tuning.n_lists} lists" if tuning.chosen.n_probe else "an exact search"
    say(f"{tuning.n_rows:,} images: {how} is the fastest way to find {tuning.recall:.1%} of the nearest")
    if configured == "auto":
        say("kept; `indexer serve` goes by it from its next start")
    else:
        say(f'kept, but the configuration\'s index.kind = "{configured}" wins until it is "auto"')
