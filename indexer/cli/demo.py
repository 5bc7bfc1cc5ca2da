"""`indexer demo`: the whole service on drawn pictures and a tiny model, offline."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from indexer.cli.options import Invocation, global_options, pass_invocation

if TYPE_CHECKING:
    from rich.console import Console

    from indexer.cli.demo_folder import DemoFolder
    from indexer.config import Config
    from indexer.engine import RunningEngine

POLL_S: Final = 0.1


@click.command()
@click.option("--dir", "folder", metavar="DIR", type=click.Path(path_type=Path), default=Path("demo"),
              show_default=True, help="Where pictures, store and settings are kept.")  # fmt: skip
@click.option(
    "--port", metavar="N", type=click.IntRange(1, 65_535), help="Port to listen on; the next free one if taken."
)
@click.option("--images", "n_images", metavar="N", type=click.IntRange(0, 100_000), default=200, show_default=True,
              help="How many scenes to draw, the first time.")  # fmt: skip
@global_options
@pass_invocation
def demo(invocation: Invocation, folder: Path, port: int | None, n_images: int) -> None:
    """Try it all on drawn pictures and a tiny model.

    Draws sample pictures, indexes and serves them until Ctrl-C. Needs no download. Started again, it keeps pictures
    and index.
    """
    if invocation.file is not None:
        raise click.UsageError("the demo has its own settings, in its --dir; leave --config out")

    from indexer.cli.demo_folder import DemoFolder
    from indexer.cli.logs import start_logging
    from indexer.cli.serve import run
    from indexer.cli.service import Front
    from indexer.cli.terminal import print_text, say

    home = DemoFolder(folder.expanduser().absolute())
    config = home.load({**invocation.flags, **({"api.port": port} if port else {})}).config
    console = start_logging("warning", invocation.verbosity)
    if invocation.verbosity == 0:
        logging.getLogger("indexer.cli.signals").setLevel(logging.INFO)  # what Ctrl-C does is told in any case
    _refuse_second(config)
    front = Front.at(config, or_next=True)
    if front.port != config.api.port:
        say(f"port {config.api.port} is taken; using {front.port}")

    def on_ready(engine: RunningEngine, url: str, stopped: threading.Event) -> None:
        _index(engine, stopped, console)
        if not stopped.is_set():
            print_text(welcome(url, home, program()))

    with front.listener:
        _draw(home, n_images, console)
        say("starting the service")
        run(config, front, on_ready)


def _refuse_second(config: Config) -> None:
    from indexer.engine import running_server
    from indexer.errors import StoreLocked

    holder = running_server(config)
    if holder is not None:
        where = f" at {holder.url}" if holder.url else ""
        raise StoreLocked(
            f"this demo runs already{where} (process {holder.pid}); stop it with Ctrl-C there, or choose another --dir",
            holder.pid,
        )


def _draw(home: DemoFolder, n_images: int, console: Console) -> None:
    from indexer.cli.bar import Bar
    from indexer.cli.terminal import say
    from indexer.types import Progress

    started_s = time.monotonic()
    n_drawn = 0
    with Bar("drawing", console) as bar:
        for n_drawn in home.draw(n_images):
            rate = n_drawn / max(time.monotonic() - started_s, 1e-3)
            bar.show(Progress("draw", True, n_drawn, n_images, rate, (n_images - n_drawn) / rate))
    if n_drawn:
        say(f"drew {n_drawn:,} pictures in {time.monotonic() - started_s:.1f} s")


def _index(engine: RunningEngine, stopped: threading.Event, console: Console) -> None:
    """Show how indexing goes until nothing is left to do."""
    from indexer.cli.bar import Bar
    from indexer.cli.terminal import say
    from indexer.types import Progress

    started_s = time.monotonic()
    with Bar("indexing", console) as bar:
        while not stopped.is_set() and not engine.wait_idle(POLL_S):
            stats = engine.stats()
            n_done = stats.files + stats.errors
            bar.show(Progress("index", True, n_done, n_done + stats.pending, stats.images_per_s, None))
    stats = engine.stats()
    say(
        f"indexed {stats.indexed:,} pictures in {time.monotonic() - started_s:.1f} s: {stats.encoded_total:,} encoded, "
        f"{max(0, stats.indexed - stats.encoded_total):,} known already"
    )


def welcome(url: str, home: DemoFolder, command: str) -> str:
    """Where the demo is, where pictures go, and commands that work as they stand."""
    from indexer.cli.demo_folder import EXAMPLE_WORDS

    question = shlex.quote(f'{{"text": "{EXAMPLE_WORDS}", "limit": 3}}')
    commands = [
        f"{command} --config {shlex.quote(str(home.settings))} search {EXAMPLE_WORDS}",
        f"curl -s {url}/api/search -H 'content-type: application/json' -d {question}",
    ]
    example = home.example()
    if example is not None:
        picture = shlex.quote(f"@{example}")
        commands.append(
            f"curl -s '{url}/api/search/image?limit=3' -H 'content-type: image/jpeg' --data-binary {picture}"
        )
    tries = "\n".join(f"  {each}" for each in commands)
    return (
        f"\nThe demo is ready:     {url}\nDrop pictures into:    {home.pictures}\n"
        f"\nTry, in another terminal:\n{tries}\n\nCtrl-C stops it.\n"
    )


def program() -> str:
    """How to call this program again from any folder."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "indexer"])
    found = shutil.which("indexer")
    if found and called.exists() and os.path.samefile(found, called):
        return "indexer"
    return shlex.quote(str(called.absolute()))
