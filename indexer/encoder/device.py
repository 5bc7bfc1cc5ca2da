"""Where the model runs and with which numbers, and what the device's failures are called here."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from indexer.errors import ConfigError, DeviceFailed, DeviceOutOfMemory

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

_OUT_OF_MEMORY_MARKS = (
    "out of memory",
    "not enough memory",  # the CPU allocator
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@dataclass(frozen=True, slots=True)
class Placement:
    """A device and the precision class that the towers run in there."""

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]


def place(device: str = "auto", precision: str = "auto") -> Placement:
    """Resolve what the configuration says against what this machine has.

    Args:
        device: `auto` (the first CUDA device, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` (fp16 on CUDA, bf16 on a CPU that computes in it natively, else fp32), `fp32`, `fp16`, `bf16`.

    Raises:
        ConfigError: The device is not there, or the precision makes no sense on it.
    """
    chosen = _device(device)
    if precision == "auto":
        precision = "fp16" if chosen.type == "cuda" else "bf16" if cpu_has_bf16() else "fp32"
    if precision not in DTYPES:
        raise ConfigError(f'model.precision: "{precision}" is none of "auto", {", ".join(map(_quoted, DTYPES))}')
    if chosen.type == "cpu" and precision == "fp16":
        raise ConfigError(
            "model.precision: fp16 on a CPU is many times slower than any other choice, since CPUs multiply such "
            'matrices in software; set "bf16" (fast where the CPU has AVX512-BF16 or AMX), "fp32" or "auto"'
        )
    return Placement(chosen, precision)


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 natively, and so faster than FP32: AVX512-BF16, AMX, or Arm's BF16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


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
            raise DeviceOutOfMemory(f"{device}: a batch did not fit into memory ({_first_line(error)})") from error
        if device.type == "cuda":
            raise DeviceFailed(f"{device}: {_first_line(error)}") from error
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


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _quoted(text: str) -> str:
    return f'"{text}"'
