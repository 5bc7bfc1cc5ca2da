"""`indexer recommend`: what to set before anything was measured, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.recommend import Recommendation


@click.command()
@click.option(
    "--memory-gb",
    metavar="N",
    type=click.FloatRange(1, 10_000),
    help="For a GPU of N GB in this machine. Default: the device that is here.",
)
@json_option
@global_options
@pass_invocation
def recommend(invocation: Invocation, memory_gb: float | None, as_json: bool) -> None:
    """Show which settings suit the model and the device, and why.

    Computed from the model's architecture, without loading it, and used where the configuration says "auto". Then the
    same for common sizes of GPU. `indexer tune batch` measures instead.
    """
    from indexer.cli.terminal import print_json, print_rows, print_text, say
    from indexer.engine import recommendations

    found = recommendations(invocation.load().config, memory_gb)
    if as_json:
        print_json({"here": _facts(found.here), "others": [_facts(each) for each in found.others]})
        return
    print_text(f"{_named(found.here)}:\n")
    print_rows(
        ("setting", "value", "reason"),
        [(advice.setting, str(advice.value), advice.reason) for advice in found.here.settings],
    )
    print_text("\n")
    titles = [advice.setting for advice in found.here.settings]
    print_rows(("device", *titles), [_row(each) for each in found.others])
    say("`indexer tune batch` measures the batch size on this device")


def _row(recommendation: Recommendation) -> tuple[str, ...]:
    values = [str(advice.value) for advice in recommendation.settings]
    device = "CPU" if recommendation.machine.kind == "cpu" else recommendation.machine.name
    return (device, *values) if recommendation.fits else (device, "does not fit", "", "")


def _named(recommendation: Recommendation) -> str:
    machine = recommendation.machine
    return f"{machine.name}, {machine.memory_bytes / 2**30:,.1f} GiB of memory"


def _facts(recommendation: Recommendation) -> dict[str, Any]:
    return asdict(recommendation)
