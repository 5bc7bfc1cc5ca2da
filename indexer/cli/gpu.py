"""`indexer gpu`: where the memory has gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.config import Config
    from search_api.client import Client
    from search_api.schemas import GpuMemoryAnswer


@click.command()
@click.option("--watch", is_flag=True, help="Show it live, with pace and queue, until interrupted. Needs a server.")
@click.option("--release", is_flag=True, help="Give unused memory back, and say what came back. Needs a server.")
@json_option
@global_options
@pass_invocation
def gpu(invocation: Invocation, watch: bool, release: bool, as_json: bool) -> None:
    """Show the memory of every GPU and of the running server.

    What it is used for: weights, index, activations, what the allocators keep, other processes; and how many more
    images fit. Having no GPU is no error.
    """
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_json

    if watch and release:
        raise click.UsageError("--watch and --release do not go together")
    config = invocation.load().config
    if release:
        _release(config, as_json)
    elif watch:
        with _server(config) as client, suppress(KeyboardInterrupt):  # the way to end it
            (_watch_json if as_json else _watch)(client)
    else:
        with open_source(config, invocation.verbosity) as source:
            memory = source.gpu_memory()
        if as_json:
            print_json(memory)
        else:
            _print(memory)


def _print(memory: GpuMemoryAnswer) -> None:
    """A picture on a terminal; elsewhere a row for each device, and one for each part of each ledger."""
    from rich.console import Console

    from indexer.cli.memory_view import MemoryView, gib
    from indexer.cli.terminal import print_rows, say

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(MemoryView(memory))
        return
    if not memory.available:
        say(f"no GPU: {memory.reason}")
    print_rows(
        ("gpu", "total", "used", "free", "allocated", "reserved", "peak", "name"),
        [
            (
                str(device.index),
                *map(gib, (device.total_bytes, device.used_bytes, device.free_bytes)),
                *map(gib, (device.torch_allocated_bytes, device.torch_reserved_bytes, device.torch_peak_bytes)),
                device.name,
            )
            for device in memory.devices
        ],
    )
    ledgers = [(ledger.device, ledger.parts) for ledger in memory.ledger]
    if memory.process:
        ledgers.append(("process", memory.process.parts))
    print_rows(
        ("memory", "part", "bytes"),
        [(device, part.name, str(part.bytes)) for device, parts in ledgers for part in parts],
    )


def _watch(client: Client) -> None:
    import msgspec
    from rich.console import Console
    from rich.live import Live

    from indexer.cli.memory_view import MemoryView
    from search_api.schemas import GpuMemoryAnswer

    memory, queue = client.gpu_memory(), None
    with Live(MemoryView(memory), console=Console(highlight=False), auto_refresh=False, screen=False) as live:
        for topic, data in client.events(["queue", "gpu"]):
            if topic == "queue":
                queue = data
            else:
                memory = msgspec.convert(data, GpuMemoryAnswer)
            live.update(MemoryView(memory, queue), refresh=True)


def _watch_json(client: Client) -> None:
    """A line of JSON for each event."""
    import json

    from indexer.cli.terminal import print_text

    for topic, data in client.events(["queue", "gpu"]):
        print_text(json.dumps({topic: data}, ensure_ascii=False) + "\n")


def _release(config: Config, as_json: bool) -> None:
    from indexer.cli.terminal import print_json, print_rows, say

    with _server(config) as client:
        released = client.release_memory()
    if as_json:
        print_json(released)
        return
    print_rows(("memory", "came back"), [(name, f"{n / 1e6:,.1f} MB") for name, n in released.devices.items()])
    say(f"{released.freed_bytes / 1e6:,.1f} MB came back; what is in use stays")


@contextmanager
def _server(config: Config) -> Iterator[Client]:
    """The running server; raises `Unreachable` where there is none."""
    from indexer.cli.source import server_of
    from indexer.errors import Unreachable

    with server_of(config) as client:
        if client is None:
            raise Unreachable(f"no server runs on {config.store_dir}; start one with: indexer serve")
        yield client
