"""Drawing a scene with Pillow and NumPy: antialiased shapes with shading, soft shadows and grain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from indexer.scenes.outlines import OUTLINES
from indexer.scenes.thing import Thing
from indexer.scenes.words import COLOURS

Pixels = npt.NDArray[np.float32]

_SUPERSAMPLING = 4
_LARGE_SIDE_PX = 256
_MARGIN = 0.05
_MAX_TILT_RAD = 0.2
_SHADOW_OFFSET = (0.012, 0.022)
_SHADOW_BLUR = 0.016
_SHADOW_DEPTH = 0.38
#: How far a background's colour is moved toward white, so that things stand out on it.
_BACKGROUND_TINT = 0.22
_TONE_JITTER = 9.0
_AXES = {"left": -1.0, "right": 1.0, "top": -1.0, "bottom": 1.0}


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one thing stands: centre and radius as fractions of the side, and its tilt."""

    x: float
    y: float
    radius: float
    tilt_rad: float


def draw(things: Sequence[Thing], background: str, side_px: int, rng: np.random.Generator) -> Image.Image:
    """Draws things on a background as a square RGB picture of `side_px`."""
    groups = [(thing, lay_out(thing, rng)) for thing in things]
    canvas = _background(background, side_px, rng)  # (side, side, 3)
    masks = [_mask(thing.shape, stands, side_px) for thing, stands in groups]
    canvas *= _shadow(masks, side_px)[..., None]
    for (thing, stands), mask in zip(groups, masks, strict=True):
        coverage = np.asarray(mask, dtype=np.float32)[..., None] / 255  # (side, side, 1)
        canvas += coverage * (_paint(thing, stands, side_px, rng) - canvas)
    grain = rng.standard_normal((side_px, side_px, 1), dtype=np.float32) * np.float32(rng.uniform(0.5, 5.0))
    return Image.fromarray(np.clip(canvas + grain, 0, 255).astype(np.uint8))


def lay_out(thing: Thing, rng: np.random.Generator) -> list[Stand]:
    """Places the `thing.count` copies of `thing` inside the picture, none over another."""
    n, radius = thing.count, thing.radius * float(rng.uniform(0.94, 1.06))
    if thing.position == "row":
        centres = _line(n, radius, rng)
    elif thing.position == "column":
        centres = _line(n, radius, rng)[:, ::-1]
    elif thing.position == "scattered":
        centres = _scatter(n, radius, rng)
    else:
        centres = _place(thing.position, radius, rng)[None]
    tilts = rng.uniform(-_MAX_TILT_RAD, _MAX_TILT_RAD, n)
    return [Stand(float(x), float(y), radius, float(tilt)) for (x, y), tilt in zip(centres, tilts, strict=True)]


def _place(position: str, radius: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    words = position.split()
    x = sum(_AXES[word] for word in words if word in ("left", "right"))
    y = sum(_AXES[word] for word in words if word in ("top", "bottom"))
    reach = max(0.5 - _MARGIN - 1.1 * radius, 0.0)
    return np.array([0.5 + x * min(reach, 0.27), 0.5 + y * min(reach, 0.27)]) + rng.uniform(-0.025, 0.025, 2)


def _line(n: int, radius: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    step = min((1 - 2 * _MARGIN - 2.2 * radius) / max(n - 1, 1), radius * 3.2)
    along = 0.5 + step * (np.arange(n) - (n - 1) / 2)
    across = 0.5 + rng.uniform(-0.16, 0.16) + rng.uniform(-0.012, 0.012, n)
    return np.stack([along, across], axis=-1)


def _scatter(n: int, radius: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Throws n centres until none are close and they do not look like a row or a column."""
    low, high = _MARGIN + 1.1 * radius, 1 - _MARGIN - 1.1 * radius
    rows, columns = np.triu_indices(n, 1)
    while True:
        throws = rng.uniform(low, high, (64, n, 2))
        gaps = np.linalg.norm(throws[:, rows] - throws[:, columns], axis=-1).min(axis=1)
        spread = np.ptp(throws, axis=1).min(axis=1)
        good = np.flatnonzero((gaps > 2.15 * radius) & (spread > max(0.14, 1.4 * radius)))
        if good.size:
            first: npt.NDArray[np.float64] = throws[good[0]]
            return first


def _mask(shape: str, stands: Sequence[Stand], side_px: int) -> Image.Image:
    n_fold = _SUPERSAMPLING if side_px < _LARGE_SIDE_PX else _SUPERSAMPLING - 1
    large = Image.new("L", (side_px * n_fold,) * 2)
    pen = ImageDraw.Draw(large)
    outline, *holes = OUTLINES[shape]()
    for stand in stands:
        cos, sin = np.cos(stand.tilt_rad), np.sin(stand.tilt_rad)
        place = np.array([[cos, sin], [-sin, cos]]) * stand.radius
        for fill, polygon in ((255, outline), *((0, hole) for hole in holes)):
            corners = (polygon @ place + (stand.x, stand.y)) * side_px * n_fold
            pen.polygon(corners.ravel().tolist(), fill=fill)
    return large.reduce(n_fold)


def _shadow(masks: Sequence[Image.Image], side_px: int) -> Pixels:
    """Returns the light that reaches the background, 0 to 1, shape (side, side)."""
    total = Image.new("L", (side_px, side_px))
    offset = (round(_SHADOW_OFFSET[0] * side_px), round(_SHADOW_OFFSET[1] * side_px))
    for mask in masks:
        total.paste(255, offset, mask)
    blurred = total.filter(ImageFilter.GaussianBlur(_SHADOW_BLUR * side_px))
    return 1 - np.asarray(blurred, dtype=np.float32) * np.float32(_SHADOW_DEPTH / 255)


def _background(colour: str, side_px: int, rng: np.random.Generator) -> Pixels:
    base = _tone(colour, rng)
    if colour not in ("black", "white"):
        base += (255 - base) * np.float32(_BACKGROUND_TINT)
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.22)
    vignette = rng.uniform(0.1, 0.5) if rng.random() < 0.4 else 0.0
    across, down = (axis - np.float32(0.5) for axis in _grid(side_px))
    slope = np.float32(depth * np.cos(angle)) * across + np.float32(depth * np.sin(angle)) * down
    light = 1 + slope - np.float32(vignette) * (across**2 + down**2)
    return light[..., None] * base


def _paint(thing: Thing, stands: Sequence[Stand], side_px: int, rng: np.random.Generator) -> Pixels:
    """Colours the whole picture as the thing is coloured; the mask cuts it out. Shape (side, side or 1, 3)."""
    base = _tone(thing.colour, rng)
    _, down = _grid(side_px)
    light = np.float32(1.06) - np.float32(rng.uniform(0.04, 0.16)) * down
    paint = light[..., None] * base
    if thing.texture == "solid":
        return paint
    second = base * np.float32(0.62) if thing.colour in ("white", "yellow") else base + (255 - base) * np.float32(0.62)
    pattern = _pattern(thing, stands[0], side_px, rng)[..., None]
    return paint + pattern * (second - paint)


def _pattern(thing: Thing, stand: Stand, side_px: int, rng: np.random.Generator) -> Pixels:
    """Returns the share of the second colour, 0 to 1, with edges one pixel soft, shape (side, side)."""
    period = stand.radius * (0.46 if thing.texture == "striped" else 0.62)
    angle = rng.uniform(0, np.pi) if thing.texture == "striped" else rng.uniform(-0.3, 0.3)
    across, down = _grid(side_px)
    x, y = across - np.float32(stand.x), down - np.float32(stand.y)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    scale = np.float32(2 * np.pi / period)
    u, v = (cos * x + sin * y) * scale, (cos * y - sin * x) * scale
    if thing.texture == "striped":
        wave, level = np.sin(u), 0.15
    elif thing.texture == "checkered":
        wave, level = np.sin(u / 2 * 1.3) * np.sin(v / 2 * 1.3), 0.0
    else:
        wave, level = (np.cos(u) + np.cos(v)) / 2, 0.35
    sharpness = np.float32(period * side_px / np.pi)
    share: Pixels = np.clip((wave - np.float32(level)) * sharpness + np.float32(0.5), 0, 1)
    return share


def _tone(colour: str, rng: np.random.Generator) -> Pixels:
    jitter = np.clip(rng.normal(0, _TONE_JITTER, 3), -2 * _TONE_JITTER, 2 * _TONE_JITTER)
    return np.clip(np.array(COLOURS[colour]) + jitter, 6, 250).astype(np.float32)


def _grid(side_px: int) -> tuple[Pixels, Pixels]:
    """Returns x as a row and y as a column, 0 to 1, shapes (1, side) and (side, 1)."""
    steps = (np.arange(side_px, dtype=np.float32) + np.float32(0.5)) / np.float32(side_px)
    return steps[None, :], steps[:, None]
