"""Where the model runs and with which numbers, and what the device's failures are called here."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from indexer.errors import ConfigError, DeviceFailed, DeviceOutOfMemory

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

EIGHT_BITS = ("int8", "fp8")
"""Precisions of most of the image tower's matrices; the rest of the model then has a wider one."""

LEAST_CAPABILITY = {"int8": (7, 5), "fp8": (8, 9)}
"""CUDA compute capability from which a device multiplies such matrices: Turing, and Ada and Hopper."""

_OUT_OF_MEMORY_MARKS = (
    "out of memory",
    "not enough memory",  # the CPU allocator
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and the precision class that the towers run in there.

    Attributes:
        device: Where.
        precision: `fp32`, `fp16` or `bf16`; or eight bits and the precision of the rest, such as `int8+bf16`.
    """

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """Of everything that is not in eight bits."""
        return DTYPES[self.precision.rpartition("+")[2]]

    @property
    def eight_bits(self) -> str | None:
        """`int8` or `fp8` where most matrices of the image tower are in it."""
        return self.precision.partition("+")[0] if "+" in self.precision else None


def place(device: str = "auto", precision: str = "auto") -> Placement:
    """Resolve what the configuration says against what this machine has.

    Args:
        device: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (fp16 on CUDA, bf16 on a CPU that computes in it natively, else fp32), `fp32`, `fp16`, `bf16`,
            `int8` (the rest as with `auto`), or `fp8` (the rest in bf16, the only one that its product comes out in).

    Raises:
        ConfigError: The device is not there, or the precision makes no sense on it.
    """
    chosen = _device(device)
    usual = "fp16" if chosen.type == "cuda" else "bf16" if cpu_has_bf16() else "fp32"
    if precision == "auto":
        return Placement(chosen, usual)
    if precision in EIGHT_BITS:
        _require_eight_bits(chosen, precision)
        return Placement(chosen, f"{precision}+{'bf16' if precision == 'fp8' else usual}")
    if precision not in DTYPES:
        known = ", ".join(map(_quoted, (*DTYPES, *EIGHT_BITS)))
        raise ConfigError(f'model.precision: "{precision}" is none of "auto", {known}')
    if chosen.type == "cpu" and precision == "fp16":
        raise ConfigError(
            "model.precision: fp16 on a CPU is many times slower than any other choice, since CPUs multiply such "
            'matrices in software; set "bf16" (fast where the CPU has AVX512-BF16 or AMX), "fp32" or "auto"'
        )
    return Placement(chosen, precision)


def place_all(devices: Sequence[str], precision: str = "auto") -> list[Placement]:
    """Resolve several devices, as `place` does; `auto` among them is every CUDA device, else the CPU.

    Raises:
        ConfigError: As `place`; or they would not give the same embedding space.
    """
    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    every = [f"cuda:{number}" for number in range(n_cuda)] or ["cpu"]
    names = [name for device in devices for name in (every if device == "auto" else [device])]
    placements = [place(name, precision) for name in names]
    classes = {placement.precision: str(placement.device) for placement in placements}
    if len(classes) > 1:
        found = ", ".join(f"{device} {name}" for name, device in classes.items())
        raise ConfigError(
            f"model.device: these devices would run the model in different precisions ({found}), and their features "
            "could not be compared; set model.precision to one that all of them can do, or name devices of one kind"
        )
    return placements


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively, and so faster than FP32: AVX512-BF16, AMX, or Arm's BF16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def cpu_has_int8() -> bool:
    """Whether this CPU multiplies bytes and adds them up in 32 bits: VNNI or AMX. Older ones saturate at 16 bits."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_vnni", "avx_vnni", "amx_int8"))


def _require_eight_bits(device: torch.device, precision: str) -> None:
    if device.type == "cpu":
        if precision == "fp8":
            raise ConfigError('model.precision: no CPU multiplies fp8; set "int8" or "auto"')
        if not cpu_has_int8():
            raise ConfigError(
                'model.precision: int8 needs a CPU with VNNI or AMX, which this one has not; set "fp32" or "auto"'
            )
        return
    least, found = LEAST_CAPABILITY[precision], torch.cuda.get_device_capability(device)
    if found < least:
        other = '"int8" or "auto"' if found >= LEAST_CAPABILITY["int8"] else '"auto"'
        raise ConfigError(
            f"model.precision: {precision} needs compute capability {least[0]}.{least[1]}, and "
            f"{torch.cuda.get_device_name(device)} has {found[0]}.{found[1]}; set {other}"
        )


@contextmanager
def device_errors(device: torch.device) -> Iterator[None]:
    """Rename what torch raises inside: `DeviceOutOfMemory`, or `DeviceFailed` for a CUDA device's other errors.

    On the CPU any other `RuntimeError` is a defect of the program, and passes as it is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # The frames below hold the activations; freed now, they leave room for the next try.
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, MemoryError) or _is_out_of_memory(error):
            raise DeviceOutOfMemory(f"{device}: a batch did not fit into memory ({first_line(error)})") from error
        if device.type == "cuda":
            raise DeviceFailed(f"{device}: {first_line(error)}") from error
        raise


def release(device: torch.device) -> None:
    """Hand the device's unused memory back to the driver."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _device(text: str) -> torch.device:
    if text == "cpu" or (text == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not text.startswith(("auto", "cuda")):
        raise ConfigError(f'model.device: "{text}" is none of "auto", "cpu", "cuda", "cuda:N"')
    if not torch.cuda.is_available():
        raise ConfigError(f'model.device: "{text}" was asked for, and torch finds no CUDA device; set "cpu" or "auto"')
    number = text.removeprefix("cuda:") if ":" in text else "0"
    count = torch.cuda.device_count()
    if not number.isdecimal() or int(number) >= count:
        raise ConfigError(f'model.device: "{text}" is not there; this machine has cuda:0 to cuda:{count - 1}')
    return torch.device("cuda", int(number))


def _is_out_of_memory(error: RuntimeError) -> bool:
    message = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(mark in message for mark in _OUT_OF_MEMORY_MARKS)


def first_line(error: BaseException) -> str:
    """What an error says, without the pages that torch adds."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _quoted(text: str) -> str:
    return f'"{text}"'
