"""The CUDA path: its plans and stages over a device that is none, and its features on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from indexer.encoder.attention import SelfAttention, shorten_attention
from indexer.encoder.checkpoint import resolve
from indexer.encoder.cuda import CHUNK, GRAPH_SIZES, STEP, CudaTower, _Graph, even_chunks, graph_size
from indexer.encoder.device import Placement
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.tower import Tower, build, load
from indexer.encoder.weights import read_weights
from tests.encoder.conftest import cosines, pictures
from tests.fakes.cuda import PretendGraph, pretend_cuda


@given(n=st.integers(1, 2000), limit=st.integers(1, 100))
def test_chunks_cover_everything_once_and_differ_by_one_at_most(n: int, limit: int) -> None:
    chunks = list(even_chunks(n, limit))
    assert [place for start, stop in chunks for place in range(start, stop)] == list(range(n))
    sizes = [stop - start for start, stop in chunks]
    assert max(sizes) <= limit
    assert max(sizes) - min(sizes) <= 1
    assert len(chunks) == -(-n // limit)


def test_small_batches_have_a_recorded_size_that_holds_them() -> None:
    for n in range(1, GRAPH_SIZES[-1] + 1):
        size = graph_size(n)
        assert size is not None
        assert n <= size < 2 * n
    assert graph_size(GRAPH_SIZES[-1] + 1) is None
    assert GRAPH_SIZES[-1] <= CHUNK
    assert CHUNK % STEP == 0  # a full chunk is filled up to no more than the staging memory holds


@pytest.mark.parametrize("masks", ["none", "one", "one each"])
def test_the_shorter_attention_gives_what_pytorchs_gives(masks: str) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(64, 4, batch_first=True).eval().requires_grad_(False)
    nn.init.normal_(theirs.in_proj_bias)
    x = torch.randn(3, 10, 64)
    causal = torch.full((10, 10), float("-inf")).triu(1)
    mask = {"none": None, "one": causal, "one each": causal.expand(12, 10, 10).contiguous()}[masks]
    expected, _ = theirs(x, x, x, need_weights=False, attn_mask=mask)
    got, _ = SelfAttention(theirs)(x, x, x, need_weights=False, attn_mask=mask)
    assert torch.allclose(got, expected, atol=1e-6)


def test_every_attention_of_a_tower_is_replaced(reference: Callable[[str], nn.Module]) -> None:
    from copy import deepcopy

    tower = deepcopy(reference("tiny").visual)
    x = torch.randn(2, 3, 32, 32)
    expected = tower(x)
    assert len(shorten_attention(tower)) == 2
    assert torch.allclose(tower(x), expected, atol=1e-5)


@pytest.fixture
def opened(saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., CudaTower]:
    """Opens the CUDA path over a device that is none."""
    pretend_cuda(monkeypatch)
    record = _Graph.__init__

    def recorded(graph: _Graph, tower: nn.Module, *rest: Any) -> None:
        record(graph, tower, *rest)
        graph.launches.again = lambda: graph.features.copy_(tower(graph.pixels))  # type: ignore[attr-defined]

    monkeypatch.setattr(_Graph, "__init__", recorded)
    checkpoint = resolve("tiny", str(saved("tiny")))
    model = build(checkpoint.config)
    cpu = torch.device("cpu")
    load(model, read_weights(saved("tiny")), Placement(cpu, "fp32"), checkpoint)
    tower = Tower(model.visual, checkpoint.preprocess, torch.float32)
    return lambda compiler=None: CudaTower(tower, 32, 64, cpu, compiler)


@pytest.fixture
def runner(opened: Callable[..., CudaTower]) -> CudaTower:
    return opened()


@pytest.fixture
def expected(saved: Callable[[str], Path]) -> np.ndarray:
    encoder = OpenClipEncoder(resolve("tiny", str(saved("tiny"))), device="cpu", precision="fp32")
    return encoder.encode_pixels(pictures(200))


@torch.inference_mode()
def test_every_batch_comes_through_the_stages_whole_and_in_order(runner: CudaTower, expected: np.ndarray) -> None:
    pixels = pictures(200)
    for n in (1, 2, 3, 5, 8, 16, 17, 63, 64, 65, 200, 129):
        for start in {0, min(7, 200 - n)}:
            rows = runner(pixels[start : start + n])
            assert (1 - cosines(rows, expected[start : start + n])).max() <= 1e-5
    assert [options["capture_error_mode"] for options in PretendGraph.recorded] == ["thread_local"] * len(GRAPH_SIZES)


@torch.inference_mode()
def test_what_cannot_be_recorded_runs_launch_by_launch(
    runner: CudaTower, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(_Graph, "__init__", refuse)
    for _ in range(2):
        assert (1 - cosines(runner(pictures(200)[:3]), expected[:3])).max() <= 1e-5
    assert caplog.text.count("CUDA graphs are off") == 1


@torch.inference_mode()
def test_out_of_memory_gives_the_recorded_launches_up_and_passes(
    runner: CudaTower, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = pictures(200)
    runner(pixels[:4])
    with monkeypatch.context() as patch:
        patch.setattr(runner, "_stream", lambda *_: _raise(torch.OutOfMemoryError("CUDA out of memory")))
        with pytest.raises(torch.OutOfMemoryError):
            runner(pixels)
        assert runner._graphs == {}
    assert (1 - cosines(runner(pixels[:4]), expected[:4])).max() <= 1e-5


@torch.inference_mode()
def test_large_batches_take_the_compiled_tower_and_never_wait_for_the_compiler(
    opened: Callable[..., CudaTower], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.encoder.compiled.LEAST_GAIN", 0.0)
    n_compiled, n_run = 0, 0

    def compiler(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
        nonlocal n_compiled
        n_compiled += 1

        def run(*args: Any) -> Any:
            nonlocal n_run
            n_run += 1
            return graph(*args)

        return run

    runner = opened(compiler)
    runner.compiling.join()
    for n in (16, 17, 30, 41, 63, 64, 65, 100, 200):
        before = n_run
        assert (1 - cosines(runner(pictures(200)[:n]), expected[:n])).max() <= 1e-5
        assert (n_run > before) == (n > GRAPH_SIZES[-1])
    assert n_compiled == len({"one size", "any size"}), "every size that comes was met beforehand"
    torch.compiler.reset()


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.gpu
@pytest.mark.parametrize("n", [1, 3, 16, 17, 64, 65, 200])
def test_a_gpu_in_fp16_agrees_with_the_cpu_in_fp32(n: int, saved: Callable[[str], Path]) -> None:
    checkpoint = resolve("tiny", str(saved("tiny")))
    pixels = pictures(n)
    gpu = OpenClipEncoder(checkpoint, device="cuda").encode_pixels(pixels)
    cpu = OpenClipEncoder(checkpoint, device="cpu", precision="fp32").encode_pixels(pixels)
    assert (1 - cosines(gpu, cpu)).max() <= 1e-5


@pytest.mark.gpu
def test_a_recorded_batch_can_be_replayed_with_other_pictures(saved: Callable[[str], Path]) -> None:
    encoder = OpenClipEncoder(resolve("tiny", str(saved("tiny"))), device="cuda")
    pixels = pictures(48)
    together = encoder.encode_pixels(pixels)
    for size in (*GRAPH_SIZES, 3, 5):
        for start in (0, 16, 7):
            rows = encoder.encode_pixels(pixels[start : start + size])
            assert (1 - cosines(rows, together[start : start + size])).max() <= 1e-5


@pytest.mark.gpu
def test_a_gpu_embeds_texts_as_the_cpu_does(saved: Callable[[str], Path]) -> None:
    checkpoint = resolve("tiny", str(saved("tiny")))
    texts = ["a cat", "two dogs under a tree", ""] * 30
    gpu = OpenClipEncoder(checkpoint, device="cuda").encode_texts(texts)
    cpu = OpenClipEncoder(checkpoint, device="cpu", precision="fp32").encode_texts(texts)
    assert (1 - cosines(gpu, cpu)).max() <= 1e-5
