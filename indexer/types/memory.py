"""Memory: what it is used for, how it changes, and what leaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leak:
    """Memory that grows with the work done, or while nothing is done, and does not come back.

    Attributes:
        component: Which memory, such as `process` or `gpu0 tensors`.
        bytes_per_s: Its growth.
        bytes_per_request: The same by work: a request, or a picture encoded. 0 where it grows while nothing is done.
        since: When it began, as far as was seen, seconds since the epoch.
        sentence: The same for people.
    """

    component: str
    bytes_per_s: float
    bytes_per_request: float
    since: float
    sentence: str


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """What a part of a memory is for, and its size."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """What a process holds of a memory."""

    pid: int
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of one device, bytes. The NVML figures are of the whole device, the torch ones of this process."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    torch_allocated_bytes: int
    torch_reserved_bytes: int
    torch_peak_bytes: int
    torch_name: str = ""
    """What torch calls the device; empty where it does not use it."""
    driver_bytes: int = 0
    """What the driver keeps for itself, where it tells."""
    processes: tuple[ProcessMemory, ...] = ()
    """Who uses the device, this process too, as far as the driver tells."""


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """What a device's memory is used for.

    Attributes:
        device: `gpu0` and so on, by the driver's numbers.
        name: The device, as its maker calls it.
        total_bytes: All that there is.
        parts: They add up to what is used. `weights`; `index` (rows); `activations` at their peak; `reserve`, which
            torch's allocator keeps beyond that; `context`, which CUDA and its libraries hold; `other_processes`;
            `driver`; and `unexplained`.
        processes: The others.
        explained_share: Of what the driver says that this process holds, 0 to 1; where it names no process, of what is
            used by nobody named.
    """

    device: str
    name: str
    total_bytes: int
    parts: tuple[MemoryPart, ...]
    processes: tuple[ProcessMemory, ...]
    explained_share: float


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """What the kernel and the C library tell of this process's main memory, bytes.

    Attributes:
        own_bytes: Resident, and backed by no file.
        file_bytes: Resident pages of files: the libraries' code above all.
        shared_bytes: Resident shared memory.
        heap_bytes: Handed out by the C library's allocator.
        free_bytes: Kept by it for the next who asks.
        children: What was asked about, each with its share of what it has in common with others.
        room_bytes: What this process may still take.
    """

    own_bytes: int
    file_bytes: int
    shared_bytes: int
    heap_bytes: int
    free_bytes: int
    children: tuple[ProcessMemory, ...]
    room_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessLedger:
    """What this process and its children hold of the main memory.

    Attributes:
        rss_bytes: All of it.
        parts: They add up to that. `weights` and `index` where they are not on a device; `heap`, all else that the C
            library's allocator has handed out; `reserve`, which it keeps; `runtime`, Python's objects and the
            libraries' data; `libraries`, their code; `shared` memory; `decode_children`; and `unexplained`.
    """

    rss_bytes: int
    parts: tuple[MemoryPart, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many more images fit beside what there is, about: their rows as they are, and with a bit a number."""

    exact_images: int
    compressed_images: int


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """`available` is False without a driver or a device, and `reason` says which; the rest is there without a GPU too.

    Attributes:
        ledger: What each device's memory is used for.
        process: What this service holds of the main memory; None where no service answers.
        forecast: How many more images fit.
        leaks: What grows without end.
    """

    available: bool
    reason: str = ""
    devices: tuple[DeviceMemory, ...] = ()
    ledger: tuple[DeviceLedger, ...] = ()
    process: ProcessLedger | None = None
    forecast: Forecast | None = None
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True, slots=True)
class MemorySeries:
    """The course of one part; None where it was not there."""

    device: str
    name: str
    bytes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class MemoryHistory:
    """The parts of every ledger over time: each second for ten minutes, or the largest of each minute for a day."""

    step_s: int
    times: tuple[float, ...]
    series: tuple[MemorySeries, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """What came back when unused memory was given back: in all, and by `gpu0`, ... and `process`."""

    freed_bytes: int
    devices: Mapping[str, int]
