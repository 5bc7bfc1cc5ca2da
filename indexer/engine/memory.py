"""The memory of the running service: looked at each second, kept, explained, and given back when asked."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from indexer.engine.parts import Parts
from indexer.gpu.nvml import NvmlGauge
from indexer.gpu.process import LinuxProcess
from indexer.history import History
from indexer.leaks import Leaks, Quiet
from indexer.ledger import Holdings, beside_torch_bytes, device_ledger, forecast, process_ledger
from indexer.ports import DeviceGauge, ProcessGauge
from indexer.types import DeviceMemory, GpuMemory, Leak, MemoryHistory, ProcessLedger, ProcessReading, Released

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0

REQUESTS_A_SAMPLE: Final = 2
"""Answers between two looks at this process's size: a leak is to be found within two hundred."""

_WAITING_BYTES: Final = 400
"""What a path takes while it waits, about."""

SETTLED_LOOKS: Final = 60
"""What is left over, and was so at each of so many looks, belongs to CUDA, the libraries and the interpreter."""


class Memory:
    """One thread that looks at the memory each second.

    Args:
        parts: Whose memory it is.
        n_waiting: Paths that wait to be dealt with.
        at_task: Whether something long is being done that nobody waits for.
        devices, process: What tells of it.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        parts: Parts,
        n_waiting: Callable[[], int] = lambda: 0,
        at_task: Callable[[], bool] = lambda: False,
        devices: DeviceGauge | None = None,
        process: ProcessGauge | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._parts = parts
        self._n_waiting = n_waiting
        self._at_task = at_task
        self._devices = devices or NvmlGauge()
        self._process = process or LinuxProcess()
        self._now = now
        self._left_over: dict[str, deque[int]] = {}
        self._history = History()
        self._leaks = Leaks()
        self._idle_leaks = Leaks(idle=True)
        self._quiet = Quiet()
        self._work_seen = 0
        self._numbers = itertools.count(1)
        self._n_requests = 0
        self._weights_bytes = 0
        self._wake = threading.Condition()
        self._looking = threading.Lock()
        self._latest: GpuMemory | None = None
        self._closed = False
        self._is_suspicious = False
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()
        self._devices.close()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts a request; at the end of some, what can be looked at cheaply is."""
        try:
            yield
        finally:
            self._n_requests = number = next(self._numbers)
            if number % REQUESTS_A_SAMPLE == 0:
                self._observe(self._leaks, self._work, self._cheap_sizes())

    @property
    def leaks(self) -> tuple[Leak, ...]:
        """What grows without end."""
        return (*self._leaks.now(), *self._idle_leaks.now())

    def latest(self) -> GpuMemory:
        """As it was at the last look; where nobody looks each second, as it is now."""
        return self._latest if self._latest is not None and self._thread.is_alive() else self.look()

    def history(self, seconds: int) -> MemoryHistory:
        """As `indexer.ports.Engine.memory_history`."""
        return self._history.read(seconds)

    def look(self) -> GpuMemory:
        """Read every gauge, explain what they say, and keep it."""
        with self._looking:
            if (weights_bytes := self._parts.embedder.weights_bytes) < self._weights_bytes:
                self._process.release()  # the model has left: its memory is to leave this process too
            self._weights_bytes = weights_bytes
            self._latest = memory = self._explained(self._devices.read())
            ledgers = [(ledger.device, ledger.parts) for ledger in memory.ledger]
            if memory.process:
                ledgers.append(("process", memory.process.parts))
            values = {(device, part.name): part.bytes for device, parts in ledgers for part in parts}
            self._history.add(self._now(), values)
            sizes, work = self._sizes(memory), self._work
            busy = work != self._work_seen or self._n_waiting() > 0 or self._at_task()
            self._work_seen = work
            quiet = self._quiet.look(self._now(), sizes, busy=busy)
        self._observe(self._leaks, work, sizes)
        if quiet is not None:
            self._observe(self._idle_leaks, *quiet)
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

    @property
    def _work(self) -> int:
        """Done so far."""
        return self._n_requests + self._parts.embedder.n_encoded

    def _observe(self, leaks: Leaks, at: int, sizes: Mapping[str, int]) -> None:
        """Hold sizes against the work done so far, or against the quiet."""
        if leaks.observe(at, self._now(), sizes) and not self._is_suspicious:
            with self._wake:
                self._is_suspicious = True
                self._wake.notify()

    def _cheap_sizes(self) -> dict[str, int]:
        """This process's memory, without what it is right that grows with the number of images."""
        here = self._holdings("cpu")
        held = here.weights_bytes + here.index_bytes
        return {"process": self._process.resident_bytes() - held - self._n_waiting() * _WAITING_BYTES}

    def _sizes(self, memory: GpuMemory) -> dict[str, int]:
        """Every memory that is watched; not the decode processes', which are replaced when they have grown."""
        sizes = self._cheap_sizes()
        if memory.process is not None:
            sizes["shared"] = next(part.bytes for part in memory.process.parts if part.name == "shared")
        for device in memory.devices:
            holdings = self._holdings(device.torch_name)
            mine = holdings.weights_bytes + holdings.index_bytes
            sizes[f"gpu{device.index} tensors"] = device.torch_allocated_bytes - mine
            beside = beside_torch_bytes(device, os.getpid())
            if beside is not None:
                sizes[f"gpu{device.index} driver"] = beside
        return sizes

    def _try_suspects(self) -> None:
        """Memory that an allocator merely keeps comes back when it is asked for it; a leak does not."""
        self._is_suspicious = False
        suspects = {leaks: leaks.suspects() for leaks in (self._leaks, self._idle_leaks)}
        if not any(suspects.values()):
            return
        before = self._sizes(self._devices_now())
        self._devices.release()
        self._process.release()
        after = self._sizes(self._devices_now())
        for leaks, names in suspects.items():
            for leak in leaks.judge({name: before.get(name, 0) - after.get(name, 0) for name in names}):
                logger.warning("perhaps a leak: %s", leak.sentence)

    def _devices_now(self) -> GpuMemory:
        return self._explained(self._devices.read())

    def _held(self) -> dict[str, int]:
        """What this process holds of each device as far as torch tells, and of the main memory."""
        devices = {f"gpu{device.index}": device.torch_reserved_bytes for device in self._devices.read().devices}
        return {**devices, "process": self._process.resident_bytes()}

    def _explained(self, memory: GpuMemory) -> GpuMemory:
        reading = self._process.read(self._parts.decoder.pids)
        return replace(
            memory,
            ledger=tuple(
                device_ledger(each, self._holdings(each.torch_name), self._context(each), os.getpid())
                for each in memory.devices
            ),
            process=self._process_ledger(reading, self._holdings("cpu")),
            leaks=self.leaks,
            forecast=forecast(
                memory.devices, reading, self._holdings(self._parts.device), self._parts.geometry.row_dim
            ),
        )

    def _holdings(self, place: str | None) -> Holdings:
        """What this service holds on a device, or in main memory."""
        parts = self._parts
        weights = sum(load.weights_bytes for load in parts.embedder.queue.devices if load.device == place)
        return Holdings(place or "", weights, parts.index.n_bytes if parts.device == place else 0)

    def _context(self, device: DeviceMemory) -> int:
        return self._settled(f"gpu{device.index}", beside_torch_bytes(device, os.getpid()) or 0)

    def _process_ledger(self, reading: ProcessReading, holdings: Holdings) -> ProcessLedger:
        bare = process_ledger(reading, holdings, runtime_bytes=0)
        return process_ledger(reading, holdings, self._settled("process", bare.parts[-1].bytes))

    def _settled(self, memory: str, left_over: int) -> int:
        """What nothing else explains, and has been there for a while."""
        looks = self._left_over.setdefault(memory, deque(maxlen=SETTLED_LOOKS))
        looks.append(left_over)
        return min(looks)

    def _run(self) -> None:
        while self._wait():
            try:
                if self._is_suspicious:
                    self._try_suspects()
                self.look()
            except Exception:  # a worker's loop: the next look may go better
                logger.exception("the memory cannot be looked at")

    def _wait(self) -> bool:
        """Until the next look, or something is suspicious; False at the end."""
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._is_suspicious, LOOK_S)
            return not self._closed


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
