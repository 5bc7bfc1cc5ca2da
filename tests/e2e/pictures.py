"""Pictures for the end-to-end tests: each seed draws its own."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(seed: int, side_px: int = 96, format: str = "PNG") -> bytes:
    """A picture of soft random blots, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side_px, side_px), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format=format)
    return buffer.getvalue()
