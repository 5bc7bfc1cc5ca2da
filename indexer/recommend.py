"""Settings for a machine on which nothing was measured yet, each with its reason: arithmetic, no model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from indexer.types import ModelSize

GIB: Final = 1 << 30

CARDS_GIB: Final = (8, 16, 24, 48, 80, 140)
"""Sizes of GPU that are common."""

MOST_PICTURES: Final = {"cuda": 256, "cpu": 32}
"""Larger batches only keep queries waiting; and on a CPU a stop."""

MOST_WORKERS: Final = 16

SHARE: Final = 0.9
"""Of a device's memory that is counted on."""

RESERVE_BYTES: Final = {"cuda": GIB, "cpu": GIB}
"""For the CUDA context and the libraries' workspaces; on a CPU for the program itself and its decoders."""

BATCH_SHARE: Final = 4
"""One part in so many of what the weights leave is for a batch: the rest is for the index, which grows."""

_WIDTHS: Final = {"fp32": 4, "fp16": 2, "bf16": 2}
_SUM_BYTES: Final = {"int8": 4, "fp8": 2}
"""A number of the activations where matrices have eight bits: int8 adds up in 32, fp8 answers in bfloat16."""
_INPUT_BYTES: Final = 3 * (1 + 4 + 4)
"""A pixel of the input: as it comes, as float32, and normalised."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A device to compute on, and the cores beside it.

    Attributes:
        kind: `cpu` or `cuda`.
        memory_bytes: Of the device.
        precision: What the model runs in there; see `EmbeddingSpace`.
        n_cores: That this process may use.
        name: For people.
    """

    kind: Literal["cpu", "cuda"]
    memory_bytes: int
    precision: str
    n_cores: int
    name: str


@dataclass(frozen=True, slots=True)
class Advice:
    """A setting, the value for it, and why."""

    setting: str
    value: str | int
    reason: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to set on a machine; `fits` is False where the model's weights alone are too large for it."""

    machine: Machine
    fits: bool
    settings: tuple[Advice, ...]


def recommend(model: ModelSize, machine: Machine) -> Recommendation:
    """Precision, batch size and decode workers for a model on a machine."""
    left = _left_bytes(model, machine)
    settings = (_precision(machine), _batch(model, machine, left), _workers(machine))
    return Recommendation(machine, left >= _picture_bytes(model, machine.precision), settings)


def batch_size(model: ModelSize, machine: Machine) -> int:
    """Pictures in a batch: a power of two whose activations fit into a quarter of what the weights leave."""
    room = _left_bytes(model, machine) // BATCH_SHARE
    size = MOST_PICTURES[machine.kind]
    while size > 1 and size * _picture_bytes(model, machine.precision) > room:
        size //= 2
    return size


def decode_workers(n_cores: int) -> int:
    """Children that decode."""
    return min(n_cores, MOST_WORKERS)


def card(memory_gib: float, n_cores: int) -> Machine:
    """A GPU of so much memory in this machine."""
    return Machine("cuda", int(memory_gib * GIB), "fp16", n_cores, f"a GPU of {memory_gib:g} GB")


def _weight_bytes(model: ModelSize, precision: str) -> int:
    eight_bits, _, rest = precision.rpartition("+")
    n_bytes = {"int8": model.n_int8, "fp8": model.n_fp8}.get(eight_bits, 0)
    return n_bytes + (model.n_parameters - n_bytes) * _WIDTHS[rest]


def _picture_bytes(model: ModelSize, precision: str) -> int:
    eight_bits, _, rest = precision.rpartition("+")
    width = max(_WIDTHS[rest], _SUM_BYTES.get(eight_bits, 0))
    return model.n_activations * width + model.side_px**2 * _INPUT_BYTES


def _left_bytes(model: ModelSize, machine: Machine) -> int:
    reserve = RESERVE_BYTES[machine.kind]
    return max(0, int(SHARE * machine.memory_bytes) - reserve - _weight_bytes(model, machine.precision))


def _precision(machine: Machine) -> Advice:
    reasons = {
        "fp16": "half the memory of fp32, and GPUs multiply it in hardware",
        "bf16": "half the memory of fp32, with its range",
        "fp32": "the reference; half precision is slow on a CPU that has no instructions for it",
    }
    eight_bits, _, rest = machine.precision.rpartition("+")
    if eight_bits:
        reason = f"asked for: matrices of the image tower in {eight_bits}, the rest in {rest}; it must pass the gate"
        return Advice("model.precision", eight_bits, f"{reason}, `indexer evaluate --precision {eight_bits}`")
    return Advice("model.precision", rest, reasons[rest])


def _batch(model: ModelSize, machine: Machine, left: int) -> Advice:
    weights, picture = _weight_bytes(model, machine.precision), _picture_bytes(model, machine.precision)
    size = batch_size(model, machine)
    told = f"{model.n_parameters / 1e6:,.0f} M parameters are {_gb(weights)} in {machine.precision}"
    if left < picture:
        return Advice("model.batch_size", 1, f"{told}, which is too much for {machine.name}: take a smaller model")
    bound = f"a quarter of the {_gb(left)} that they leave is for a batch"
    if size == MOST_PICTURES[machine.kind]:
        bound = f"{_gb(left)} are left; more pictures at once would only keep queries waiting"
    batch = f"{size} x {picture / 1e6:,.1f} MB of activations = {_gb(size * picture)}"
    return Advice("model.batch_size", size, f"{told}; {batch}; {bound}")


def _workers(machine: Machine) -> Advice:
    n_workers = decode_workers(machine.n_cores)
    reason = "one for each core that this process may use"
    if n_workers < machine.n_cores:
        reason = f"{MOST_WORKERS} at most: more of them would wait for the model"
    return Advice("decode.workers", n_workers, reason)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB"
