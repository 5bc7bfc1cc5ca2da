"""Drawn pictures: each a thing on a colour, so that a test knows what is like what."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {
    "red": (196, 62, 52),
    "green": (74, 140, 84),
    "blue": (58, 96, 178),
    "yellow": (224, 182, 70),
    "violet": (128, 88, 168),
    "grey": (130, 134, 140),
}
THINGS = ("circle", "square", "hill", "bar", "ring")
FORMATS = ("JPEG", "PNG", "WEBP")
SIZES = ((640, 480), (480, 640), (1200, 800), (800, 800), (1600, 700))
DIM = len(COLOURS) + len(THINGS) + 1
HOSTILE = '<img src=x onerror="document.title=1">&amp;\u202egpj.exe'


@dataclass
class Shown:
    """One picture of the stand."""

    i: int
    name: str
    copies: int = 1
    alike: int = 0

    @property
    def id(self) -> str:
        return hashlib.sha256(b"%d" % self.i).hexdigest()

    @property
    def colour(self) -> str:
        return list(COLOURS)[self.i % len(COLOURS)]

    @property
    def thing(self) -> str:
        return THINGS[self.i // len(COLOURS) % len(THINGS)]

    @property
    def vector(self) -> np.ndarray:
        vector = vector_of(f"{self.colour} {self.thing}")
        vector[-1] = min(self.i, 500) / 1000  # of equals, the lower number comes first
        return vector / np.linalg.norm(vector)

    def answer(self) -> dict[str, Any]:
        width, height = SIZES[self.i % len(SIZES)]
        paths = [
            f"/pictures/{self.colour}/{self.name}",
            *(f"/pictures/copies/{n} {self.name}" for n in range(1, self.copies)),
        ]
        return {
            "id": self.id,
            "path": paths[0],
            "paths": paths,
            "width": width,
            "height": height,
            "format": FORMATS[self.i % 3],
            "modified": f"20{10 + self.i % 16}-06-15T12:00:00Z",
            "size_bytes": 90_000 + 1000 * self.i,
            "thumbnail_url": f"/api/images/{self.id}/thumbnail",
        }

    def draw(self, side: int) -> bytes:
        width, height = SIZES[self.i % len(SIZES)]
        scale = side / max(width, height)
        return drawing(self.colour, self.thing, int(width * scale), int(height * scale))


@lru_cache(4096)
def drawing(colour: str, thing: str, width: int, height: int) -> bytes:
    """A JPEG of the thing on its colour."""
    image = Image.new("RGB", (width, height), COLOURS[colour])
    pen = ImageDraw.Draw(image)
    box = (width * 0.3, height * 0.25, width * 0.7, height * 0.75)
    light = tuple(min(255, value + 70) for value in COLOURS[colour])
    if thing in ("circle", "ring"):
        pen.ellipse(box, fill=None if thing == "ring" else light, outline=light, width=max(2, width // 30))
    elif thing == "hill":
        pen.polygon([(0, height), (width / 2, height * 0.3), (width, height)], fill=light)
    else:
        pen.rectangle(box if thing == "square" else (0, height * 0.45, width, height * 0.6), fill=light)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70)
    return out.getvalue()


def vector_of(text: str) -> np.ndarray:
    """Colours and things that are named; of nothing known, a direction of its own."""
    vector = np.zeros(DIM)
    for i, word in enumerate((*COLOURS, *THINGS)):
        vector[i] = word in text
    if not vector.any():
        vector[-1] = 1
    return vector


def vector_of_picture(data: bytes) -> np.ndarray:
    """The colour that its corner is nearest to."""
    corner = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)[2, 2]
    nearest = min(COLOURS, key=lambda name: float(np.abs(corner - np.array(COLOURS[name])).sum()))
    return vector_of(nearest)
