"""Pictures that the tests of this room draw for themselves."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

from indexer.images.limits import Limits
from indexer.types import Preprocess

LIMITS = Limits(max_pixels=20_000_000, max_bytes=8 << 20)
PREPROCESS = Preprocess(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SMALL = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@cache
def _scenery(seed: int) -> Image.Image:
    """Detail at every scale, smooth and sharp, 1600 x 1600."""
    rng = np.random.default_rng(seed)
    levels = np.zeros((1600, 1600, 3), np.float32)
    for cells in (3, 9, 30, 100, 400):
        grid = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        how = Image.Resampling.NEAREST if cells % 2 else Image.Resampling.BICUBIC
        levels += np.asarray(Image.fromarray(grid).resize((1600, 1600), how), np.float32) - 128
    levels += rng.normal(scale=8, size=levels.shape)
    return Image.fromarray(np.clip(levels * 0.5 + 128, 0, 255).astype(np.uint8))


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture of this size."""
    scenery = _scenery(seed % 3)
    if width <= 1600 and height <= 1600:
        return scenery.crop((0, 0, width, height))
    return scenery.resize((width, height), Image.Resampling.BICUBIC)


def soft(width: int, height: int) -> Image.Image:
    """A picture without fine detail, which lossy formats keep."""
    grid = np.random.default_rng(5).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def turned(image: Image.Image, format: str, orientation: int, **options: object) -> bytes:
    """A file whose EXIF block says how to turn its pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, format, exif=exif.tobytes(), **options)
