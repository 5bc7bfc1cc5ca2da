"""Where the memory has gone: each device's and this process's, taken apart until next to nothing is left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from indexer.types import (
    DeviceLedger,
    DeviceMemory,
    Forecast,
    MemoryPart,
    ProcessLedger,
    ProcessReading,
)

SHARE: Final = 0.9
"""Of the memory that is free; the rest is for batches as they come, and for other programs."""

_ROW_EXTRA_BYTES: Final = 48
"""What a row of the index takes besides its numbers: id, norm, its place in the map, and room to grow."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What this service knows that it holds, bytes.

    Attributes:
        place: Where: `cpu`, or torch's name of a device.
        weights_bytes: The model's.
        index_bytes: The rows', with what stands beside them.
    """

    place: str
    weights_bytes: int
    index_bytes: int


def own_bytes(device: DeviceMemory, pid: int) -> int | None:
    """What the driver says that process `pid` holds; None where it does not tell."""
    return next((process.bytes for process in device.processes if process.pid == pid and process.bytes), None)


def beside_torch_bytes(device: DeviceMemory, pid: int) -> int | None:
    """What this process holds outside torch's allocator; None where the driver does not tell."""
    own = own_bytes(device, pid)
    return None if own is None else max(0, own - device.torch_reserved_bytes)


def device_ledger(device: DeviceMemory, holdings: Holdings, context_bytes: int, pid: int) -> DeviceLedger:
    """A device's memory by what it is used for.

    Weights and rows are tensors; what torch has handed out beyond them at its peak are activations; what it has
    reserved beyond that, nothing has ever needed at once. `context_bytes` is what this process has held outside torch
    for a while: CUDA's context, the libraries' workspaces, FAISS's scratch memory. What is newer is unexplained.
    """
    mine = holdings if device.torch_name and device.torch_name == holdings.place else Holdings("", 0, 0)
    left = device.torch_reserved_bytes
    index = min(mine.index_bytes, left)
    weights = min(mine.weights_bytes, left - index)
    left -= index + weights
    activations = min(max(0, device.torch_peak_bytes - index - weights), left)
    own = own_bytes(device, pid)
    context = min(context_bytes, beside_torch_bytes(device, pid) or 0)
    others = tuple(process for process in device.processes if process.pid != pid)
    parts = {
        "weights": weights,
        "index": index,
        "activations": activations,
        "reserve": left - activations,
        "context": context,
        "other_processes": sum(process.bytes for process in others),
        "driver": device.driver_bytes,
    }
    unexplained = max(0, device.used_bytes - sum(parts.values()))
    explained = device.torch_reserved_bytes + context
    if own is None and device.torch_name:  # as in a container: then whatever nobody is named for may be ours
        own = device.used_bytes - device.driver_bytes - parts["other_processes"]
    return DeviceLedger(
        device=f"gpu{device.index}",
        name=device.name,
        total_bytes=device.total_bytes,
        parts=(*_parts(parts), MemoryPart("unexplained", unexplained)),
        processes=tuple(sorted(others, key=lambda process: -process.bytes)),
        explained_share=min(1.0, explained / own) if own and own > 0 else 1.0,
    )


def process_ledger(reading: ProcessReading, holdings: Holdings, runtime_bytes: int) -> ProcessLedger:
    """The main memory of this process and its children by what it is used for.

    `runtime_bytes` is what has been left over for a while: Python's own objects, and the libraries' data. What is newer
    is unexplained.
    """
    here = holdings.place == "cpu"
    left = reading.own_bytes
    parts = {}
    for name, n_bytes in (
        ("weights", holdings.weights_bytes if here else 0),
        ("index", holdings.index_bytes if here else 0),
        ("heap", max(0, reading.heap_bytes - here * (holdings.weights_bytes + holdings.index_bytes))),
        ("reserve", reading.free_bytes),
    ):
        parts[name] = min(n_bytes, left)  # what was handed out and never written to takes no memory
        left -= parts[name]
    parts["runtime"] = runtime = min(runtime_bytes, left)
    parts["libraries"] = reading.file_bytes
    parts["shared"] = reading.shared_bytes
    parts["decode_children"] = sum(child.bytes for child in reading.children)
    unexplained = left - runtime
    return ProcessLedger(sum(parts.values()) + unexplained, (*_parts(parts), MemoryPart("unexplained", unexplained)))


def forecast(devices: Sequence[DeviceMemory], reading: ProcessReading, holdings: Holdings, row_dim: int) -> Forecast:
    """How many more images fit into what is free where the index is: float16 rows, and one bit a number."""
    device = next((device for device in devices if device.torch_name and device.torch_name == holdings.place), None)
    if device is None:
        room = reading.room_bytes
    else:
        room = device.free_bytes + device.torch_reserved_bytes - device.torch_peak_bytes
    room = max(0, int(SHARE * room))
    return Forecast(room // (2 * row_dim + _ROW_EXTRA_BYTES), room // (-(-row_dim // 8) + _ROW_EXTRA_BYTES))


def _parts(named: dict[str, int]) -> tuple[MemoryPart, ...]:
    return tuple(MemoryPart(name, n_bytes) for name, n_bytes in named.items())
