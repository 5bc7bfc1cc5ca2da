"""`indexer export` and `indexer import`: features in clip-retrieval's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))


@click.command("export")
@_FOLDER
@click.option(
    "--space",
    type=click.Choice(["visual", "joint"]),
    default="visual",
    show_default=True,
    help="visual: what `indexer import` takes. joint: comparable with words, for other tools.",
)
@global_options
@pass_invocation
def export_(invocation: Invocation, folder: Path, space: str) -> None:
    """Write every indexed image's vector into a new FOLDER, as NumPy arrays and Parquet (clip-retrieval's layout).

    Works beside a running server. Needs pyarrow: pip install 'lookalike[export]'.
    """
    from indexer.cli.logs import start_logging
    from indexer.cli.terminal import say
    from indexer.engine.exchange import export_store

    start_logging("warning", invocation.verbosity)
    written = export_store(invocation.load().config, folder, cast("Literal['visual', 'joint']", space))
    say(f"{written.n_rows:,} vectors in {written.n_parts} parts: {folder}")


@click.command("import")
@_FOLDER
@click.option("--trust-space", is_flag=True, help="They are this model's though the folder does not say so.")
@json_option
@global_options
@pass_invocation
def import_(invocation: Invocation, folder: Path, trust_space: bool, as_json: bool) -> int:
    """Take in vectors of FOLDER that were made elsewhere with the same model, so that their files need no encoding.

    A sample is encoded here and compared first: if one differs, nothing is imported. Every file must be there, be a
    picture, and have the SHA-256 that is recorded, if one is. Not beside a running server; the next start indexes what
    lies in the watched folders. The exit code is 3 if some were left out.
    """
    from dataclasses import asdict

    from indexer.cli.door import OK, PARTIAL
    from indexer.cli.logs import start_logging
    from indexer.cli.terminal import print_json, say
    from indexer.engine.exchange import import_store

    start_logging("warning", invocation.verbosity)
    brought = import_store(invocation.load().config, folder, trust_space=trust_space)
    if as_json:
        print_json({**asdict(brought), "left_out": dict(brought.left_out)})
    else:
        say(f"{brought.n_stored:,} stored, {brought.n_known:,} were known; {brought.n_sampled} encoded and compared")
        for why, n in brought.left_out.most_common():
            say(f"{n:,} left out: {why}")
    return PARTIAL if brought.left_out else OK
