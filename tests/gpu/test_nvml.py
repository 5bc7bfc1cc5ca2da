"""Device memory as the driver and torch tell it, against a driver with known answers."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from indexer.gpu.nvml import gpu_memory
from indexer.types import DeviceMemory

GIB = 1 << 30
UUIDS = ("GPU-aaaa", "GPU-bbbb")


class NVMLError(Exception):
    pass


class Driver(SimpleNamespace):
    """Two devices; older releases of the binding tell names as bytes."""

    NVMLError = NVMLError
    NAMES = ("NVIDIA L4", b"NVIDIA T4")

    def __init__(self, fails: str = "", n_devices: int = 2) -> None:
        super().__init__(fails=fails, n_devices=n_devices, is_open=False)

    def nvmlInit(self) -> None:
        self._meet("init")
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False
        self._meet("shutdown")

    def nvmlDeviceGetCount(self) -> int:
        self._meet("count")
        return int(self.n_devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        self._meet("memory")
        return SimpleNamespace(total=24 * GIB, used=(handle + 1) * GIB, free=(23 - handle) * GIB)

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return self.NAMES[handle]

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return UUIDS[handle]

    def _meet(self, what: str) -> None:
        if what == self.fails:
            raise NVMLError(f"{what} failed")


class Cuda:
    """Torch's side: it has the devices in another order, and names them without the prefix."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def get_device_properties(self, ordinal: int) -> SimpleNamespace:
        return SimpleNamespace(uuid=("bbbb", "aaaa")[ordinal])

    def memory_allocated(self, ordinal: int) -> int:
        return (ordinal + 1) * 100

    def memory_reserved(self, ordinal: int) -> int:
        return (ordinal + 1) * 200

    def max_memory_allocated(self, ordinal: int) -> int:
        return (ordinal + 1) * 300


def use(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> Driver:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


def test_every_device_is_told_with_what_this_process_has_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = use(monkeypatch, Driver())
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=Cuda()))
    memory = gpu_memory()
    assert memory.available
    assert memory.devices == (
        DeviceMemory(0, "NVIDIA L4", 24 * GIB, 1 * GIB, 23 * GIB, 200, 400, 600),
        DeviceMemory(1, "NVIDIA T4", 24 * GIB, 2 * GIB, 22 * GIB, 100, 200, 300),
    )
    assert not driver.is_open


def test_a_process_that_has_not_used_torch_has_nothing_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Driver())
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert [device.torch_reserved_bytes for device in gpu_memory().devices] == [0, 0]


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver("init"), "no NVIDIA driver answers: init failed"),
        (Driver("count"), "the NVIDIA driver failed: count failed"),
        (Driver("memory"), "the NVIDIA driver failed: memory failed"),
        (Driver(n_devices=0), "the NVIDIA driver shows no device"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_an_answer_the_reason_is_told(driver: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, driver)
    memory = gpu_memory()
    assert (memory.available, memory.reason, memory.devices) == (False, reason, ())
    assert not driver.is_open


def test_a_driver_that_fails_at_the_end_has_answered_before(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Driver("shutdown"))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert len(gpu_memory().devices) == 2
