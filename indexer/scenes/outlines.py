"""Outlines of the shapes: polygons about the origin, y downward, inside a circle of radius one."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

Polygon = npt.NDArray[np.float64]

_TURN: Final = 2 * np.pi


def _polar(radii: float | npt.NDArray[np.float64], angles: npt.NDArray[np.float64]) -> Polygon:
    return np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=-1)


def _regular(n_corners: int) -> Polygon:
    return _polar(1.0, np.arange(n_corners) * _TURN / n_corners)


def _circle(radius: float = 1.0) -> Polygon:
    return _regular(64) * radius


def _star() -> Polygon:
    angles = np.arange(10) * _TURN / 10
    return _polar(np.where(np.arange(10) % 2 == 0, 1.0, 0.42), angles)


def _heart() -> Polygon:
    t = np.linspace(0, _TURN, 64, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.5], axis=-1) / 16.5


def _moon() -> Polygon:
    # The inner arc meets the outer one where the two circles cross, so that the horns end in points.
    shift, inner = 0.42, 0.80
    x = (1 - inner**2 + shift**2) / (2 * shift)
    horn = float(np.arccos(x))
    inner_horn = float(np.arctan2(np.sin(horn), x - shift))
    outer_t = np.linspace(horn, _TURN - horn, 48)
    inner_t = np.linspace(_TURN - inner_horn, inner_horn, 48)
    outer_arc = np.stack([np.cos(outer_t), np.sin(outer_t)], axis=-1)
    inner_arc = np.stack([shift + inner * np.cos(inner_t), inner * np.sin(inner_t)], axis=-1)
    crescent: Polygon = np.concatenate([outer_arc, inner_arc]) + np.array((0.12, 0.0))
    return crescent


def _cross() -> Polygon:
    arm, end = 0.30, 0.92
    corner = np.array([(-arm, -end), (arm, -end), (arm, -arm)])
    quarter_turn = np.array([(0, 1), (-1, 0)])
    return np.concatenate([corner @ np.linalg.matrix_power(quarter_turn, i) for i in range(4)])


def _flower() -> Polygon:
    t = np.linspace(0, _TURN, 96, endpoint=False)
    return _polar(0.72 + 0.28 * np.cos(6 * t), t)


#: Shape -> its outline and the holes in it.
OUTLINES: Final[dict[str, Callable[[], tuple[Polygon, ...]]]] = {
    "circle": lambda: (_circle(0.95),),
    "ring": lambda: (_circle(), _circle(0.55)),
    "square": lambda: (_polar(1.15, (np.arange(4) + 0.5) * _TURN / 4),),
    "diamond": lambda: (_regular(4) * (0.74, 1.08),),
    "triangle": lambda: (_regular(3) * 1.1 + (0.0, 0.18),),
    "star": lambda: (_star() * 1.12,),
    "heart": lambda: (_heart(),),
    "moon": lambda: (_moon(),),
    "cross": lambda: (_cross(),),
    "flower": lambda: (_flower() * 1.05, _circle(0.2)),
}
