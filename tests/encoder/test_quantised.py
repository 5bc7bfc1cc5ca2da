"""Eight bits: close to what they stand for, row by row, in the layers that bear it. FP8 is computed on the CPU here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from indexer.encoder import openclip
from indexer.encoder.attention import shorten_attention
from indexer.encoder.checkpoint import resolve
from indexer.encoder.device import Placement
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.quantised import Fp8Linear, Int8Linear, fp8_rows, int8_rows, quantisable, quantise
from indexer.encoder.tower import build
from indexer.errors import ConfigError
from tests.encoder.conftest import cosines, pictures

CPU = torch.device("cpu")
ROUNDED = {"int8": (int8_rows, 0.5 / 127), "fp8": (fp8_rows, 1 / 16)}
"""How rows are rounded, and by how much at most: a half step of the largest number, and of the number itself."""


LARGEST = {"int8": 127.0, "fp8": 448.0}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(n_in: int = 64, n_out: int = 48) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, dtype=torch.bfloat16).requires_grad_(False)
    layer.weight.copy_(drawn(n_out, n_in))
    layer.bias.copy_(drawn(n_out, seed=1))
    return layer


def in_eight_bits(monkeypatch: pytest.MonkeyPatch, name: str, path: Path, precision: str) -> OpenClipEncoder:
    monkeypatch.setattr(openclip, "place", lambda *_: Placement(CPU, precision))
    return OpenClipEncoder(resolve(name, str(path)), device="cpu", precision=precision)


@given(st.sampled_from(["int8", "fp8"]), st.integers(0, 1000), st.sampled_from([1e-6, 1.0, 1e4]))
def test_rows_come_back_within_half_a_step(precision: str, seed: int, size: float) -> None:
    rows = drawn(5, 32, seed=seed) * size
    rows[1] = 0
    rounding, tolerance = ROUNDED[precision]
    numbers, scale = rounding(rows)
    largest = rows.abs().amax(dim=-1, keepdim=True)
    assert ((numbers.float() * scale - rows).abs() <= tolerance * largest * 1.001).all()
    whole = torch.tensor([True, False, True, True, True])
    assert (numbers.float().abs().amax(dim=-1) == torch.where(whole, LARGEST[precision], 0)).all()


@pytest.mark.parametrize(("kind", "error"), [(Int8Linear, 0.015), (Fp8Linear, 0.05)])
def test_a_layer_in_eight_bits_answers_about_the_same_and_each_row_by_itself(
    kind: Callable[[nn.Linear], nn.Module], error: float
) -> None:
    layer, x = linear(), drawn(3, 20, 64).bfloat16()
    x[1] *= 1000  # another picture's outliers
    with torch.inference_mode():
        expected, found = layer(x).float(), kind(layer)(x)
        assert (found.shape, found.dtype) == (expected.shape, torch.bfloat16)
        for picture in range(3):
            off = (found[picture].float() - expected[picture]).norm() / expected[picture].norm()
            assert 0 < off < error
            assert torch.equal(found[picture], kind(layer)(x[picture : picture + 1])[0])


@pytest.mark.parametrize("kind", [Int8Linear, Fp8Linear])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so_and_harms_no_other_row(
    kind: Callable[[nn.Linear], nn.Module], wrong: float
) -> None:
    x = drawn(20, 64).bfloat16()
    x[3, 7] = wrong
    with torch.inference_mode():
        finite = kind(linear())(x).isfinite().all(dim=-1)
    assert not finite[3]
    assert finite.sum() == 19


def test_int8_takes_the_blocks_matrices_and_fp8_their_mlps_only() -> None:
    visual = build(resolve("ViT-B-32", "random").config).visual
    shorten_attention(visual)
    found = {precision: set(quantisable(visual, precision)) for precision in ("int8", "fp8")}
    mlps = {f"transformer.resblocks.{i}.mlp.{layer}" for i in range(12) for layer in ("c_fc", "c_proj")}
    attention = {f"transformer.resblocks.{i}.attn.{layer}" for i in range(12) for layer in ("in_proj", "out_proj")}
    assert found == {"int8": mlps | attention, "fp8": mlps}


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_a_tower_that_is_no_transformer_is_refused(precision: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.precision: {precision} is for vision transformers"):
        quantise(build(resolve("tiny-resnet", "random").config).visual, precision)


@pytest.mark.parametrize("name", ["tiny", "tiny-average", "tiny-captions", "tiny-timm"])
@pytest.mark.parametrize(("precision", "least"), [("int8+bf16", 0.999), ("int8+fp32", 0.999), ("fp8+bf16", 0.99)])
def test_a_tower_in_eight_bits_is_close_to_fp32(
    name: str, precision: str, least: float, saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OpenClipEncoder(resolve(name, str(saved(name))), device="cpu", precision="fp32")
    cheap = in_eight_bits(monkeypatch, name, saved(name), precision)
    pixels = pictures(3, full.space.preprocess.side_px)
    found = cosines(cheap.encode_pixels(pixels), full.encode_pixels(pixels))
    assert least <= found.min()
    assert found.max() < 1 - 1e-7  # something was rounded


def test_words_and_the_projection_are_those_of_the_rest(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    half = OpenClipEncoder(resolve("tiny", str(saved("tiny"))), device="cpu", precision="bf16")
    cheap = in_eight_bits(monkeypatch, "tiny", saved("tiny"), "int8+bf16")
    assert np.array_equal(cheap.encode_texts(["a cat"]), half.encode_texts(["a cat"]))
    assert np.array_equal(cheap.projection, half.projection)  # type: ignore[arg-type]
    assert cheap.weights_bytes < half.weights_bytes


def test_every_precision_has_a_fingerprint_of_its_own(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ["fp32", "bf16", "int8+bf16", "int8+fp32", "fp8+bf16"]
    spaces = [in_eight_bits(monkeypatch, "tiny", saved("tiny"), precision).space for precision in told]
    assert len({space.fingerprint for space in spaces}) == len(told)
    assert [space.precision for space in spaces if space.is_lossy] == told[2:]
