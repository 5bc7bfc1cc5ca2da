"""Photographs for benchmarks: given ones, or drawn ones with the statistics of natural pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

QUALITY = 90
_N_LEAVES = 1500


def load(folder: str | None, n: int, seed: int = 0) -> list[bytes]:
    """The first `n` JPEG files of a folder, by name; without a folder, `n` drawn ones of 500x375."""
    if folder is None:
        return [as_jpeg(draw(500, 375, seed + i)) for i in range(n)]
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith((".jpg", ".jpeg")))
    if not names:
        raise SystemExit(f"--photos: no JPEG files in {folder}")
    return [_read(os.path.join(folder, name)) for name in names[:n]]


def of_size(photos: Sequence[bytes] | None, width: int, height: int, seed: int = 0) -> bytes:
    """One JPEG of this size: drawn, or a mosaic of photographs at twice their size, with a sensor's noise."""
    if not photos:
        return as_jpeg(draw(width, height, seed))
    rng = np.random.default_rng(seed)
    mosaic = Image.new("RGB", (width, height))
    for y in range(0, height, 750):
        for x in range(0, width, 1000):
            with Image.open(io.BytesIO(photos[int(rng.integers(len(photos)))])) as photo:
                mosaic.paste(photo.convert("RGB").resize((1000, 750), Image.Resampling.BICUBIC), (x, y))
    return as_jpeg(_noisy(np.asarray(mosaic, np.float32), rng))


def draw(width: int, height: int, seed: int) -> Image.Image:
    """Dead leaves (Lee, Mumford and Huang, 2001) under 1/f texture and noise: compresses like a photograph."""
    rng = np.random.default_rng(seed)
    long = max(width, height)
    image = Image.new("RGB", (width, height), (120, 120, 110))
    pen = ImageDraw.Draw(image)
    smallest, largest = 0.004 * long, 0.35 * long
    part = rng.random(_N_LEAVES)
    radii = 1 / np.sqrt(part / smallest**2 + (1 - part) / largest**2)  # density falls with the cube
    for radius in radii:
        x, y = rng.random(2) * (width, height)
        flat = radius * rng.uniform(0.4, 1)
        colour = np.clip(rng.normal(120, 55) + rng.normal(0, 25, 3), 0, 255).astype(int)
        pen.ellipse((x - radius, y - flat, x + radius, y + flat), fill=tuple(map(int, colour)))
    return _noisy(np.asarray(image, np.float32) + _texture(width, height, rng)[:, :, None], rng)


def as_jpeg(image: Image.Image, quality: int = QUALITY) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _texture(width: int, height: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    texture = np.zeros((height, width), np.float32)
    cell = 2
    while cell < max(width, height):
        grid = rng.normal(size=(height // cell + 2, width // cell + 2)).astype(np.float32)
        smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
        texture += np.asarray(smooth) * np.float32(cell**0.5)
        cell *= 2
    return texture * np.float32(16 / texture.std())


def _noisy(levels: np.ndarray[tuple[int, ...], np.dtype[np.float32]], rng: np.random.Generator) -> Image.Image:
    noise = rng.standard_normal((*levels.shape[:2], 1), np.float32) * 2
    return Image.fromarray(np.clip(levels + noise, 0, 255).astype(np.uint8))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
