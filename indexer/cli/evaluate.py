"""`indexer evaluate`: whether a cheaper precision finds the same on one's own images."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.types import Evaluation

_PRECISIONS = ("int8", "fp8", "fp16", "bf16")


@click.command()
@click.option("--precision", required=True, type=click.Choice(_PRECISIONS), help="The one to hold against FP32.")
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(11, 5000),
    default=500,
    show_default=True,
    help="Indexed images to encode in both.",
)
@json_option
@global_options
@pass_invocation
def evaluate(invocation: Invocation, precision: str, sample: int, as_json: bool) -> int:
    """Measure what a precision costs on your own images.

    Loads the model in FP32 and in the precision, one after the other, and encodes some of the indexed images in both,
    beside a running server or without one. The exit code is 1 where the result is below model.gate_overlap or
    model.gate_cosine. `serve` refuses int8 and fp8 until they have passed.
    """
    from indexer.cli.bar import Bar
    from indexer.cli.door import FAILED, OK
    from indexer.cli.logs import start_logging
    from indexer.cli.terminal import print_json
    from indexer.engine import evaluate_precision
    from indexer.evaluate import shortfall

    config = invocation.load().config
    console = start_logging("warning", invocation.verbosity)
    with Bar("encoding", console) as bar:
        evaluation = evaluate_precision(config, precision, sample, on_progress=bar.show)
    wrong = shortfall(evaluation, config.model.gate_overlap, config.model.gate_cosine)
    if as_json:
        floors = {"gate_overlap": config.model.gate_overlap, "gate_cosine": config.model.gate_cosine}
        print_json({**asdict(evaluation), **floors, "passed": not wrong})
    else:
        _print(evaluation, config, precision, wrong)
    return FAILED if wrong else OK


def _print(evaluation: Evaluation, config: Config, precision: str, wrong: str) -> None:
    from indexer.cli.terminal import print_rows, print_text

    print_rows(
        ("precision", "images/s", "memory", "weights"),
        [
            (each.precision, f"{each.images_per_s:,.2f}", _mb(each.memory_bytes), _mb(each.weights_bytes))
            for each in (evaluation.reference, evaluation.candidate)
        ],
    )
    print_text("\n")
    overlap = f"{evaluation.overlap:.4f} ± {evaluation.overlap_error:.4f}"
    print_rows(
        ("figure", "value", "floor"),
        [
            ("cosine to fp32, mean", f"{evaluation.cosine_mean:.6f}", ""),
            ("cosine to fp32, p1", f"{evaluation.cosine_p1:.6f}", f"{config.model.gate_cosine:g}"),
            ("cosine to fp32, lowest", f"{evaluation.cosine_min:.6f}", ""),
            ("top-10 overlap", overlap, f"{config.model.gate_overlap:g}"),
        ],
    )
    print_text(
        f"\n{evaluation.n_images:,} of {evaluation.n_indexed:,} images, neighbours of {evaluation.n_queries:,} "
        f"of them, {evaluation.model} on {evaluation.device}\n"
    )
    print_text(f"{precision} fails: {wrong}\n" if wrong else f"{precision} passes\n")


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.0f} MB"
