"""A tower on a CUDA device: uploads beside the computing, recorded launches, the fastest attention."""

from __future__ import annotations

import logging
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from indexer.encoder.attention import shorten_attention
from indexer.encoder.compiled import Backend, Pass, compiled
from indexer.types import Features, Pixels

_log = logging.getLogger(__name__)

GRAPH_SIZES: Final = (1, 2, 4, 8, 16)
"""Batches whose launches are recorded as CUDA graphs. In larger ones the device is busy longer than Python is."""

CHUNK: Final = 64
"""Pictures computed at a time: enough to saturate the largest devices, while the next ones are uploaded."""

STEP: Final = 8
"""Larger batches are filled up to a multiple of this, for the libraries make a plan for each new size."""

_CANDIDATES: Final = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
_ALWAYS: Final = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


class CudaTower:
    """Runs a tower: pixels in, features out, both in host memory. Belongs to one thread.

    Args:
        tower: See `indexer.encoder.tower.Tower`; on the device already.
        side_px: Side of a picture.
        dim: Length of a feature.
        device: Where it runs.
        compiler: Makes a faster tower for large batches, in a thread beside the work; None leaves it as it is.
    """

    def __init__(
        self, tower: nn.Module, side_px: int, dim: int, device: torch.device, compiler: Backend | None
    ) -> None:
        self._tower = tower
        self._bulk: Pass = tower
        self._device = device
        self._compute = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # so in torch
        self._upload = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        shape = (CHUNK, side_px, side_px, 3)
        self._staging = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
        self._staged = [torch.cuda.Event(), torch.cuda.Event()]  # type: ignore[no-untyped-call]
        self._dim = dim
        self._graphs: dict[int, _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._may_record = True
        self._kernels = _kernels(tower, device)
        torch.cuda.synchronize(device)  # the weights are there before another stream reads them
        self.compiling = threading.Thread(target=self._compile, args=(compiler,), name="compiler", daemon=True)
        if compiler:
            self.compiling.start()

    def __call__(self, pixels: Pixels) -> Features:
        """Features (n, d) of pixels (n, side, side, 3)."""
        with self._on(self._compute):
            out = torch.empty((len(pixels), self._dim), dtype=torch.float16, pin_memory=True)
            try:
                self._fill(out, pixels)
            except torch.OutOfMemoryError:
                self._graphs.clear()  # recorded launches hold memory, and can be recorded again
                raise
        return out.numpy().copy()  # pinned memory is scarce

    @contextmanager
    def _on(self, stream: torch.cuda.Stream) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.cuda.device(self._device))
            stack.enter_context(torch.cuda.stream(stream))
            stack.enter_context(sdpa_kernel(self._kernels, set_priority=True))
            yield

    def _compile(self, compiler: Backend) -> None:
        """Answers need not wait for it: until then, and where it does not pay, the tower runs as it is."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        sizes = [size for size in range(STEP, CHUNK + 1, STEP) if graph_size(size) is None]
        _, *shape = self._staging[0].shape

        def batch(n: int) -> Tensor:
            return torch.randint(256, (n, *shape), dtype=torch.uint8, device=self._device)

        with torch.inference_mode(), self._on(stream):
            faster = compiled(self._tower, sizes, batch, stream.synchronize, backend=compiler)
        if faster is not None:
            self._bulk = faster

    def _fill(self, out: Tensor, pixels: Pixels) -> None:
        graph = self._graph_for(len(pixels))
        if graph is not None:
            self._replay(graph, pixels, out)
        else:
            self._stream(pixels, out)
        self._compute.synchronize()

    def _stream(self, pixels: Pixels, out: Tensor) -> None:
        for turn, (start, stop) in enumerate(even_chunks(len(pixels), CHUNK)):
            features = self._bulk(self._sent(pixels[start:stop], turn % 2))
            out[start:stop].copy_(features[: stop - start], non_blocking=True)

    def _sent(self, pixels: Pixels, buffer: int) -> Tensor:
        """The chunk on the device, filled up, ready for computing; the copy runs while the one before is computed."""
        staging = self._staging[buffer][: -(-len(pixels) // STEP) * STEP]
        self._staged[buffer].synchronize()
        staging.numpy()[: len(pixels)] = pixels
        with torch.cuda.stream(self._upload):
            chunk = staging.to(self._device, non_blocking=True)
            self._staged[buffer].record(self._upload)
        self._compute.wait_event(self._staged[buffer])
        chunk.record_stream(self._compute)
        return chunk

    def _replay(self, graph: _Graph, pixels: Pixels, out: Tensor) -> None:
        n = len(pixels)
        staging = self._staging[0][:n]
        staging.numpy()[:] = pixels
        graph.pixels[:n].copy_(staging, non_blocking=True)
        graph.launches.replay()
        out.copy_(graph.features[:n], non_blocking=True)

    def _graph_for(self, n: int) -> _Graph | None:
        size = graph_size(n)
        if size is None or not self._may_record:
            return None
        if size not in self._graphs:
            try:
                self._graphs[size] = _Graph(self._tower, self._staging[0][:size], self._compute, self._pool)
            except torch.OutOfMemoryError:
                return None
            except RuntimeError as error:
                # An operation of this tower cannot be recorded; everything still works, launch by launch.
                self._may_record = False
                _log.warning("CUDA graphs are off: %s", str(error).splitlines()[0])
                return None
        return self._graphs[size]


class _Graph:
    """The launches of one pass over a batch of fixed size, with the memory that they read and write."""

    def __init__(self, tower: nn.Module, like: Tensor, stream: torch.cuda.Stream, pool: Any) -> None:
        self.pixels = torch.zeros(like.shape, dtype=torch.uint8, device=stream.device)
        for _ in range(2):
            tower(self.pixels)  # libraries set themselves up outside the recording
        stream.synchronize()
        self.launches = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: the index is searched there.
        with torch.cuda.graph(self.launches, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self.features: Tensor = tower(self.pixels)


def graph_size(n: int) -> int | None:
    """The smallest recorded batch that holds n pictures; None above the largest."""
    return next((size for size in GRAPH_SIZES if n <= size), None)


def even_chunks(n: int, limit: int) -> Iterator[tuple[int, int]]:
    """Bounds of the fewest runs of at most `limit` that cover n, as equal as can be: a short one wastes the device."""
    n_chunks = -(-n // limit)
    bounds = [n * place // n_chunks for place in range(n_chunks + 1)]
    return pairwise(bounds)


def _kernels(tower: nn.Module, device: torch.device) -> list[SDPBackend]:
    """Attention kernels in order of preference: the fastest at this tower's shape, then those that always work."""
    attentions = shorten_attention(tower)
    positions = getattr(tower.visual, "positional_embedding", None)
    if not attentions or positions is None:
        return [*_CANDIDATES, SDPBackend.MATH]
    like = attentions[0]
    shape = (CHUNK, len(positions), 3, like.n_heads, like.head_width)
    qkv = torch.randn(shape, device=device, dtype=positions.dtype).permute(2, 0, 3, 1, 4)
    times_ms = {kernel: _time_ms(kernel, *qkv) for kernel in _CANDIDATES}
    best = min(times_ms, key=times_ms.__getitem__)
    _log.debug("Attention kernels, ms: %s", {kernel.name: round(ms, 3) for kernel, ms in times_ms.items()})
    return list(dict.fromkeys((best, *_ALWAYS)))


def _time_ms(kernel: SDPBackend, q: Tensor, k: Tensor, v: Tensor, n_runs: int = 10) -> float:
    """Time of one attention, infinite where the kernel does not take this shape or precision."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings(action="ignore"), sdpa_kernel(kernel):
            for _ in range(3):
                scaled_dot_product_attention(q, k, v)
            start.record()
            for _ in range(n_runs):
                scaled_dot_product_attention(q, k, v)
            stop.record()
        stop.synchronize()
    except RuntimeError:
        return math.inf
    return float(start.elapsed_time(stop)) / n_runs
