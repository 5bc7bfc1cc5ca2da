"""`indexer serve` and `indexer watch`: the service, with and without HTTP."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from indexer.cli.options import Invocation, global_options, pass_invocation

if TYPE_CHECKING:
    from indexer.cli.service import Front
    from indexer.config import Config
    from indexer.engine import RunningEngine

logger = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])


def _engine_options(command: Command) -> Command:
    """Adds --folder and --device."""
    for option in (
        click.option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, or a list of them."),
        click.option(
            "--folder",
            "folders",
            metavar="DIR",
            multiple=True,
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Watch this folder instead of the configured ones; may be repeated.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--host", metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", metavar="N", type=click.IntRange(1, 65_535), help="Port to listen on.")
@_engine_options
@global_options
@pass_invocation
def serve(
    invocation: Invocation, host: str | None, port: int | None, folders: tuple[Path, ...], device: str | None
) -> None:
    """Watch the folders and answer searches over HTTP.

    Runs until Ctrl-C or `indexer stop`. Both finish what is under way, within 10 s; a second Ctrl-C stops at once,
    which loses nothing that was acknowledged.
    """
    config = _start(invocation, {"api.host": host, "api.port": port}, folders, device)
    from indexer.cli.service import Front  # only now: it takes half a second, for nothing if the store is in use

    front = Front.at(config)
    with front.listener:
        run(config, front)


@click.command()
@_engine_options
@global_options
@pass_invocation
def watch(invocation: Invocation, folders: tuple[Path, ...], device: str | None) -> None:
    """Keep the index up to date, without HTTP.

    Runs until Ctrl-C or `indexer stop`.
    """
    run(_start(invocation, {}, folders, device), None)


def _start(invocation: Invocation, flags: dict[str, object], folders: tuple[Path, ...], device: str | None) -> Config:
    """Settings with a verb's own flags, and logging as they say."""
    from indexer.cli.logs import start_logging
    from indexer.store.data_dir import DataDir

    flags = {**flags, "model.device": device, "watch.folders": [str(folder.absolute()) for folder in folders] or None}
    config = invocation.load({key: value for key, value in flags.items() if value is not None}).config
    DataDir(config.store_dir).require_free()
    start_logging(config.log.level, invocation.verbosity)
    return config


def run(
    config: Config,
    front: Front | None,
    on_ready: Callable[[RunningEngine, str, threading.Event], None] | None = None,
) -> None:
    """Open the engine, serve, and drain when a signal asks for it.

    Args:
        config: The settings in force.
        front: Where HTTP is answered; None for nowhere.
        on_ready: Called when it is, with the engine, the URL, and an event that is set when a stop is asked for.

    Raises:
        IndexerError: The HTTP service ended, though nobody asked for it.
    """
    from indexer.cli.signals import StopSignals
    from indexer.engine import open_engine
    from indexer.errors import IndexerError
    from indexer.proc import keep_for_good, share_heaps

    share_heaps()
    stopped = threading.Event()
    logger.info("loading %s", config.model.name)
    with StopSignals() as signals, open_engine(config) as engine:
        signals.call(stopped.set)
        keep_for_good()
        if front is None:
            logger.info("ready: watching, without HTTP")
            stopped.wait()
        else:
            _serve(engine, front, stopped, on_ready)
    if not signals.asked:
        raise IndexerError("the HTTP service ended by itself; the log tells why")
    logger.info("stopped")


def _serve(
    engine: RunningEngine,
    front: Front,
    stopped: threading.Event,
    on_ready: Callable[[RunningEngine, str, threading.Event], None] | None,
) -> None:
    with front.answering(engine, stopped) as url:
        engine.publish(url)
        logger.info("ready: %s", url)
        if on_ready is not None:
            on_ready(engine, url, stopped)
        stopped.wait()
