"""A scene: what a drawn picture shows, before it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from indexer.scenes.drawing import draw
from indexer.scenes.phrase import Phrase
from indexer.scenes.thing import Thing
from indexer.scenes.words import COLOURS, PLACE_WORDS, RELATION_WORDS, SHAPES, Size, Texture

_SIZES: tuple[Size, ...] = ("small", "medium", "large")
_TEXTURES: tuple[Texture, ...] = ("striped", "dotted", "checkered")
#: By (number of things in the picture, size): radius as a fraction of the picture's side.
_RADII: dict[int, dict[Size, float]] = {
    1: {"small": 0.12, "medium": 0.19, "large": 0.30},
    2: {"small": 0.10, "medium": 0.15, "large": 0.21},
    3: {"small": 0.09, "medium": 0.125, "large": 0.17},
    4: {"small": 0.08, "medium": 0.11, "large": 0.15},
    5: {"small": 0.075, "medium": 0.10, "large": 0.13},
}
_LINES = ("row", "column")
#: So many in a row or a column leave no room for different sizes.
_MIN_CROWDED_LINE = 4
#: A texture on anything smaller is lost at the resolution of a small model.
_MIN_TEXTURED_RADIUS = 0.12
_MAX_RADIUS_BESIDE_ANOTHER = 0.18
_P_TWO_KINDS = 0.25
_P_TEXTURED = 0.45
_P_SCATTERED = 0.5


@dataclass(frozen=True, slots=True)
class Scene:
    """One or two kinds of things on a coloured background."""

    things: tuple[Thing, ...]
    background: str

    def caption(self, rng: np.random.Generator | None = None) -> str:
        """Says everything there is to see, in the usual words, or in words that `rng` chooses."""
        return Phrase.full(self).text(rng)

    def draw(self, side_px: int, rng: np.random.Generator) -> Image:
        """Draws a square RGB picture; `rng` chooses what the caption does not say (tone, angle, light, grain)."""
        return draw(self.things, self.background, side_px, rng)


def random_scene(rng: np.random.Generator) -> Scene:
    """Makes up a scene: every shape, colour, count, size, texture and position that go together can occur."""
    if rng.random() < _P_TWO_KINDS:
        return _two_kinds(rng)
    background, colour = _pick_distinct(rng, list(COLOURS), 2)
    count = int(rng.choice(5, p=(0.44, 0.14, 0.14, 0.14, 0.14))) + 1
    if count == 1:
        position = _pick(rng, list(PLACE_WORDS))
    elif rng.random() < _P_SCATTERED:
        position = "scattered"
    else:
        position = _pick(rng, list(_LINES))
    shape = _pick(rng, list(SHAPES))
    size = _random_size(rng, count, position)
    radius = _RADII[count][size]
    if position in _LINES:
        radius = min(radius, 0.39 / count)
    thing = Thing(shape, colour, count, size, _random_texture(rng, radius), position, radius)
    return Scene((thing,), background)


def _two_kinds(rng: np.random.Generator) -> Scene:
    background, *colours = _pick_distinct(rng, list(COLOURS), 3)
    shapes = _pick_distinct(rng, list(SHAPES), 2)
    positions = list(RELATION_WORDS)[int(rng.integers(len(RELATION_WORDS)))]
    things = []
    for shape, colour, position in zip(shapes, colours, positions, strict=True):
        size = _random_size(rng, 1, position)
        radius = min(_RADII[2][size], _MAX_RADIUS_BESIDE_ANOTHER)
        things.append(Thing(shape, colour, 1, size, _random_texture(rng, radius), position, radius))
    return Scene(tuple(things), background)


def _random_size(rng: np.random.Generator, count: int, position: str) -> Size:
    return "medium" if position in _LINES and count >= _MIN_CROWDED_LINE else _SIZES[int(rng.integers(len(_SIZES)))]


def _random_texture(rng: np.random.Generator, radius: float) -> Texture:
    if radius < _MIN_TEXTURED_RADIUS or rng.random() >= _P_TEXTURED:
        return "solid"
    return _TEXTURES[int(rng.integers(len(_TEXTURES)))]


def _pick(rng: np.random.Generator, choices: list[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _pick_distinct(rng: np.random.Generator, choices: list[str], n: int) -> list[str]:
    return [choices[int(i)] for i in rng.permutation(len(choices))[:n]]
