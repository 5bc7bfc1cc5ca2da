"""Embedding spaces: all that decides which numbers a picture becomes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How bytes become pixels and pixels become the tower's input; part of the fingerprint.

    Attributes:
        side_px: Side of the square input.
        mean: Per channel, on a scale of 0 to 1.
        std: Per channel, on a scale of 0 to 1.
        interpolation: Name of the resampling filter, as open_clip spells it.
        resize: How a picture is fitted: `shortest` (resize, then centre crop), `longest` (then pad), or `squash`.
        fill: Padding level, 0 to 255, used by `longest`.
        mode: `exact` (within 1 LSB of open_clip's transform) or `scaled` (DCT-scaled JPEG decode).
        version: Raised whenever the same bytes may give other pixels than before.
    """

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    fill: int = 0
    mode: Literal["exact", "scaled"] = "exact"
    version: int = 2


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """All that decides which numbers a picture becomes. Vectors of two spaces are never mixed.

    Attributes:
        model: Architecture, as open_clip names it.
        weights: SHA-256 (hex) of the weights' file, or `random-<seed>`.
        precision: Precision class the model runs in: `fp32`, `fp16`, `bf16`; or `int8+fp16` and the like, where the
            matrices of the image tower's blocks have eight bits, and all else, text tower included, has the second.
            The projection is float32 in all of them.
        dim: Length of a visual feature.
        preprocess: See `Preprocess`.
    """

    model: str
    weights: str
    precision: str
    dim: int
    preprocess: Preprocess
    normalisation: Literal["l2"] = "l2"

    @property
    def is_lossy(self) -> bool:
        """Whether the precision costs so much that it must pass the gate."""
        return "+" in self.precision

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this space in cache keys, folders and answers."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]
