"""How large a model is, without its weights: from the architecture alone, on torch's device of shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from indexer.encoder.attention import shorten_attention
from indexer.encoder.checkpoint import Checkpoint
from indexer.encoder.device import EIGHT_BITS
from indexer.encoder.quantised import quantisable
from indexer.encoder.tower import build
from indexer.types import ModelSize


def size_of(checkpoint: Checkpoint) -> ModelSize:
    """What the model takes. Nothing is computed: tensors on the device `meta` have shapes and no content.

    Raises:
        ConfigError: open_clip cannot build the architecture.
    """
    with torch.device("meta"):
        model = build(checkpoint.config)
    model.to("meta")
    visual = model.visual
    if getattr(visual, "proj", None) is not None:
        visual.proj = None  # the visual feature is what comes before it
    side = checkpoint.preprocess.side_px
    most, dim = _passed(visual, torch.empty((1, 3, side, side), device="meta"))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    shorten_attention(visual)
    n_bytes = [
        sum(layer.weight.numel() for layer in quantisable(visual, precision).values()) for precision in EIGHT_BITS
    ]
    return ModelSize(n_parameters, most, side, dim, *n_bytes)


def _passed(visual: nn.Module, pixels: Tensor) -> tuple[int, int]:
    """The most numbers that one layer reads and writes, with the residual beside them; and the length of a feature."""
    at_once = [0]
    stream = [0]

    def note(_layer: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        if isinstance(made, Tensor) and given and isinstance(given[0], Tensor):
            at_once.append(given[0].numel() + made.numel())
            stream.append(min(given[0].numel(), made.numel()))

    hooks = [module.register_forward_hook(note) for module in visual.modules() if next(module.children(), None) is None]
    try:
        with torch.inference_mode():
            made = visual(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    feature: Tensor = made[0] if isinstance(made, tuple) else made
    return max(at_once) + max(stream), feature.shape[-1]
