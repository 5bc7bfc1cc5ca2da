"""Linear layers of a tower in eight bits: weights once, activations row by row as they come.

Both are symmetric: a row's largest magnitude becomes the largest number, so that no zero points need carrying. Weights
have one scale for each output, activations one for each row (a token of a picture), so that a picture's feature does
not depend on its neighbours in the batch. Sums are exact in int8 (32 bits), and rounded to bfloat16 in fp8.

Source: Dettmers et al., LLM.int8() (2022), vector-wise quantisation; Micikevicius et al., FP8 Formats for Deep Learning
(2022), E4M3.
"""

from __future__ import annotations

import re
from typing import Final

import torch
from torch import Tensor, nn

from indexer.encoder.attention import shorten_attention
from indexer.errors import ConfigError

_MLP: Final = r"mlp\.(c_fc|c_proj|fc1|fc2)"  # open_clip's names, and timm's
_ATTENTION: Final = r"attn\.(in_proj|out_proj|qkv|proj)"

# Measured on the demo model, which is trained: with its attention, int8 loses 0.004 of the top-10 overlap, and saves a
# third more; fp8 loses 0.022 of what little it can spare.
_CHOSEN: Final = {
    "int8": re.compile(rf"blocks\.\d+\.({_MLP}|{_ATTENTION})$"),
    "fp8": re.compile(rf"blocks\.\d+\.{_MLP}$"),
}

_ALIGNMENT: Final = 16
"""Both sides of a matrix must be multiples of this: the devices' libraries ask for it."""

_LEAST_MAGNITUDE: Final = 1e-12
"""A row of zeros has some scale, too."""


class Int8Linear(nn.Module):
    """Takes the place of an `nn.Linear`; products of bytes, sums of 32 bits."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = int8_rows(linear.weight)
        self.register_buffer("weight", weight)  # (n_out, n_in) int8
        self.register_buffer("scale", scale.view(-1))  # (n_out,) float32
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows, scale = int8_rows(x.flatten(end_dim=-2))
        sums = torch._int_mm(rows, self.weight.t())  # noqa: SLF001  # (m, n_out) int32; torch has no other name
        y = sums.float().mul_(scale).mul_(self.scale)
        if self.bias is not None:
            y.add_(self.bias)
        return y.to(x.dtype).view(*x.shape[:-1], -1)


class Fp8Linear(nn.Module):
    """Takes the place of an `nn.Linear` in bfloat16; four bits of exponent and three of mantissa."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, scale = fp8_rows(linear.weight)
        self.register_buffer("weight", weight)  # (n_out, n_in) float8
        self.register_buffer("scale", scale.view(1, -1))  # (1, n_out) float32
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows, scale = fp8_rows(x.flatten(end_dim=-2))
        y: Tensor = torch._scaled_mm(  # noqa: SLF001  # as above
            rows, self.weight.t(), scale, self.scale, self.bias, out_dtype=torch.bfloat16, use_fast_accum=True
        )
        return y.view(*x.shape[:-1], -1)


_LAYERS: Final = {"int8": Int8Linear, "fp8": Fp8Linear}


def int8_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m, n) as int8, and what they must be multiplied by, (m, 1) float32. What is not finite gives no number."""
    rows = rows.float()
    scale = rows.abs().amax(dim=-1, keepdim=True).clamp_min(_LEAST_MAGNITUDE) / 127
    return (rows * scale.reciprocal()).round_().to(torch.int8), scale


def fp8_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (m, n) as float8 E4M3, and what they must be multiplied by, (m, 1) float32."""
    rows = rows.float()
    largest = torch.finfo(torch.float8_e4m3fn).max
    scale = rows.abs().amax(dim=-1, keepdim=True).clamp_min(_LEAST_MAGNITUDE) / largest
    return (rows * scale.reciprocal()).to(torch.float8_e4m3fn), scale


def quantisable(visual: nn.Module, precision: str) -> dict[str, nn.Linear]:
    """Name -> layer of those in a tower's blocks; `shorten_attention` shows the attention's first.

    In fp8 they are the MLPs, in int8 also the attention's projections. The patch embedding, the norms and the final
    projection are none: they are cheap, and an error there is not averaged away.
    """
    return {
        name: layer
        for name, layer in visual.named_modules()
        if isinstance(layer, nn.Linear)
        and _CHOSEN[precision].search(name)
        and not layer.in_features % _ALIGNMENT
        and not layer.out_features % _ALIGNMENT
    }


def quantise(visual: nn.Module, precision: str) -> None:
    """Replace these layers of a loaded tower, in place and one after another, on the device where they are.

    Raises:
        ConfigError: The tower has none: it is no vision transformer of open_clip's or timm's.
    """
    shorten_attention(visual)
    layers = quantisable(visual, precision)
    if not layers:
        raise ConfigError(
            f'model.precision: {precision} is for vision transformers, and this image tower is none; set "auto"'
        )
    for name, layer in layers.items():
        visual.set_submodule(name, _LAYERS[precision](layer))
