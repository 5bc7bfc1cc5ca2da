"""Named tensors read from a checkpoint's file, under the names that open_clip gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from indexer.errors import CheckpointMismatch

Weights: TypeAlias = Mapping[str, Callable[[], Tensor]]
"""Name -> reader of one tensor, so that no more than one is in memory beside the model."""

SAFE_SUFFIX: Final = ".safetensors"
TORCH_SUFFIXES: Final = (".pt", ".pth", ".bin", ".ckpt")
"""Of PyTorch's own format, which is a pickle."""

_HF_MARK: Final = "vision_model."
_HF_NAMES: Final = (
    ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
    ("vision_model.embeddings.patch_embedding.", "visual.conv1."),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
    ("vision_model.pre_layrnorm.", "visual.ln_pre."),  # spelled so there
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
    ("vision_model.post_layernorm.", "visual.ln_post."),
    ("text_model.embeddings.token_embedding.", "token_embedding."),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("text_model.final_layer_norm.", "ln_final."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
    (".self_attn.out_proj.", ".attn.out_proj."),
)
_HF_TRANSPOSED: Final = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


def read_weights(path: Path) -> Weights:
    """Open a checkpoint; tensors are read when asked for.

    Takes safetensors only: PyTorch's own format is pickled, and what is pickled is not read here. Tensors in the naming
    of Hugging Face's `CLIPModel` and `CLIPVisionModelWithProjection` come out under open_clip's names.

    Raises:
        CheckpointMismatch: The file is broken, or of another kind.
    """
    try:
        weights = _read_safe(path)
        return _from_hugging_face(weights) if is_hugging_face(weights) else weights
    except (SafetensorError, RuntimeError, EOFError, OSError, KeyError, TypeError) as error:
        cause = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointMismatch(
            f"{path} cannot be read as a checkpoint ({cause}); a whole {SAFE_SUFFIX} file is wanted"
        ) from error


def is_hugging_face(weights: Weights) -> bool:
    """Whether the names are those of Hugging Face's CLIP."""
    return any(name.startswith(_HF_MARK) for name in weights)


def _read_safe(path: Path) -> Weights:
    file = safe_open(path, framework="pt")
    return {name: partial(file.get_tensor, name) for name in file.offset_keys()}  # type: ignore[no-untyped-call]


def _from_hugging_face(weights: Weights) -> Weights:
    renamed: dict[str, Callable[[], Tensor]] = {}
    for name, read in weights.items():
        if name in _HF_TRANSPOSED:
            renamed[_HF_TRANSPOSED[name]] = partial(_transposed, read)
        elif ".self_attn.q_proj." in name:
            parts = [weights[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"]
            renamed[_open_clip_name(name.replace(".self_attn.q_proj.", ".attn.in_proj_"))] = partial(_joined, parts)
        elif ".self_attn.k_proj." not in name and ".self_attn.v_proj." not in name:
            renamed[_open_clip_name(name)] = read
    return renamed


def _open_clip_name(name: str) -> str:
    for theirs, ours in _HF_NAMES:
        name = name.replace(theirs, ours)
    return name


def _transposed(read: Callable[[], Tensor]) -> Tensor:
    return read().T.contiguous()


def _joined(reads: list[Callable[[], Tensor]]) -> Tensor:
    return torch.cat([read() for read in reads])
