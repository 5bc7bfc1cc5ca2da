"""How much memory a device has for the encoder, and how much the encoder takes of it."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

from indexer.encoder.device import Placement
from indexer.ports import MemoryMeter
from indexer.proc import group_limits, kib, room_bytes, text

SHARE: Final = 0.9
"""Of the memory that is free. The rest is for fragments, for the index as it grows, and for other programs."""

BESIDE_WEIGHTS: Final = 1.5
"""What an encoder takes, in its weights."""


def meter_of(placement: Placement) -> MemoryMeter:
    """The meter of a device."""
    return CudaMeter(placement.device) if placement.device.type == "cuda" else CpuMeter()


def total_bytes(device: torch.device) -> int:
    """The device's memory, other programs' included; of the CPU, as much as this process may have at most."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for limit, _ in group_limits())])


def free_bytes(device: torch.device) -> int:
    """Of that memory, what nobody uses now; of the CPU, what this process may still take."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else room_bytes(Path("/"))


def has_room(device: torch.device, weights_bytes: int) -> bool:
    """Whether one more encoder with such weights, and half as much for its batches, fits there now."""
    return bool(BESIDE_WEIGHTS * weights_bytes <= SHARE * free_bytes(device))


def device_name(device: torch.device) -> str:
    """The device as its maker calls it; of a CPU also how many threads compute."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    found = re.search(r"^model name\s*:\s*(.+)$", text(Path("/proc/cpuinfo")), re.MULTILINE)
    return f"{found[1].strip() if found else 'CPU'}, {torch.get_num_threads()} threads"


class CudaMeter:
    """Memory that torch's allocator holds on a CUDA device: tensors, and what it keeps for the next ones.

    The CUDA context is not in it, and is no longer free when the budget is made. Source: torch.cuda memory management.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.budget_bytes = int(SHARE * (free_bytes(device) + torch.cuda.memory_reserved(device)))

    @property
    def device_name(self) -> str:
        return device_name(self._device)

    def start(self) -> None:
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def peak_bytes(self) -> int:
        return int(torch.cuda.max_memory_reserved(self._device))


class CpuMeter:
    """Resident memory of this process, less what it held when the meter was made. Linux: elsewhere it is always 0.

    Source: proc(5), `VmHWM` and `clear_refs`.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        """`root` is where /proc and /sys are."""
        self._root = root
        self._held_bytes = self._status("VmRSS")
        self.budget_bytes = int(SHARE * room_bytes(root))

    @property
    def device_name(self) -> str:
        return device_name(torch.device("cpu"))

    def start(self) -> None:
        with suppress(OSError):  # not allowed: the peak since the process began is right too, for growing batches
            (self._root / "proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        return max(0, self._status("VmHWM") - self._held_bytes)

    def _status(self, name: str) -> int:
        return kib(name, self._root / "proc/self/status")
