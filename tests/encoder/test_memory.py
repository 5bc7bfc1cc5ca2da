"""What the meters say of memory that a test takes, and of machines whose files it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from indexer.encoder.device import Placement
from indexer.encoder.memory import SHARE, CpuMeter, CudaMeter, meter_of, total_bytes

MIB = 1 << 20
CPU = torch.device("cpu")


def machine(root: Path, **files: str) -> Path:
    """A folder with /proc and /sys of a machine that has 1000 MiB available, 100 MiB of them taken by this process."""
    contents = {
        "proc/meminfo": f"MemTotal: {2000 * 1024} kB\nMemAvailable: {1000 * 1024} kB\n",
        "proc/self/status": f"Name:\tx\nVmHWM:\t{300 * 1024} kB\nVmRSS:\t{100 * 1024} kB\n",
        **{name.replace("__", "/").replace("_DOT_", "."): text for name, text in files.items()},
    }
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEASURE = """
import numpy as np
from indexer.encoder.memory import CpuMeter
meter = CpuMeter()
meter.start()
before = meter.peak_bytes()
np.ones(256 << 20, np.uint8)
taken = meter.peak_bytes() - before
meter.start()
print(taken >> 20, (meter.peak_bytes() - before) >> 20)
"""


def test_memory_that_was_given_back_counts_at_its_peak_and_only_until_the_next_start() -> None:
    """In a process of its own: what other tests' threads give back meanwhile would be counted."""
    outcome = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=60, check=True)
    taken_mib, left_mib = map(int, outcome.stdout.split())
    assert taken_mib == pytest.approx(256, abs=64)
    assert left_mib < 64


def test_the_peak_is_what_the_process_has_grown_by(tmp_path: Path) -> None:
    meter = CpuMeter(machine(tmp_path))
    meter.start()
    assert (tmp_path / "proc/self/clear_refs").read_text() == "5"
    assert meter.peak_bytes() == 200 * MIB


def test_the_budget_is_a_share_of_what_is_available(tmp_path: Path) -> None:
    assert CpuMeter(machine(tmp_path)).budget_bytes == int(SHARE * 1000 * MIB)


@pytest.mark.parametrize(
    ("folder", "limit", "used", "cached"),
    [
        ("sys__fs__cgroup", "memory_DOT_max", "memory_DOT_current", "inactive_file"),
        ("sys__fs__cgroup__memory", "memory_DOT_limit_in_bytes", "memory_DOT_usage_in_bytes", "total_inactive_file"),
    ],
)
def test_a_container_may_take_less_than_the_machine_has(
    tmp_path: Path, folder: str, limit: str, used: str, cached: str
) -> None:
    files = {
        f"{folder}__{limit}": f"{500 * MIB}\n",
        f"{folder}__{used}": f"{300 * MIB}\n",
        f"{folder}__memory_DOT_stat": f"anon 1\n{cached} {100 * MIB}\n",
    }
    assert CpuMeter(machine(tmp_path, **files)).budget_bytes == int(SHARE * 300 * MIB)


def test_a_container_without_a_limit_has_what_the_machine_has(tmp_path: Path) -> None:
    files = {"sys__fs__cgroup__memory_DOT_max": "max\n", "sys__fs__cgroup__memory_DOT_current": "5\n"}
    assert CpuMeter(machine(tmp_path, **files)).budget_bytes == int(SHARE * 1000 * MIB)


def test_a_system_that_tells_nothing_has_a_meter_that_says_nothing(tmp_path: Path) -> None:
    meter = CpuMeter(tmp_path)
    meter.start()
    assert (meter.budget_bytes, meter.peak_bytes()) == (0, 0)


def test_this_machine_has_more_memory_than_the_meter_lets_be_taken() -> None:
    meter = meter_of(Placement(CPU, "fp32"))
    assert 0 < meter.budget_bytes < total_bytes(CPU)
    assert "threads" in meter.device_name


def test_on_cuda_the_allocator_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = {
        "mem_get_info": (700, 1000), "memory_reserved": 100, "max_memory_reserved": 250, "get_device_name": "a GPU",
        "synchronize": None, "empty_cache": None, "reset_peak_memory_stats": None,
    }  # fmt: skip
    for name, answer in answers.items():

        def told(*_: object, name: str = name, answer: object = answer) -> object:
            asked.append(name)
            return answer

        monkeypatch.setattr(torch.cuda, name, told)
    meter = meter_of(Placement(torch.device("cuda", 0), "fp16"))
    assert isinstance(meter, CudaMeter)
    assert meter.budget_bytes == int(SHARE * 800)
    asked.clear()
    meter.start()
    assert asked == ["synchronize", "empty_cache", "reset_peak_memory_stats"]
    assert (meter.peak_bytes(), meter.device_name) == (250, "a GPU")
