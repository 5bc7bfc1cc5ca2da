"""Training examples: scenes as small pictures, tokens of phrases, and bits that tell which phrase is true of which."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from indexer.scenes import Mention, Phrase, Scene, Thing, random_scene
from indexer.scenes.words import COLOURS, COUNT_WORDS, POSITION_WORDS, SHAPES, SIZE_WORDS, TEXTURE_WORDS

Bits = npt.NDArray[np.uint64]

#: Of a scene: so many phrases that say everything, then so many that say some of it.
N_FULL, N_PARTIAL = 2, 4
_N_A_TASK = 1024
_ALL_BITS = (1 << 64) - 1
_ABSENT = 1 << 63
_ATTRIBUTES: dict[str, list[Any]] = {
    "shape": list(SHAPES),
    "colour": list(COLOURS),
    "count": list(COUNT_WORDS),
    "size": list(SIZE_WORDS),
    "texture": list(TEXTURE_WORDS),
    "position": list(POSITION_WORDS),
}


@dataclass(frozen=True, slots=True)
class Examples:
    """n drawn scenes; a phrase is true of a scene where no bit of the scene lies outside the phrase's bits."""

    pixels: npt.NDArray[np.uint8]  # (n, side, side, 3)
    scene_bits: Bits  # (n, 3): first thing, second thing, background
    tokens: npt.NDArray[np.uint16]  # (n, N_FULL + N_PARTIAL, context_length)
    phrase_bits: Bits  # (n, N_FULL + N_PARTIAL, 3): first mention, second mention, background

    def hints(self) -> dict[str, npt.NDArray[np.uint8]]:
        """Returns what is in each picture, 0 or 1, by attribute, (n, values of the attribute)."""
        bits = (self.scene_bits[..., None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)
        hints, first_bit = {}, 0
        for name, values in _ATTRIBUTES.items():
            things = bits[:, :2, first_bit : first_bit + len(values)]  # (n, 2, values); an absent thing has none
            hints[name] = things.max(axis=1)
            first_bit += len(values)
        shapes, colours = bits[:, :2, : len(SHAPES), None], bits[:, :2, None, len(SHAPES) : len(SHAPES) + len(COLOURS)]
        hints["coloured shape"] = (shapes & colours).max(axis=1).reshape(len(bits), -1)
        hints["background"] = bits[:, 2, : len(COLOURS)]
        return hints

    def alike(self) -> list[npt.NDArray[np.intp]]:
        """Returns the rows of scenes that differ neither in background nor in the colour of their first thing."""
        colours = np.uint64((1 << len(COLOURS)) - 1 << len(SHAPES))
        keys = np.stack([self.scene_bits[:, 0] & colours, self.scene_bits[:, 2]], axis=1)
        _, kinds, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        return np.split(np.argsort(kinds.ravel(), kind="stable"), np.cumsum(counts)[:-1])


def is_held_out(scene: Scene) -> bool:
    """Tells whether what `scene` shows is kept from training: one in five, whatever the seed."""
    return zlib.crc32(scene.caption().encode()) % 5 == 0


def random_scenes(rng: np.random.Generator, *, held_out: bool) -> Iterator[Scene]:
    """Makes up scenes without end, all of the training side or all of the held-out side."""
    while True:
        scene = random_scene(rng)
        if is_held_out(scene) == held_out:
            yield scene


def are_true(phrase_bits: Bits, scene_bits: Bits) -> npt.NDArray[np.bool_]:
    """Tells which of t phrases is true of which of s scenes, from their bits (t, 3) and (s, 3), as (t, s)."""
    outside = ~phrase_bits[:, None, :]
    first, second, background = (scene_bits[None, :, i] for i in range(3))
    straight = (first & outside[..., 0]) | (second & outside[..., 1])
    swapped = (second & outside[..., 0]) | (first & outside[..., 1])
    truth: npt.NDArray[np.bool_] = ((straight == 0) | (swapped == 0)) & ((background & outside[..., 2]) == 0)
    return truth


def draw_examples(n: int, seed: int, side_px: int, n_processes: int, on_drawn: Callable[[int], None]) -> Examples:
    """Draws `n` training examples; the same for the same `n` and `seed`, whatever the number of processes."""
    parts: list[Examples] = []
    sizes = [min(_N_A_TASK, n - start) for start in range(0, n, _N_A_TASK)]
    with ProcessPoolExecutor(n_processes, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(_draw_part, sizes, repeat(seed), itertools.count(), repeat(side_px)):
            parts.append(part)
            on_drawn(sum(len(done.pixels) for done in parts))
    return Examples(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Examples)))


def _draw_part(n: int, seed: int, part: int, side_px: int) -> Examples:
    rng = np.random.default_rng((seed, part))
    pixels, scene_bits, tokens, phrase_bits = [], [], [], []
    for _, scene in zip(range(n), random_scenes(rng, held_out=False), strict=False):
        phrases = [Phrase.full(scene)] * N_FULL + [Phrase.partial(scene, rng) for _ in range(N_PARTIAL)]
        pixels.append(_small_picture(scene, side_px, rng))
        scene_bits.append(bits_of_scene(scene))
        tokens.append(_tokenizer()([phrase.text(rng) for phrase in phrases]).numpy())
        phrase_bits.append([bits_of_phrase(phrase) for phrase in phrases])
    return Examples(
        np.stack(pixels),
        np.array(scene_bits, np.uint64),
        np.stack(tokens).astype(np.uint16),
        np.array(phrase_bits, np.uint64),
    )


def _small_picture(scene: Scene, side_px: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draws at some size, mostly small because that is quick, and shrinks as the model's preprocessing does."""
    lowest, highest = ((72, 128), (128, 256), (320, 512))[int(rng.choice(3, p=(0.75, 0.2, 0.05)))]
    picture = scene.draw(int(rng.integers(lowest, highest)), rng)
    if rng.random() < 0.7:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(75, 96)))
        picture = Image.open(file)
    return np.asarray(picture.resize((side_px, side_px), Image.Resampling.BICUBIC))


@cache
def _tokenizer() -> Any:
    import open_clip

    return open_clip.SimpleTokenizer(context_length=32)


@cache
def _thing_bits(thing: Thing | Mention) -> int:
    bits, first_bit = 0, 0
    for name, values in _ATTRIBUTES.items():
        value = getattr(thing, name)
        if value is not None:
            bits |= 1 << (first_bit + values.index(value))
        elif name == "count" and isinstance(thing, Mention) and thing.plural:
            bits |= ((1 << len(values)) - 2) << first_bit
        else:
            bits |= ((1 << len(values)) - 1) << first_bit
        first_bit += len(values)
    return bits


def bits_of_scene(scene: Scene) -> list[int]:
    """Returns one bit for each attribute of the first thing and of the second, and for the background."""
    things = [_thing_bits(thing) for thing in scene.things]
    return [*things, *[_ABSENT] * (2 - len(things)), _background_bits(scene.background)]


def bits_of_phrase(phrase: Phrase) -> list[int]:
    """Returns the bits that the phrase allows in the first thing, in the second, and in the background."""
    mentions = [_thing_bits(mention) for mention in phrase.mentions]
    return [*mentions, *[_ALL_BITS] * (2 - len(mentions)), _background_bits(phrase.background)]


def _background_bits(background: str | None) -> int:
    return _ALL_BITS if background is None else 1 << list(COLOURS).index(background)
