"""Small open_clip models with random weights, registered with open_clip and saved as its users save theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from indexer.types import Pixels

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny": {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-quickgelu": {"embed_dim": 48, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-average": {
        "embed_dim": 48,
        "vision_cfg": VISION
        | {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True, "ls_init_value": 0.1},
        "text_cfg": TEXT | {"pool_type": "last", "no_causal_mask": True, "proj_bias": True},
        "custom_text": True,
    },
    "tiny-captions": {
        "embed_dim": 48,
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 20, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 1},
        "custom_text": True,
    },
    "tiny-resnet": {
        "embed_dim": 48,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": TEXT,
    },
    "tiny-timm": {
        "embed_dim": 48,
        "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
    },
}


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small lose more by waiting for each other's threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("configs")
    for name, config in CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="session")
def reference(registered: None) -> Callable[[str], torch.nn.Module]:
    """open_clip's own model of one of the names, with random weights."""
    models: dict[str, torch.nn.Module] = {}

    def get(name: str) -> torch.nn.Module:
        if name not in models:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(len(name))
                models[name] = open_clip.create_model(name).eval().requires_grad_(False)
        return models[name]

    return get


@pytest.fixture(scope="session")
def saved(
    reference: Callable[[str], torch.nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """The weights of `reference` in a safetensors file."""
    folder = tmp_path_factory.mktemp("weights")

    def get(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            save_file({key: value.contiguous() for key, value in reference(name).state_dict().items()}, path)
        return path

    return get


def pictures(n: int, side_px: int = 32, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, side_px, side_px, 3), np.uint8)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
