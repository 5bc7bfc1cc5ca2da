"""The memory of the running service: looked at each second, kept, explained, and given back when asked."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from indexer.engine.parts import Parts
from indexer.gpu.nvml import NvmlGauge
from indexer.gpu.process import LinuxProcess
from indexer.history import History
from indexer.ledger import Holdings, beside_torch_bytes, device_ledger, forecast, process_ledger
from indexer.ports import DeviceGauge, ProcessGauge
from indexer.types import DeviceMemory, GpuMemory, MemoryHistory, Released

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0

SETTLED_LOOKS: Final = 60
"""What this process has held outside torch's allocator over so many looks is the context."""


class Memory:
    """One thread that looks at the memory each second.

    Args:
        parts: Whose memory it is.
        devices, process: What tells of it.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        parts: Parts,
        devices: DeviceGauge | None = None,
        process: ProcessGauge | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._parts = parts
        self._devices = devices or NvmlGauge()
        self._process = process or LinuxProcess()
        self._now = now
        self._beside_torch: dict[int, deque[int]] = {}
        self._history = History()
        self._looking = threading.Lock()
        self._latest: GpuMemory | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._devices.close()

    def latest(self) -> GpuMemory:
        """As it was at the last look; where nobody looks each second, as it is now."""
        return self._latest if self._latest is not None and self._thread.is_alive() else self.look()

    def history(self, seconds: int) -> MemoryHistory:
        """As `indexer.ports.Engine.memory_history`."""
        return self._history.read(seconds)

    def look(self) -> GpuMemory:
        """Read every gauge, explain what they say, and keep it."""
        with self._looking:
            self._latest = memory = self._explained(self._devices.read())
            ledgers = [(ledger.device, ledger.parts) for ledger in memory.ledger]
            if memory.process:
                ledgers.append(("process", memory.process.parts))
            values = {(device, part.name): part.bytes for device, parts in ledgers for part in parts}
            self._history.add(self._now(), values)
            return memory

    def release(self) -> Released:
        """As `indexer.ports.Engine.release_memory`."""
        before = self._held()
        self._devices.release()
        self._process.release()
        after = self._held()
        freed = {name: max(0, n_bytes - after.get(name, n_bytes)) for name, n_bytes in before.items()}
        logger.info("gave back %.0f MB of unused memory", sum(freed.values()) / 1e6)
        self.look()
        return Released(sum(freed.values()), freed)

    def _held(self) -> dict[str, int]:
        """What this process holds of each device as far as torch tells, and of the main memory."""
        devices = {f"gpu{device.index}": device.torch_reserved_bytes for device in self._devices.read().devices}
        return {**devices, "process": self._process.resident_bytes()}

    def _explained(self, memory: GpuMemory) -> GpuMemory:
        holdings = self._holdings()
        reading = self._process.read(self._parts.decoder.pids)
        return replace(
            memory,
            ledger=tuple(device_ledger(each, holdings, self._context(each), os.getpid()) for each in memory.devices),
            process=process_ledger(reading, holdings),
            forecast=forecast(memory.devices, reading, holdings, self._parts.geometry.row_dim),
        )

    def _holdings(self) -> Holdings:
        parts = self._parts
        return Holdings(parts.device, parts.embedder.weights_bytes, parts.index.n_bytes)

    def _context(self, device: DeviceMemory) -> int:
        held = self._beside_torch.setdefault(device.index, deque(maxlen=SETTLED_LOOKS))
        n_bytes = beside_torch_bytes(device, os.getpid())
        if n_bytes is not None:
            held.append(n_bytes)
        return min(held, default=0)

    def _run(self) -> None:
        while not self._closed.wait(LOOK_S):
            try:
                self.look()
            except Exception:  # a worker's loop: the next look may go better
                logger.exception("the memory cannot be looked at")


def offline_memory() -> GpuMemory:
    """The devices' memory without a service: what other processes hold of it."""
    gauge = NvmlGauge()
    try:
        memory = gauge.read()
        nothing = Holdings("", 0, 0)
        ledger = tuple(device_ledger(device, nothing, 0, os.getpid()) for device in memory.devices)
        return replace(memory, ledger=ledger)
    finally:
        gauge.close()
