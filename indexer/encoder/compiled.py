"""A compiled tower, made beside the one that works and taken only if it is the same and faster."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from indexer.encoder.device import first_line

_log = logging.getLogger(__name__)

LEAST_GAIN: Final = 1.02
"""How many times as fast it must be to be worth its memory."""

MOST_DRIFT: Final = 1e-5
"""1 - cosine, to the tower that it was made of: as much as two batch sizes may differ by."""

N_ROUNDS: Final = 7

Pass: TypeAlias = Callable[[Tensor], Tensor]
"""Pixels (n, side, side, 3) uint8 to features (n, d) float16, on a device."""

Backend: TypeAlias = Callable[[Any, list[Any]], Callable[..., Any]]


def inductor(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
    """The compiler that comes with torch; what it has compiled once it keeps on disk (`TORCHINDUCTOR_CACHE_DIR`)."""
    compiled: Callable[..., Any] = torch._dynamo.lookup_backend("inductor")(graph, inputs)  # noqa: SLF001
    return compiled


def compiled(
    tower: nn.Module,
    sizes: Sequence[int],
    batch: Callable[[int], Tensor],
    wait: Callable[[], object],
    *,
    backend: Backend,
    clock: Callable[[], float] = time.perf_counter,
) -> Pass | None:
    """The tower compiled for batches of `sizes`, the last of which times it; None where that does not pay.

    Takes a minute when it is done for the first time. Other sizes and other threads never wait for the compiler: where
    they would need it, they get the tower as it is.

    Args:
        tower: What is compiled. Its weights are shared.
        sizes: Every size that will come.
        batch: Makes a batch of so many pictures, on the device.
        wait: Returns when the device has done what it was told.
        backend: Compiles a traced graph.
        clock: Seconds.
    """
    me = threading.get_ident()

    def only_here(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        return backend(graph, inputs) if threading.get_ident() == me else graph.forward

    try:
        faster: Pass = torch.compile(tower, backend=only_here)
        drift = max(_drift(tower(pixels), faster(pixels)) for pixels in map(batch, sizes))
        if not drift <= MOST_DRIFT:
            _log.warning("The compiled model is not used: its features differ by %.1e (1 - cosine)", drift)
            return None
        pixels = batch(sizes[-1])
        times = [tuple(_seconds(run, pixels, wait, clock) for run in (tower, faster)) for _ in range(N_ROUNDS)]
    except Exception as error:  # noqa: BLE001  # compilers fail in many ways, and nothing depends on this one
        _log.warning("The model runs as it is, not compiled: %s", first_line(error))
        return None
    gain = median(plain / fast for plain, fast in times)
    _log.info("The compiled model is %.2f times as fast%s", gain, "" if gain >= LEAST_GAIN else ", and not used")
    return faster if gain >= LEAST_GAIN else None


def _drift(expected: Tensor, got: Tensor) -> float:
    """The greatest 1 - cosine of two batches of features; infinite where one is not finite."""
    cosines = nn.functional.cosine_similarity(expected.double(), got.double(), dim=-1)
    return float((1 - cosines.nan_to_num(-torch.inf)).max())


def _seconds(run: Pass, pixels: Tensor, wait: Callable[[], object], clock: Callable[[], float]) -> float:
    wait()
    started = clock()
    run(pixels)
    wait()
    return clock() - started
