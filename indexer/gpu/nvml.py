"""Device memory by NVML (whole device) and torch (this process)."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import ModuleType

from indexer.types import DeviceMemory, GpuMemory


def gpu_memory() -> GpuMemory:
    """Memory of every NVIDIA device that the driver shows; never raises.

    Without a driver or a device, `available` is False and `reason` says which. Torch's figures are zero for a device
    that this process has not used. Source: NVML API reference, "Device Queries".
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as e:
        return GpuMemory(available=False, reason=f"no NVIDIA driver answers: {e}")
    try:
        n_devices = pynvml.nvmlDeviceGetCount()
        if n_devices == 0:
            return GpuMemory(available=False, reason="the NVIDIA driver shows no device")
        return GpuMemory(available=True, devices=tuple(_device(pynvml, index) for index in range(n_devices)))
    except pynvml.NVMLError as e:
        return GpuMemory(available=False, reason=f"the NVIDIA driver failed: {e}")
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _device(pynvml: ModuleType, index: int) -> DeviceMemory:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name = pynvml.nvmlDeviceGetName(handle)
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    allocated, reserved, peak = _torch_memory(uuid if isinstance(uuid, str) else uuid.decode())
    return DeviceMemory(
        index=index,
        name=name if isinstance(name, str) else name.decode(),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
        free_bytes=int(memory.free),
        torch_allocated_bytes=allocated,
        torch_reserved_bytes=reserved,
        torch_peak_bytes=peak,
    )


def _torch_memory(uuid: str) -> tuple[int, int, int]:
    """Torch's allocated, reserved and peak bytes on the device, found by UUID: torch has its own order of devices."""
    torch = sys.modules.get("torch")  # not imported means not used
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0, 0, 0
    for ordinal in range(torch.cuda.device_count()):
        if uuid.endswith(str(torch.cuda.get_device_properties(ordinal).uuid)):
            return (
                torch.cuda.memory_allocated(ordinal),
                torch.cuda.memory_reserved(ordinal),
                torch.cuda.max_memory_allocated(ordinal),
            )
    return 0, 0, 0
