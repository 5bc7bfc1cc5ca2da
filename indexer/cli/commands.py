"""The command `indexer` and its verbs."""

from __future__ import annotations

import rich_click as click

from indexer.cli.demo import demo
from indexer.cli.door import Door
from indexer.cli.duplicates import duplicates
from indexer.cli.embed import embed
from indexer.cli.evaluate import evaluate
from indexer.cli.exchange import export_, import_
from indexer.cli.gpu import gpu
from indexer.cli.model import model
from indexer.cli.options import global_options
from indexer.cli.rebuild import rebuild, rescan
from indexer.cli.recommend import recommend
from indexer.cli.search import search
from indexer.cli.serve import serve, watch
from indexer.cli.settings import config
from indexer.cli.status import status
from indexer.cli.stop import stop
from indexer.cli.tune import tune
from indexer.cli.verify import verify
from indexer.cli.watch_for import watch_for
from indexer.cli.why import why


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"indexer {version('lookalike')}")
        except PackageNotFoundError:
            click.echo("indexer (not installed: run from its source)")
        ctx.exit()


@click.group(cls=Door, context_settings={"help_option_names": ["-h", "--help"]})
@click.rich_config({"commands_before_options": True})
@global_options
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Print the version."
)
def cli() -> None:
    """Drop images into a folder; seconds later they can be searched, by picture and by words."""


for verb in (
    demo, serve, watch, stop, rebuild, rescan, verify, search, duplicates, watch_for, embed, status, why, gpu, tune,
    evaluate, recommend, export_, import_, model, config,
):  # fmt: skip
    cli.add_command(verb)
