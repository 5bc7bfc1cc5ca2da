"""An open_clip model filled with a checkpoint's tensors, and its image tower from uint8 pixels to unit features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from indexer.encoder.checkpoint import Checkpoint
from indexer.encoder.device import Placement
from indexer.encoder.weights import Weights
from indexer.errors import CheckpointMismatch, ConfigError
from indexer.types import Matrix, Preprocess

_PROJECTION: Final = "visual.proj"
_FINAL_NORM: Final = "visual.ln_post."
_TRAINING_ONLY: Final = {"logit_scale", "logit_bias"}
_N_NAMED: Final = 3
"""How many wrong tensors a message names."""


class Tower(nn.Module):
    """The image tower between two normalisations: (n, side, side, 3) uint8 to (n, d) float16 of unit length.

    Rows that are not finite, or zero, come out all NaN. The last norm of a vision transformer and the unit length are
    computed in float32 whatever the precision of the rest.
    """

    _scale: Tensor
    _shift: Tensor

    def __init__(self, visual: nn.Module, preprocess: Preprocess, dtype: torch.dtype) -> None:
        super().__init__()
        if isinstance(visual, VisionTransformer) and getattr(visual, "attn_pool_contrastive", None) is None:
            visual.ln_post = _FloatNorm(visual.ln_post)
        self.visual = visual
        self._dtype = dtype
        mean, std = torch.tensor(preprocess.mean), torch.tensor(preprocess.std)
        self.register_buffer("_scale", (1 / (255 * std)).view(1, 3, 1, 1))
        self.register_buffer("_shift", (-mean / std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float()  # (n, 3, side, side)
        x = (x * self._scale + self._shift).to(self._dtype)
        output = self.visual(x)
        # Towers built for captioning give their tokens too.
        feature: Tensor = (output[0] if isinstance(output, tuple) else output).float()  # (n, d)
        length: Tensor = feature.norm(dim=-1, keepdim=True)
        usable = length.isfinite() & (length > 0)
        return (feature / length).masked_fill(~usable, math.nan).half()


class _FloatNorm(nn.Module):
    """A layer norm computed and answered in float32."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self._norm = norm.float()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(
            x.float(), self._norm.normalized_shape, self._norm.weight, self._norm.bias, self._norm.eps
        )


def build(config: Mapping[str, Any]) -> Any:
    """An open_clip model without weights: its memory is reserved, and neither written nor read.

    Raises:
        ConfigError: The architecture takes its text tower from another library, or is not one of open_clip's.
    """
    arguments = deepcopy(dict(config))
    if "hf_model_name" in arguments["text_cfg"]:
        raise ConfigError("model.name: architectures with a text tower of Hugging Face's are not supported")
    custom_text = arguments.pop("custom_text", False)
    captions = custom_text and "multimodal_cfg" in arguments
    model_class = open_clip.CoCa if captions else open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    try:
        with _Unwritten():
            model: nn.Module = model_class(**arguments)
    except (TypeError, AssertionError) as error:
        raise ConfigError(f"model.name: open_clip cannot build this architecture ({error})") from error
    return model.eval().requires_grad_(False)


def parameter_bytes(config: Mapping[str, Any]) -> int:
    """Size of an architecture's weights in float32, the precision they are published in."""
    return sum(tensor.numel() * 4 for tensor in build(config).state_dict().values())


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a checkpoint held.

    Attributes:
        has_text: Whether there was a text tower.
        projection: (d, j) float32; None where the tower has no joint space.
    """

    has_text: bool
    projection: Matrix | None


def load(model: nn.Module, weights: Weights, placement: Placement, checkpoint: Checkpoint) -> Loaded:
    """Fill a built model, tensor by tensor, straight on its device in its precision.

    A checkpoint of the image tower alone leaves the text tower empty. The projection of a vision transformer is taken
    out of the model, whose image tower then ends in the visual feature. Other towers end in the joint embedding itself,
    which then is the visual feature too, and the projection is the identity.

    Args:
        model: From `build`.
        weights: From `read_weights`, or `untrained`.
        placement: Where the tensors go, and as what.
        checkpoint: What `model` was built from.

    Raises:
        CheckpointMismatch: Tensors are missing, unknown or of another shape.
    """
    expected = model.state_dict()
    given = {name: read for name, read in _named_as_in(model, weights).items() if name not in _TRAINING_ONLY}
    has_text = any(not name.startswith("visual.") for name in given)
    optional = _TRAINING_ONLY if has_text else {*_TRAINING_ONLY, _PROJECTION}
    wanted = [name for name in expected if name not in optional and (has_text or name.startswith("visual."))]
    missing = [name for name in wanted if name not in given]
    unknown = [name for name in given if name not in expected]
    misshapen = []
    state = {}
    for name in filter(expected.__contains__, given):  # in the order of the file
        tensor, shape = given[name](), expected[name].shape
        if tensor.shape != shape:
            misshapen.append(f"{name} {tuple(tensor.shape)} instead of {tuple(shape)}")
        elif not missing and not unknown:
            in_float = name == _PROJECTION or name.startswith(_FINAL_NORM)
            state[name] = _placed(tensor, placement, in_float=in_float)
    if missing or unknown or misshapen:
        wrong = [_listed("missing", missing), _listed("unknown", unknown), _listed("of another shape", misshapen)]
        raise CheckpointMismatch(
            f"{checkpoint.pretrained}: the weights do not fit {checkpoint.model}; {'; '.join(filter(None, wrong))}"
        )
    projection = _take_projection(model, state, checkpoint.config["embed_dim"])
    model.load_state_dict(state, strict=False, assign=True)
    return Loaded(has_text, projection)


def _named_as_in(model: nn.Module, weights: Weights) -> Weights:
    """Text tensors lie under `text.` in some of open_clip's classes, beside the image tower in others and old files."""
    named = convert_to_custom_text_state_dict(dict(weights)) if hasattr(model, "text") else weights
    return {name: read for name, read in named.items() if not name.endswith("position_ids")}


def _take_projection(model: nn.Module, state: dict[str, Tensor], joint_dim: int) -> Matrix | None:
    visual = model.visual
    if not isinstance(visual, VisionTransformer):
        return np.eye(joint_dim, dtype=np.float32)
    visual.proj = None
    matrix = state.pop(_PROJECTION, None)
    return None if matrix is None else matrix.cpu().numpy()


def untrained(model: nn.Module, seed: int) -> Weights:
    """Random weights for a built model, the same for a seed everywhere, scaled so that activations stay near one."""
    state = model.state_dict()
    return {
        name: partial(_drawn, name, tensor, seed * 1_000_003 + place)
        for place, (name, tensor) in enumerate(state.items())
    }


def _drawn(name: str, like: Tensor, seed: int) -> Tensor:
    if not like.is_floating_point() or name.endswith(("bias", "running_mean")):
        return torch.zeros_like(like)
    if like.ndim < 2 and not name.endswith("embedding"):
        return torch.ones_like(like)
    n_inputs = like.shape[0] if name.endswith(("proj", "projection")) else math.prod(like.shape[1:] or like.shape)
    # The embeddings' scale is CLIP's; the branches are damped, so that 32 of them do not drown what they add to.
    damping = 0.125 if name.endswith(("out_proj.weight", "c_proj.weight")) else 1.0
    std = 0.02 if "embedding" in name else damping * n_inputs**-0.5
    return torch.empty(like.shape).normal_(0, std, generator=torch.Generator().manual_seed(seed))


def _placed(tensor: Tensor, placement: Placement, *, in_float: bool) -> Tensor:
    dtype = tensor.dtype
    if tensor.is_floating_point():
        dtype = torch.float32 if in_float else placement.dtype
    if placement.device.type == "cpu":
        # A copy always: a mapped file that is cut short under a running process kills it.
        return tensor.to(dtype, copy=True)
    return tensor.to(placement.device).to(dtype)


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    rest = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return f"{what}: {', '.join(names[:_N_NAMED])}{rest}"


class _Unwritten(TorchFunctionMode):
    """Leaves new random tensors as they are: what is overwritten from a file at once need not be drawn first."""

    _DRAWING: Final = (
        "normal_", "uniform_", "trunc_normal_",
        "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_",
    )  # fmt: skip

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._DRAWING:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)
