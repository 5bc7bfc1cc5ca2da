"""A perceptual hash that a light crop does not change: pixels alone, so that it can vouch for what a model proposes.

As in Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, a frame's hash is the signs of
its lowest cosine coefficients about their median. Here a picture has many frames: the whole, and crops of nine tenths
at 5 x 5 places. Two pictures look the same if the whole of one is close to any frame of the other. A coefficient is a
product with a cosine that ends where its frame does, so no crop is ever resampled. Colours, which the signs do not
tell, stand beside them: each channel's mean as so many ones of sixteen that two frames differ in as many bits as steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexer.types import Matrix, Pixels

Look: TypeAlias = NDArray[np.uint64]
"""Hashes of a picture's frames, (N_FRAMES, 3), the whole first; of 192 bits 143 are signs and 48 colours."""

VERSION: Final = 1
"""Raised whenever the same pixels may come to look otherwise."""

MOST_BITS: Final = 36
"""Bits that may differ. Of 178,500 pairs of files of unlike photographs none differed in fewer than 38."""

MOST_STEPS: Final = 4
"""Steps of colour, of all three channels together, that may differ besides."""

_N: Final = 12  # coefficients each way: fewer tell fewer pictures apart, more are changed by compression
_CROP: Final = 0.9
_STEPS: Final = 5
_COLOUR_STEPS: Final = 16
_STEP_BITS: Final = 8
_N_SIGNS: Final = _N * _N - 1
_PLACES: Final = np.arange(192)
_COLOURS: Final = np.packbits((_PLACES >= _N_SIGNS) & (_PLACES < _N_SIGNS + 3 * _COLOUR_STEPS)).view(np.uint64)
"""Which bits of a frame are colours, (3,)."""
N_FRAMES: Final = 1 + _STEPS * _STEPS
_GREY: Final = np.array([0.299, 0.587, 0.114], np.float32)


def look(pixels: Pixels) -> Look:
    """The hashes of a picture's pixels (side, side, 3)."""
    grey = pixels.astype(np.float32) @ _GREY
    waves = _waves(len(grey))
    rows = waves @ grey  # (windows, _N, side)
    frames = [rows[:1] @ waves[0].T]
    frames += [rows[1:] @ wave.T for wave in waves[1:]]
    coefficients = np.concatenate(frames).reshape(N_FRAMES, _N * _N)[:, 1:]  # without the mean
    signs = coefficients > np.median(coefficients, axis=1, keepdims=True)
    unused = np.zeros((N_FRAMES, 1), np.bool_)
    return np.packbits(np.hstack([signs, _colours(pixels, waves[:, 0]), unused]), axis=1).view(np.uint64)


def _colours(pixels: Pixels, weights: Matrix) -> NDArray[np.bool_]:
    """Mean colours of the frames, (N_FRAMES, 48): as many ones a channel as it has steps."""
    wide = pixels.astype(np.float32)
    means = np.einsum("ai,ijc,bj->abc", weights[1:], wide, weights[1:], optimize=True).reshape(-1, 3)
    whole = np.einsum("i,ijc,j->c", weights[0], wide, weights[0], optimize=True)
    steps = np.vstack([whole, means])[:, :, None] / 256 * _COLOUR_STEPS
    return (steps > np.arange(_COLOUR_STEPS) + 0.5).reshape(N_FRAMES, 3 * _COLOUR_STEPS)


def n_differing(one: Look, other: Look) -> NDArray[np.int64]:
    """Least number of bits in which the whole of one and a frame of the other differ: (n,) for (n, N_FRAMES, 3).

    Compression and a crop move colours by a step or two; each step beyond `MOST_STEPS` counts as `_STEP_BITS` bits.
    """
    return np.minimum(_between(one[:, :1], other), _between(other[:, :1], one))


def _between(whole: Look, frames: Look) -> NDArray[np.int64]:
    differing = whole ^ frames
    colours = np.bitwise_count(differing & _COLOURS).sum(axis=2, dtype=np.int64)
    signs = np.bitwise_count(differing & ~_COLOURS).sum(axis=2, dtype=np.int64)
    least: NDArray[np.int64] = (signs + _STEP_BITS * np.maximum(colours - MOST_STEPS, 0)).min(axis=1)
    return least


@lru_cache(maxsize=2)
def _waves(side: int) -> Matrix:
    """Integrals of cosines over each pixel, (windows, _N, side): over the whole, and over each crop's window."""
    edges = np.arange(side + 1) / side
    windows = [(0.0, 1.0), *((start, _CROP) for start in np.linspace(0, 1 - _CROP, _STEPS))]
    k = np.arange(1, _N)[:, None]
    made = []
    for start, length in windows:
        at = np.clip((edges - start) / length, 0, 1)
        made.append(np.diff(np.vstack([at, np.sqrt(2) * np.sin(np.pi * k * at) / (np.pi * k)]), axis=1))
    waves: Matrix = np.stack(made).astype(np.float32)
    return waves
