"""Ledgers add up, whatever the gauges say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.ledger import SHARE, Holdings, device_ledger, forecast, process_ledger
from indexer.types import DeviceMemory, ProcessMemory, ProcessReading

PID = 100
GIB = 1 << 30
NOTHING = Holdings("", 0, 0)


def device(**changes: object) -> DeviceMemory:
    """A device of 80 GiB on which this process holds 13 GiB, 10 of them by torch; another holds 4."""
    members = {
        "index": 0, "name": "H100", "total_bytes": 80 * GIB, "used_bytes": 18 * GIB, "free_bytes": 62 * GIB,
        "torch_allocated_bytes": 6 * GIB, "torch_reserved_bytes": 10 * GIB, "torch_peak_bytes": 8 * GIB,
        "torch_name": "cuda:0", "driver_bytes": GIB // 2,
        "processes": (ProcessMemory(PID, "indexer", 13 * GIB), ProcessMemory(7, "other", 4 * GIB)),
    }  # fmt: skip
    return DeviceMemory(**{**members, **changes})  # type: ignore[arg-type]


def parts_of(ledger: object) -> dict[str, int]:
    return {part.name: part.bytes for part in ledger.parts}  # type: ignore[attr-defined]


def test_every_byte_of_a_device_has_its_name() -> None:
    ledger = device_ledger(device(), Holdings("cuda:0", 2 * GIB, 3 * GIB), 2 * GIB, PID)
    assert parts_of(ledger) == {
        "weights": 2 * GIB, "index": 3 * GIB, "activations": 3 * GIB, "reserve": 2 * GIB, "context": 2 * GIB,
        "other_processes": 4 * GIB, "driver": GIB // 2, "unexplained": 3 * GIB // 2,
    }  # fmt: skip
    assert ledger.explained_share == pytest.approx(12 / 13)
    assert ledger.processes == (ProcessMemory(7, "other", 4 * GIB),)


def test_what_is_held_elsewhere_is_not_on_this_device() -> None:
    ledger = parts_of(device_ledger(device(), Holdings("cuda:1", 2 * GIB, 3 * GIB), 3 * GIB, PID))
    assert (ledger["weights"], ledger["index"], ledger["activations"]) == (0, 0, 8 * GIB)


def test_a_driver_that_names_no_process_leaves_the_rest_unexplained() -> None:
    ledger = device_ledger(device(processes=(), torch_name=""), NOTHING, 2 * GIB, PID)
    assert parts_of(ledger)["context"] == 0
    assert parts_of(ledger)["unexplained"] == 18 * GIB - 10 * GIB - GIB // 2


def test_where_the_driver_names_nobody_the_share_does_not_pretend() -> None:
    unnamed = device(processes=(), used_bytes=20 * GIB, driver_bytes=0)
    assert device_ledger(unnamed, NOTHING, 2 * GIB, PID).explained_share == pytest.approx(10 / 20)
    unused = device(processes=(), torch_name="", torch_reserved_bytes=0)
    assert device_ledger(unused, NOTHING, 0, PID).explained_share == 1.0


sizes = st.integers(0, 100 * GIB)


@given(sizes, sizes, sizes, sizes, sizes, sizes, sizes, sizes)
def test_the_parts_of_a_device_add_up_to_what_is_used(
    used: int, reserved: int, peak: int, weights: int, index: int, context: int, own: int, other: int
) -> None:
    processes = (ProcessMemory(PID, "a", own), ProcessMemory(1, "b", other))
    memory = device(used_bytes=used, torch_reserved_bytes=reserved, torch_peak_bytes=peak, processes=processes)
    ledger = device_ledger(memory, Holdings("cuda:0", weights, index), context, PID)
    assert all(part.bytes >= 0 for part in ledger.parts)
    assert 0 <= ledger.explained_share <= 1
    total = sum(part.bytes for part in ledger.parts)
    assert total >= used
    if total > used:  # the gauges were read one after another, and contradict each other
        assert parts_of(ledger)["unexplained"] == 0


def reading(**changes: object) -> ProcessReading:
    members = {
        "own_bytes": 1000, "file_bytes": 300, "shared_bytes": 50, "heap_bytes": 700, "free_bytes": 100,
        "children": (ProcessMemory(1, "python", 80), ProcessMemory(2, "python", 20)), "room_bytes": 10_000,
    }  # fmt: skip
    return ProcessReading(**{**members, **changes})  # type: ignore[arg-type]


def test_every_byte_of_the_process_has_its_name() -> None:
    ledger = process_ledger(reading(), Holdings("cpu", 400, 100), 150)
    assert parts_of(ledger) == {
        "weights": 400, "index": 100, "heap": 200, "reserve": 100, "runtime": 150, "libraries": 300, "shared": 50,
        "decode_children": 100, "unexplained": 50,
    }  # fmt: skip
    assert ledger.rss_bytes == 1450


def test_what_a_gpu_holds_is_not_in_main_memory() -> None:
    parts = parts_of(process_ledger(reading(), Holdings("cuda:0", 400, 100), 0))
    assert (parts["weights"], parts["index"], parts["heap"]) == (0, 0, 700)


@given(sizes, sizes, sizes, sizes, sizes, sizes)
def test_the_parts_of_the_process_add_up(
    own: int, heap: int, free: int, weights: int, index: int, runtime: int
) -> None:
    ledger = process_ledger(
        reading(own_bytes=own, heap_bytes=heap, free_bytes=free), Holdings("cpu", weights, index), runtime
    )
    assert all(part.bytes >= 0 for part in ledger.parts)
    assert sum(part.bytes for part in ledger.parts) == ledger.rss_bytes == own + 300 + 50 + 100


def test_the_forecast_is_of_the_place_where_the_rows_are() -> None:
    on_cpu = forecast([], reading(room_bytes=10**9), Holdings("cpu", 0, 0), row_dim=1280)
    assert on_cpu.exact_images == int(SHARE * 10**9) // 2608
    assert on_cpu.compressed_images == int(SHARE * 10**9) // 208
    on_gpu = forecast([device()], reading(room_bytes=0), Holdings("cuda:0", 0, 0), row_dim=1280)
    assert on_gpu.exact_images == int(SHARE * 64 * GIB) // 2608
