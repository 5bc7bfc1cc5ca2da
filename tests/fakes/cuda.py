"""A CUDA device that is none: streams, events and recorded launches that act on the CPU, in order, at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor


class PretendStream:
    device = torch.device("cpu")

    def __init__(self, device: torch.device) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def wait_event(self, event: PretendEvent) -> None:
        assert event.recorded, "waits for a copy that was never started"


class PretendEvent:
    def __init__(self, enable_timing: bool = False) -> None:
        self.recorded = False

    def record(self, stream: PretendStream | None = None) -> None:
        self.recorded = True

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: PretendEvent) -> float:
        return 1.0


class PretendGraph:
    """Runs what was recorded again: whoever records tells it how, by `again`."""

    again: Callable[[], object]
    recorded: list[dict[str, Any]] = []  # noqa: RUF012  # reset by `pretend_cuda`

    def replay(self) -> None:
        self.again()


def pretend_cuda(patch: pytest.MonkeyPatch) -> None:
    """Put the pretended parts in place of `torch.cuda`'s until `patch` is undone."""

    @contextmanager
    def recording(graph: PretendGraph, **options: Any) -> Iterator[None]:
        PretendGraph.recorded.append(options)
        yield

    real_empty = torch.empty

    def empty(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        return real_empty(*size, **options)

    PretendGraph.recorded = []
    for name, part in {
        "Stream": PretendStream,
        "Event": PretendEvent,
        "CUDAGraph": PretendGraph,
        "graph": recording,
        "device": lambda device: nullcontext(),
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda device: None,
        "graph_pool_handle": lambda: (0, 0),
    }.items():
        patch.setattr(torch.cuda, name, part)
    patch.setattr(torch, "empty", empty)
    patch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
