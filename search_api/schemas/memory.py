"""Memory of devices and of the service."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from search_api.schemas.state import LeakAnswer


class DeviceMemoryAnswer(Struct, frozen=True):
    """Memory of one device, bytes. `total`, `used` and `free` are of the device, `torch_*` of this process."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    torch_allocated_bytes: int
    torch_reserved_bytes: int
    torch_peak_bytes: int


class MemoryPartAnswer(Struct, frozen=True):
    """What a part of a memory is for."""

    name: Annotated[str, Meta(examples=["weights"])]
    bytes: int


class ProcessMemoryAnswer(Struct, frozen=True):
    """What another program holds of a device."""

    pid: int
    name: str
    bytes: int


class DeviceLedgerAnswer(Struct, frozen=True):
    """What a device's memory is used for."""

    device: Annotated[str, Meta(examples=["gpu0"])]
    name: str
    total_bytes: int
    parts: Annotated[
        list[MemoryPartAnswer],
        Meta(
            description="They add up to what is used: `weights`, `index`, `activations` (at their peak), `reserve` "
            "(what torch's allocator keeps beyond that), `context` (what CUDA and its libraries hold), "
            "`other_processes`, `driver`, `unexplained`."
        ),
    ]
    processes: Annotated[list[ProcessMemoryAnswer], Meta(description="The others, the largest first.")]
    explained_share: Annotated[float, Meta(description="Of what the driver says that this service holds, 0 to 1.")]


class ProcessLedgerAnswer(Struct, frozen=True):
    """What the service and its children hold of the main memory."""

    rss_bytes: int
    parts: Annotated[
        list[MemoryPartAnswer],
        Meta(
            description="They add up to it: `weights` and `index` where no GPU holds them, `heap`, `reserve` (what "
            "the C library's allocator keeps), `runtime`, `libraries`, `shared`, `decode_children`, `unexplained`."
        ),
    ]


class ForecastAnswer(Struct, frozen=True):
    """How many more images fit, about: with rows as they are, and with one bit a number."""

    exact_images: int
    compressed_images: int


class GpuMemoryAnswer(Struct, frozen=True):
    """Where the memory has gone; without a GPU `available` is false and `reason` says why, the rest is there."""

    available: bool
    reason: str
    devices: list[DeviceMemoryAnswer]
    ledger: list[DeviceLedgerAnswer] = []
    process: Annotated[
        ProcessLedgerAnswer | None, Meta(description="The service's main memory; null where none runs.")
    ] = None
    forecast: ForecastAnswer | None = None
    leaks: list[LeakAnswer] = []


class MemorySeriesAnswer(Struct, frozen=True):
    """The course of one part."""

    device: Annotated[str, Meta(description="As in the ledger, or `process`.", examples=["gpu0"])]
    name: Annotated[str, Meta(examples=["weights"])]
    bytes: Annotated[list[int | None], Meta(description="One for each time; null where the part was not there.")]


class MemoryHistoryAnswer(Struct, frozen=True):
    """The parts of every ledger over time."""

    step_s: Annotated[int, Meta(description="1; or 60, with the largest value of each minute.", examples=[1])]
    times: Annotated[list[float], Meta(description="Seconds since 1970-01-01 UTC.")]
    series: list[MemorySeriesAnswer]


class ReleasedAnswer(Struct, frozen=True):
    """What came back."""

    freed_bytes: int
    devices: Annotated[dict[str, int], Meta(description="By `gpu0`, ... and `process`.")]
