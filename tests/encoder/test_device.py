from __future__ import annotations

import pytest
import torch

from indexer.encoder.device import DTYPES, device_errors, place, place_all
from indexer.errors import ConfigError, DeviceFailed, DeviceOutOfMemory

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("told", "device"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_a_gpu_runs_in_fp16(told: str, device: str) -> None:
    placement = place(told)
    assert (str(placement.device), placement.precision, placement.dtype) == (device, "fp16", torch.float16)


@pytest.mark.parametrize(("capable", "precision"), [(True, "bf16"), (False, "fp32")])
@pytest.mark.usefixtures("no_gpu")
def test_a_cpu_runs_in_bf16_where_it_can(capable: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable})
    assert place().precision == precision


@pytest.mark.usefixtures("two_gpus")
def test_the_cpu_can_be_chosen_beside_a_gpu() -> None:
    assert place("cpu", "fp32").device == CPU


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("cuda", "auto", r"^model\.device: .*no CUDA device"),
        ("tpu", "auto", r"^model\.device"),
        ("cpu", "fp16", r"^model\.precision: .*bf16"),
        ("cpu", "int3", r"^model\.precision: .*int3"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_with_a_remedy(device: str, precision: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        place(device, precision)


@pytest.mark.parametrize(("bf16", "rest"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_that_multiplies_bytes_runs_in_int8_and_no_cpu_in_fp8(
    bf16: bool, rest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16, "avx512_vnni": True})
    placement = place("cpu", "int8")
    assert (placement.precision, placement.eight_bits, placement.dtype) == (f"int8+{rest}", "int8", DTYPES[rest])
    with pytest.raises(ConfigError, match=r'^model\.precision: no CPU multiplies fp8; set "int8"'):
        place("cpu", "fp8")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})
    with pytest.raises(ConfigError, match=r"^model\.precision: int8 needs a CPU with VNNI or AMX"):
        place("cpu", "int8")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("capability", "int8", "fp8"),
    [
        ((9, 0), "int8+fp16", "fp8+bf16"),
        ((8, 9), "int8+fp16", "fp8+bf16"),
        ((8, 6), "int8+fp16", r'fp8 needs compute capability 8\.9, and a card has 8\.6; set "int8" or "auto"'),
        ((7, 0), "int8 needs compute capability 7.5", r'has 7\.0; set "auto"'),
    ],
)
def test_a_gpu_runs_in_eight_bits_where_its_hardware_does(
    capability: tuple[int, int], int8: str, fp8: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card")
    for precision, expected in (("int8", int8), ("fp8", fp8)):
        if "+" in expected:
            assert place("cuda", precision).precision == expected
        else:
            with pytest.raises(ConfigError, match=expected):
                place("cuda", precision)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("told", ["cuda:2", "cuda:x", "cuda:-1"])
def test_a_gpu_that_is_not_there_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match=r"cuda:0 to cuda:1"):
        place(told)


@pytest.mark.parametrize(
    ("device", "error"),
    [
        (CUDA, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")),
        (CUDA, RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)")),
        (CPU, RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes")),
        (CPU, MemoryError()),
    ],
)
def test_what_does_not_fit_is_out_of_memory(device: torch.device, error: Exception) -> None:
    with pytest.raises(DeviceOutOfMemory), device_errors(device):
        raise error


def test_a_real_allocation_that_does_not_fit_is_out_of_memory() -> None:
    with pytest.raises(DeviceOutOfMemory), device_errors(CPU):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_of_a_gpu_are_its_failure() -> None:
    with pytest.raises(DeviceFailed, match="illegal memory access"), device_errors(CUDA):
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")


def test_other_errors_on_the_cpu_are_defects_and_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), device_errors(CPU):
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("told", "devices"),
    [
        (["auto"], ["cuda:0", "cuda:1"]),
        (["cuda:1", "cuda:0"], ["cuda:1", "cuda:0"]),
        (["cuda"], ["cuda:0"]),
        (["cpu", "cpu"], ["cpu", "cpu"]),
    ],
)
def test_auto_is_every_gpu_and_a_list_is_taken_as_it_is(told: list[str], devices: list[str]) -> None:
    assert [str(placement.device) for placement in place_all(told)] == devices


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu_once() -> None:
    assert [str(placement.device) for placement in place_all(["auto"])] == ["cpu"]


@pytest.mark.usefixtures("two_gpus")
def test_devices_whose_features_could_not_be_compared_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"different precisions.*set model.precision"):
        place_all(["cuda:0", "cpu"])
    assert len(place_all(["cuda:0", "cpu"], "fp32")) == 2
