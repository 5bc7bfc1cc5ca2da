"""`indexer evaluate`: whether a cheaper precision, or a faster index, finds the same on one's own images."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from rich.console import Console

    from indexer.config import Config
    from indexer.types import Evaluation, IndexEvaluation, OperatingPoint

_PRECISIONS = ("int8", "fp8", "fp16", "bf16")


@click.command()
@click.option("--precision", type=click.Choice(_PRECISIONS), help="The one to hold against FP32.")
@click.option("--index-kind", type=click.Choice(("lists",)), help="The kind of index to hold against exact searches.")
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(11, 5000),
    default=500,
    show_default=True,
    help="Indexed images to encode in both, or to ask about.",
)
@json_option
@global_options
@pass_invocation
def evaluate(invocation: Invocation, precision: str | None, index_kind: str | None, sample: int, as_json: bool) -> int:
    """Measure what a precision, or an index, costs on your own images.

    --precision loads the model in FP32 and in the precision, one after the other, and encodes some of the indexed
    images in both. --index-kind searches for some of them, and for common words, exactly and through lists. Both work
    beside a running server or without one. The exit code is 1 where the result is below model.gate_overlap or
    model.gate_cosine. `serve` refuses int8 and fp8 until they have passed.
    """
    from indexer.cli.logs import start_logging

    if (precision is None) == (index_kind is None):
        raise click.UsageError("give one of --precision and --index-kind: they are measured one at a time")
    config = invocation.load().config
    console = start_logging("warning", invocation.verbosity)
    if precision is None:
        return _evaluate_index(config, sample, as_json)
    return _evaluate_precision(config, precision, sample, as_json, console)


def _evaluate_precision(config: Config, precision: str, sample: int, as_json: bool, console: Console) -> int:
    from indexer.cli.bar import Bar
    from indexer.cli.door import FAILED, OK
    from indexer.cli.terminal import print_json
    from indexer.engine import evaluate_precision
    from indexer.evaluate import shortfall

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
    from indexer.cli.terminal import print_rows, print_text, say

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
    if abs(evaluation.overlap - config.model.gate_overlap) < 2 * evaluation.overlap_error:
        say("the overlap is so close to its floor that chance may have decided; a larger --sample is surer")


def _evaluate_index(config: Config, sample: int, as_json: bool) -> int:
    from indexer.cli.door import FAILED, OK
    from indexer.cli.terminal import print_json
    from indexer.engine import evaluate_index
    from indexer.evaluate import index_shortfall

    evaluation = evaluate_index(config, sample)
    wrong = index_shortfall(evaluation, config.model.gate_overlap)
    if as_json:
        print_json({**asdict(evaluation), "gate_overlap": config.model.gate_overlap, "passed": not wrong})
    else:
        _print_index(evaluation, config, wrong)
    return FAILED if wrong else OK


def _print_index(evaluation: IndexEvaluation, config: Config, wrong: str) -> None:
    from indexer.cli.terminal import print_rows, print_text, say
    from indexer.engine.listing import FEW_ROWS

    print_rows(
        ("kind", "query p50", "query p99", "memory"),
        [
            (kind, f"{point.p50_ms:,.2f} ms", f"{point.p99_ms:,.2f} ms", _mb(point.n_bytes))
            for kind, point in (("exact", evaluation.exact), (evaluation.kind, evaluation.found))
        ],
    )
    print_text("\n")
    groups = [("images", evaluation.found), *([("common words", evaluation.words)] if evaluation.words else [])]
    floor = f"{config.model.gate_overlap:g}"
    print_rows(
        ("figure", "value", "floor"),
        [(f"top-10 overlap, {name}", f"{point.recall:.4f} ± {_error(point):.4f}", floor) for name, point in groups],
    )
    print_text(
        f"\n{evaluation.n_queries:,} of {evaluation.n_indexed:,} images asked about, through "
        f"{evaluation.found.n_probe:,} of {evaluation.n_lists:,} lists, {evaluation.found.factor} candidates a hit\n"
    )
    print_text(f"{evaluation.kind} fails: {wrong}\n" if wrong else f"{evaluation.kind} passes\n")
    if evaluation.n_indexed < FEW_ROWS:
        say(f"so few images are searched exactly, whatever index.kind says: lists begin to pay at some {FEW_ROWS:,}")


def _error(point: OperatingPoint) -> float:
    """Standard error of the mean."""
    return (point.recall - point.sure_recall) / 2


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.{0 if n_bytes >= 1e7 else 1}f} MB"
