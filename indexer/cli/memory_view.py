"""Memory on a terminal: a bar for each device and for the service, with what it is used for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from indexer.cli.terminal import printable

if TYPE_CHECKING:
    from search_api.schemas import GpuMemoryAnswer, MemoryPartAnswer

_COLOURS: Final = {
    "weights": "blue",
    "index": "green",
    "activations": "magenta",
    "heap": "magenta",
    "reserve": "cyan",
    "context": "yellow",
    "runtime": "bright_cyan",
    "libraries": "yellow",
    "shared": "bright_green",
    "decode_children": "bright_blue",
    "driver": "bright_black",
    "other_processes": "white",
    "unexplained": "red",
}
_BAR_WIDTH: Final = 60


def memory_view(memory: GpuMemoryAnswer, queue: dict[str, Any] | None = None) -> Group:
    """Everything that the service tells of its memory; and of its queue, where that is known."""
    lines: list[Text | Table] = []
    for device in memory.ledger:
        lines.append(Text(f"{device.device}  {printable(device.name)}, {device.explained_share:.0%} explained"))
        lines += _shown(device.parts, device.total_bytes)
        lines += [Text(f"  process {p.pid} {printable(p.name)}: {size(p.bytes)}", "dim") for p in device.processes]
    if not memory.available:
        lines.append(Text(f"no GPU: {memory.reason}", "dim"))
    if memory.process:
        lines.append(Text("service, main memory"))
        lines += _shown(memory.process.parts, memory.process.rss_bytes)
    if memory.forecast:
        more, most = memory.forecast.exact_images, memory.forecast.compressed_images
        lines.append(Text(f"room for about {more:,} more images, or {most:,} with one bit a number"))
    lines += [Text(f"leak: {leak.sentence}", "bold red") for leak in memory.leaks]
    if queue is not None:
        lines.append(_queue(queue))
    return Group(*lines)


def gib(n_bytes: int) -> str:
    """Bytes for people, always in the same unit."""
    return f"{n_bytes / 2**30:.2f} GiB"


def size(n_bytes: int) -> str:
    """Bytes for people."""
    return gib(n_bytes) if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"


def _shown(parts: Sequence[MemoryPartAnswer], total_bytes: int) -> list[Text | Table]:
    bar = Text("  ")
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    width = 0
    at = 0
    for part in parts:
        at += part.bytes
        end = round(_BAR_WIDTH * at / max(total_bytes, 1))
        bar.append("█" * (end - width), _COLOURS.get(part.name, "white"))
        width = max(width, end)
        if part.bytes:
            table.add_row(Text(part.name, _COLOURS.get(part.name, "white")), size(part.bytes))
    bar.append("░" * (_BAR_WIDTH - width), "bright_black")
    used = sum(part.bytes for part in parts)
    bar.append(f"  {size(used)}" + (f" of {size(total_bytes)}" if total_bytes != used else ""))
    return [bar, table]


def _queue(queue: dict[str, Any]) -> Text:
    devices = queue.get("devices", [])
    each = [f"\n  {printable(load['device'])} {load['state']}, busy {load['busy_share']:.0%}" for load in devices]
    return Text(
        f"{queue['images_per_s']:,.1f} images/s, busy {queue['busy_share']:.0%}, batch {queue['batch_size']:,}, "
        f"{queue['depth']:,} waiting (the first for {queue['oldest_s']:.1f} s), "
        f"{queue['rejected_total']:,} refused, limited by {queue['limited_by']}"
        + "".join(each if len(each) > 1 else [])
    )
