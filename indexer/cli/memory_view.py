"""Memory, pace and queue on a terminal: a bar for each, as wide as the terminal, what matters most at the top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.columns import Columns
from rich.padding import Padding
from rich.text import Text

from indexer.cli.terminal import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from search_api.schemas import DeviceLedgerAnswer, GpuMemoryAnswer, MemoryPartAnswer

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
_WIDEST: Final = 120
_BUSY_WIDTH: Final = 20


@dataclass(frozen=True, slots=True)
class MemoryView:
    """Everything that the service tells of its memory; and of its queue, where that is known.

    A page of 80 columns and 24 lines holds it all for one GPU.
    """

    memory: GpuMemoryAnswer
    queue: dict[str, Any] | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        width = min(options.max_width, _WIDEST)
        memory = self.memory
        if self.queue is not None:
            yield from _queue(self.queue)
        for device in memory.ledger:
            yield from _device(device, width)
        if not memory.available:
            yield Text(f"no GPU: {memory.reason}", "dim")
        if memory.process:
            yield Text(f"service's main memory, {size(memory.process.rss_bytes)}", "bold")
            yield from _shown(memory.process.parts, memory.process.rss_bytes, width)
        if memory.forecast:
            more, most = map(_roughly, (memory.forecast.exact_images, memory.forecast.compressed_images))
            yield Text(f"room for about {more} more images ({most} as one-bit codes alone)")
        yield from (Text(f"leak: {leak.sentence}", "bold red") for leak in memory.leaks)


def gib(n_bytes: int) -> str:
    """Bytes for people, always in the same unit."""
    return f"{n_bytes / 2**30:.2f} GiB"


def size(n_bytes: int) -> str:
    """Bytes for people."""
    return gib(n_bytes) if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"


def _roughly(n: int) -> str:
    """Two figures: a forecast knows no more."""
    return f"{int(float(f'{n:.2g}')):,}"


def _device(ledger: DeviceLedgerAnswer, width: int) -> Iterator[RenderableType]:
    used = sum(part.bytes for part in ledger.parts)
    told = f"{size(used)} of {size(ledger.total_bytes)}, {ledger.explained_share:.0%} of ours explained"
    yield Text(f"{ledger.device}  {printable(ledger.name)}, {told}", "bold")
    yield from _shown(ledger.parts, ledger.total_bytes, width)
    if ledger.processes:
        others = ", ".join(f"{p.pid} {printable(p.name)} {size(p.bytes)}" for p in ledger.processes)
        yield Text(f"  other processes: {others}", "dim", no_wrap=True, overflow="ellipsis")


def _shown(parts: Sequence[MemoryPartAnswer], total_bytes: int, width: int) -> Iterator[RenderableType]:
    """A bar of all there is, and under it what its colours mean."""
    bar, legend = Text("  "), []
    room, at, drawn = width - 4, 0, 0
    for part in parts:
        colour = _COLOURS.get(part.name, "white")
        at += part.bytes
        end = round(room * at / max(total_bytes, 1))
        bar.append("█" * (end - drawn), colour)
        drawn = max(drawn, end)
        if part.bytes:
            legend.append(Text("■ ", colour).append(f"{part.name} {size(part.bytes)}", ""))
    yield bar.append("░" * (room - drawn), "bright_black")
    yield Padding(Columns(legend, padding=(0, 2)), (0, 2))


def _queue(queue: dict[str, Any]) -> Iterator[Text]:
    """Pace and queue, then each encoder where there are several."""
    pace = f"{queue['images_per_s']:,.1f} images/s, batch {queue['batch_size']:,}, limited by {queue['limited_by']}"
    yield _busy(queue["busy_share"]).append(pace)
    waiting = f"{queue['depth']:,} waiting" + (f", the first for {queue['oldest_s']:.1f} s" if queue["depth"] else "")
    yield Text(f"{waiting}, {queue['rejected_total']:,} refused since the start")
    loads = queue.get("devices", [])
    for load in loads if len(loads) > 1 or any(load.get("trouble") for load in loads) else ():
        line = f"{printable(load['device'])} {load['state']}, {load['images_per_s']:,.1f} images/s"
        trouble = f": {printable(load['trouble'])}" if load.get("trouble") else ""
        yield _busy(load["busy_share"]).append(line + trouble, "red" if trouble else "")


def _busy(share: float) -> Text:
    n = round(_BUSY_WIDTH * share)
    bar = Text("busy ", no_wrap=True, overflow="ellipsis").append("█" * n, "green")
    return bar.append("░" * (_BUSY_WIDTH - n), "bright_black").append(f" {share:4.0%}  ")
