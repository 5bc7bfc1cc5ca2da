"""`indexer status`: the state of the service, or of a store without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from search_api.schemas import ErrorsAnswer, StatsAnswer


@click.command()
@click.option("--errors", is_flag=True, help="List the files that cannot be searched, and why; the latest first.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many files.")
@json_option
@global_options
@pass_invocation
def status(invocation: Invocation, errors: bool, limit: int, as_json: bool) -> None:
    """Show what is indexed, what is under way, and what went wrong.

    Asks the running server if there is one, else reads the store itself.
    """
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_facts, print_json, say

    with open_source(invocation.load().config, invocation.verbosity) as source:
        if errors:
            refused = source.errors(limit)
            if as_json:
                print_json(refused)
            else:
                _print_refused(refused)
            return
        stats = source.stats()
        if as_json:
            print_json(stats)
            return
        facts = [("answered by", source.name), *_facts_stored(stats)]
        print_facts([*facts, *_facts_live(stats)] if source.live else facts)
        for notice in (*stats.notices, *(f"perhaps a leak: {leak.sentence}" for leak in stats.leaks)):
            say(f"note: {notice}")


def _facts_stored(stats: StatsAnswer) -> Iterator[tuple[str, str]]:
    yield "model", f"{stats.model}, {stats.precision}, fingerprint {stats.fingerprint or 'unknown'}"
    yield "files", f"{stats.files:,}"
    yield "indexed", f"{stats.indexed:,} pictures"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in stats.errors_by_reason.items() if count)
    yield "errors", f"{stats.errors:,}" + (f" ({reasons}); see --errors" if stats.errors else "")
    if stats.verify is not None:
        said = ", ".join(f"{n:,} {flaw}" for flaw, n in stats.verify.found.items()) or "all was well"
        mended = "" if not stats.verify.found else ", all mended" if stats.verify.ok else ", not all mended"
        yield "verified", f"{stats.verify.started_at}: {said}{mended}"
    for space in stats.spaces:
        if not space["active"]:
            size = f"{space['bytes'] / 1e6:,.1f} MB"
            yield "also kept", f"{space['model']}, {space['precision']}, fingerprint {space['fingerprint']}, {size}"


def _facts_live(stats: StatsAnswer) -> Iterator[tuple[str, str]]:
    yield "index", f"{stats.index_bytes / 1e6:,.1f} MB, generation {stats.generation}"
    if stats.point:
        yield "searched", f"{stats.point.n_probe:,} lists of it, {stats.point.recall:.1%} of the nearest found"
    yield "device", stats.device
    if stats.queue and len(stats.queue.devices) > 1:
        for load in stats.queue.devices:
            yield (
                "encoder",
                f"{load.device} {load.state}, busy {load.busy_share:.0%}, {load.images_per_s:,.1f} images/s",
            )
    if stats.batch_size:
        yield "batch size", f"{stats.batch_size:,} at most, {stats.batch_size_from}"
    waiting = f", the oldest for {stats.oldest_pending_s:,.1f} s" if stats.pending else ""
    yield "pending", f"{stats.pending:,}{waiting}"
    yield "encoded", f"{stats.encoded_total:,} since the start, {stats.images_per_s:,.1f}/s now"
    yield "from cache", f"{stats.cache_hits_total:,} since the start"
    yield "limited by", stats.limited_by
    for folder, how in stats.watching.items():
        yield "watching", f"{folder}: {how}"
    for task in stats.progress:
        if task.running:
            left = f", {task.eta_s:,.0f} s left" if task.eta_s is not None else ""
            yield task.task, f"{task.n_done:,} of {task.n_total:,}, {task.rate_per_s:,.1f}/s{left}"


def _print_refused(refused: ErrorsAnswer) -> None:
    from indexer.cli.terminal import print_rows, say

    print_rows(
        ("reason", "detail", "path"),
        [(file.reason, file.detail, file.path) for file in refused.errors],
    )
    if len(refused.errors) < refused.total:
        say(f"{refused.total:,} in all; --limit shows more")
    elif not refused.total:
        say("no file was refused")
