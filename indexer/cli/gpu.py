"""`indexer gpu`: what memory the GPUs have left."""

from __future__ import annotations

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation


@click.command()
@json_option
@global_options
@pass_invocation
def gpu(invocation: Invocation, as_json: bool) -> None:
    """Show the memory of every GPU.

    Also what the running server holds of it. Having no GPU is no error.
    """
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_json, print_rows, say

    with open_source(invocation.load().config, invocation.verbosity) as source:
        memory = source.gpu_memory()
    if as_json:
        print_json(memory)
        return
    if not memory.available:
        say(f"no GPU: {memory.reason}")
        return
    print_rows(
        ("gpu", "total", "used", "free", "allocated", "reserved", "peak", "name"),
        [
            (
                str(device.index),
                *map(_gib, (device.total_bytes, device.used_bytes, device.free_bytes)),
                *map(_gib, (device.torch_allocated_bytes, device.torch_reserved_bytes, device.torch_peak_bytes)),
                device.name,
            )
            for device in memory.devices
        ],
    )


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.2f} GiB"
