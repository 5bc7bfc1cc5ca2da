"""The real binding to NVML, over a C library with known answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).with_name("nvml.c")
GIB = 1 << 30

ASK = """
import dataclasses, json, os, sys
from types import SimpleNamespace
from indexer.gpu.nvml import NvmlGauge
from indexer.ledger import Holdings, beside_torch_bytes, device_ledger
GIB = 1 << 30
sys.modules["torch"] = SimpleNamespace(cuda=SimpleNamespace(
    is_available=lambda: True, is_initialized=lambda: True, device_count=lambda: 1,
    get_device_properties=lambda ordinal: SimpleNamespace(uuid="aaaa"),
    memory_allocated=lambda ordinal: 6 * GIB, memory_reserved=lambda ordinal: 10 * GIB,
    max_memory_allocated=lambda ordinal: 8 * GIB,
))
gauge = NvmlGauge()
memory = gauge.read()
holdings = Holdings("cuda:0", 2 * GIB, 3 * GIB)
beside = [beside_torch_bytes(device, os.getpid()) for device in memory.devices]
ledgers = [device_ledger(d, holdings, b or 0, os.getpid()) for d, b in zip(memory.devices, beside)]
print(json.dumps([os.getpid(), dataclasses.asdict(memory), [dataclasses.asdict(each) for each in ledgers]]))
gauge.close()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process is told whose driver is ours."""
    folder = tmp_path_factory.mktemp("driver")
    compiler = shutil.which("cc")
    assert compiler, "a C compiler builds the test's driver: apt-get install gcc"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)], check=True, timeout=60
    )
    outcome = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(outcome.stdout)


def test_the_driver_is_read_to_the_byte(told: Any) -> None:
    pid, memory, _ = told
    first, second = memory["devices"]
    assert (memory["available"], memory["reason"]) == (True, "")
    assert (first["name"], first["total_bytes"], first["used_bytes"]) == ("NVIDIA H100 80GB HBM3", 80 * GIB, 18 * GIB)
    assert (first["torch_name"], first["torch_reserved_bytes"], first["driver_bytes"]) == ("cuda:0", 10 * GIB, GIB // 2)
    assert first["processes"][0]["pid"] == pid
    assert first["processes"][1] == {"pid": 1, "name": "train.py", "bytes": 4 * GIB}
    assert (second["name"], second["free_bytes"], second["processes"]) == ("NVIDIA T4", 15 * GIB, [])
    assert (second["torch_name"], second["torch_reserved_bytes"]) == ("", 0)


def test_the_ledger_explains_what_the_driver_says_of_this_process(told: Any) -> None:
    ledger = told[2][0]
    assert {part["name"]: part["bytes"] / GIB for part in ledger["parts"]} == {
        "weights": 2, "index": 3, "activations": 3, "reserve": 2, "context": 3, "other_processes": 4, "driver": 0.5,
        "unexplained": 0.5,
    }  # fmt: skip
    assert ledger["explained_share"] >= 0.95
    assert [each["name"] for each in ledger["processes"]] == ["train.py"]
