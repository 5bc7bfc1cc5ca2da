"""The memory of a running engine: explained, kept over time, and given back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.engine.memory import SETTLED_LOOKS, Memory
from indexer.types import DeviceMemory, GpuMemory, ProcessMemory, ProcessReading
from tests.engine.test_engine import engine_at, eventually

GIB = 1 << 30


class Device:
    """Port `DeviceGauge`: torch keeps 3 GiB, and `beside` is held outside it."""

    def __init__(self) -> None:
        self.beside = GIB
        self.reserved = 3 * GIB
        self.closed = False

    def read(self) -> GpuMemory:
        own = ProcessMemory(os.getpid(), "python", self.reserved + self.beside)
        device = DeviceMemory(
            0, "L4", 24 * GIB, own.bytes, 24 * GIB - own.bytes, GIB, self.reserved, 2 * GIB, "cuda:0", 0, (own,)
        )
        return GpuMemory(True, devices=(device,))

    def release(self) -> None:
        self.reserved = 2 * GIB

    def close(self) -> None:
        self.closed = True


class Process:
    """Port `ProcessGauge`."""

    def __init__(self) -> None:
        self.n_bytes = 1000

    def read(self, children: object) -> ProcessReading:
        return ProcessReading(self.n_bytes, 0, 0, 0, 0, (), 10_000)

    def resident_bytes(self) -> int:
        return self.n_bytes

    def release(self) -> None:
        self.n_bytes = 400


def test_a_running_engine_tells_its_own_memory_and_keeps_its_course(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        memory = engine.gpu_memory()
        assert memory.process is not None
        assert memory.process.rss_bytes == sum(part.bytes for part in memory.process.parts) > 1 << 20
        assert memory.forecast is not None
        assert memory.forecast.compressed_images > memory.forecast.exact_images > 0
        assert memory.leaks == ()
        assert eventually(lambda: len(engine.memory_history(600).times) >= 1)
        assert {series.device for series in engine.memory_history(600).series} >= {"process"}
        assert engine.release_memory().freed_bytes >= 0


def test_what_is_held_for_a_while_is_the_context_and_what_is_new_is_unexplained(tmp_path: Path) -> None:
    device = Device()
    with engine_at(tmp_path) as engine:
        memory = Memory(engine.parts, devices=device, process=Process())

        def parts() -> dict[str, int]:
            return {part.name: part.bytes for part in memory.look().ledger[0].parts}

        assert (parts()["context"], parts()["unexplained"]) == (GIB, 0)
        device.beside = 2 * GIB
        assert (parts()["context"], parts()["unexplained"]) == (GIB, GIB)
        for _ in range(SETTLED_LOOKS):
            memory.look()
        assert (parts()["context"], parts()["unexplained"]) == (2 * GIB, 0)
        memory.close()
        assert device.closed


def test_what_comes_back_is_told_by_where_it_was(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        memory = Memory(engine.parts, devices=Device(), process=Process(), now=lambda: 5.0)
        released = memory.release()
        assert released.devices == {"gpu0": GIB, "process": 600}
        assert released.freed_bytes == GIB + 600
        history = memory.history(600)
        assert history.times == (5.0,)
        assert {series.device for series in history.series} == {"gpu0", "process"}
        memory.close()


def test_a_leak_is_told_everywhere_and_leaves_the_service_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()
    monkeypatch.setattr("indexer.engine.memory.LinuxProcess", lambda: process)
    with engine_at(tmp_path) as engine:
        memory = engine._memory
        process.release = lambda: None  # type: ignore[method-assign]
        n_asked = 0
        while not engine.stats().leaks:
            process.n_bytes += 1_000_000
            engine.embed_texts(["a leak"])
            n_asked += 1
            assert eventually(lambda: not memory._is_suspicious)
            assert n_asked <= 200
        (leak,) = engine.stats().leaks
        assert leak.component == "process"
        readiness = engine.readiness()
        assert readiness.ready
        assert readiness.checks["memory"] == f"warn: {leak.sentence}"
        assert memory.look().leaks == (leak,)
        assert f"perhaps a leak: {leak.sentence}" in caplog.text


def test_what_grows_while_nothing_is_asked_is_told_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process, now, at_task = Process(), [0.0], [True]
    process.release = lambda: None  # type: ignore[method-assign]
    with engine_at(tmp_path) as engine:
        memory = Memory(engine.parts, at_task=lambda: at_task[0], process=process, now=lambda: now[0])

        def pass_time(seconds: int) -> None:
            for _ in range(seconds):
                now[0] += 1
                process.n_bytes += 200_000
                memory.look()
                if memory._is_suspicious:
                    memory._try_suspects()

        pass_time(1000)  # a task runs
        assert memory.leaks == ()
        at_task[0] = False
        pass_time(400)
        (leak,) = memory.leaks
        assert leak.component == "process"
        assert leak.bytes_per_request == 0
        assert leak.sentence in caplog.text
        memory.close()


def test_memory_that_is_merely_kept_alarms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process()
    monkeypatch.setattr("indexer.engine.memory.LinuxProcess", lambda: process)
    with engine_at(tmp_path) as engine:
        memory = engine._memory
        n_released = 0

        def release() -> None:
            nonlocal n_released
            n_released += 1
            process.n_bytes = 1000

        process.release = release  # type: ignore[method-assign]
        for _ in range(600):
            process.n_bytes += 1_000_000
            engine.embed_texts(["a cache"])
            assert eventually(lambda: not memory._is_suspicious)
        assert n_released >= 2
        assert engine.stats().leaks == ()
        assert engine.readiness().checks["memory"] == "ok"
