"""Sizes told by the architecture alone agree with the models themselves."""

from __future__ import annotations

import pytest
import torch

from indexer.encoder.checkpoint import resolve
from indexer.encoder.sizing import size_of
from indexer.encoder.tower import build


def test_the_size_of_the_demo_model_is_that_of_its_tensors() -> None:
    checkpoint = resolve("demo", "")
    size = size_of(checkpoint)
    model = build(checkpoint.config)
    projection = model.visual.proj.numel()
    assert size.n_parameters == sum(parameter.numel() for parameter in model.parameters()) - projection
    assert (size.side_px, size.dim) == (64, 128)
    n_tokens, width = (64 // 8) ** 2 + 1, 128
    assert (size.n_int8, size.n_fp8) == (4 * 12 * width**2, 4 * 8 * width**2)
    assert size.n_activations == n_tokens * width * (4 + 4 + 4)  # an MLP's hidden layer, twice, and what goes around it


@pytest.mark.parametrize(
    ("name", "dim", "n_millions"), [("ViT-H-14", 1280, 985), ("RN50", 1024, 102), ("convnext_base_w", 640, 179)]
)
def test_models_of_every_kind_have_a_size_that_costs_no_memory(name: str, dim: int, n_millions: int) -> None:
    size = size_of(resolve(name, "random"))
    assert size.dim == dim
    assert round(size.n_parameters / 1e6) == n_millions
    assert 0.4e6 < size.n_activations < 10e6


def test_nothing_is_left_on_torchs_default_device() -> None:
    size_of(resolve("demo", ""))
    assert torch.empty(1).device == torch.device("cpu")
