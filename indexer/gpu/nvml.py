"""Device memory by NVML (whole device) and torch (this process)."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

from indexer.proc import process_name
from indexer.types import DeviceMemory, GpuMemory, ProcessMemory


def gpu_memory() -> GpuMemory:
    """Memory of every NVIDIA device that the driver shows, once; see `NvmlGauge.read`."""
    gauge = NvmlGauge()
    try:
        return gauge.read()
    finally:
        gauge.close()


class NvmlGauge:
    """Port `DeviceGauge`: the driver by NVML, the allocator by torch. Source: NVML API reference, "Device Queries".

    Torch is not imported for it: who has not done so uses no device. NVML stays open between readings, for opening it
    takes longer than all else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False

    def read(self) -> GpuMemory:
        """Every device that the driver shows.

        Without a driver or a device, `available` is False and `reason` says which. Torch's figures are zero for a
        device that this process has not used.
        """
        import pynvml

        with self._lock:
            try:
                self._open(pynvml)
            except pynvml.NVMLError as e:
                return GpuMemory(available=False, reason=f"no NVIDIA driver answers: {e}")
            try:
                n_devices = pynvml.nvmlDeviceGetCount()
                if n_devices == 0:
                    return GpuMemory(available=False, reason="the NVIDIA driver shows no device")
                return GpuMemory(available=True, devices=tuple(_device(pynvml, index) for index in range(n_devices)))
            except pynvml.NVMLError as e:
                self._close(pynvml)  # a driver that was reloaded is found again
                return GpuMemory(available=False, reason=f"the NVIDIA driver failed: {e}")

    def release(self) -> None:
        gc.collect()
        torch = _torch()
        if torch is not None:
            torch.cuda.empty_cache()

    def close(self) -> None:
        import pynvml

        with self._lock:
            self._close(pynvml)

    def _open(self, pynvml: ModuleType) -> None:
        if not self._is_open:
            pynvml.nvmlInit()
            self._is_open = True

    def _close(self, pynvml: ModuleType) -> None:
        if self._is_open:
            self._is_open = False
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _device(pynvml: ModuleType, index: int) -> DeviceMemory:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    torch = _torch_memory(_text(pynvml.nvmlDeviceGetUUID(handle)))
    return DeviceMemory(
        index=index,
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        free_bytes=int(memory.free),
        torch_allocated_bytes=torch.allocated_bytes,
        torch_reserved_bytes=torch.reserved_bytes,
        torch_peak_bytes=torch.peak_bytes,
        torch_name=torch.name,
        driver_bytes=_driver_bytes(pynvml, handle),
        processes=tuple(_processes(pynvml, handle)),
    )


def _driver_bytes(pynvml: ModuleType, handle: Any) -> int:
    """What the driver keeps for itself. The first version of the answer counts it as used without a word."""
    with suppress(pynvml.NVMLError, AttributeError):
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).reserved)
    return 0


def _processes(pynvml: ModuleType, handle: Any) -> Iterable[ProcessMemory]:
    """Who computes or draws on the device, each once. In a container the driver may tell nobody, or not how much."""
    found: dict[int, ProcessMemory] = {}
    for ask in ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetGraphicsRunningProcesses"):
        with suppress(pynvml.NVMLError):
            for process in getattr(pynvml, ask)(handle):
                n_bytes = int(process.usedGpuMemory or 0)
                name = found[process.pid].name if process.pid in found else _name(pynvml, process.pid)
                found[process.pid] = ProcessMemory(process.pid, name, n_bytes)
    return found.values()


def _name(pynvml: ModuleType, pid: int) -> str:
    if pid == os.getpid():
        return process_name(pid)
    with suppress(pynvml.NVMLError):
        return os.path.basename(_text(pynvml.nvmlSystemGetProcessName(pid)).split(" ")[0])
    return process_name(pid)


class _TorchMemory(NamedTuple):
    name: str = ""
    allocated_bytes: int = 0
    reserved_bytes: int = 0
    peak_bytes: int = 0


def _torch_memory(uuid: str) -> _TorchMemory:
    """Torch's figures of the device, found by UUID: torch has its own order of devices."""
    torch = _torch()
    for ordinal in range(torch.cuda.device_count()) if torch else ():
        if uuid.endswith(str(torch.cuda.get_device_properties(ordinal).uuid)):
            return _TorchMemory(
                f"cuda:{ordinal}",
                torch.cuda.memory_allocated(ordinal),
                torch.cuda.memory_reserved(ordinal),
                torch.cuda.max_memory_allocated(ordinal),
            )
    return _TorchMemory()


def _torch() -> Any:
    """Torch, where this process uses a CUDA device; else None."""
    torch = sys.modules.get("torch")
    uses_cuda = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch if uses_cuda else None


def _text(value: str | bytes) -> str:
    """Older releases of the binding answer in bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")
