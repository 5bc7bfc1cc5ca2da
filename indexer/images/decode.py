"""A file's bytes to the tower's pixels, in this process. `indexer.images.pool` does the same at arm's length."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from indexer.images import jpeg
from indexer.images.fit import Fit, fit
from indexer.images.formats import sniff
from indexer.images.jpeg import Scratch
from indexer.images.limits import Limits
from indexer.images.picture import harden, refusals, resample_window
from indexer.images.resample import resample, use_one_thread
from indexer.images.source import Source
from indexer.types import Decoded, ImageInfo, Pixels, Preprocess

# torch's weights have 16 bits and Pillow's 22: of a million values about one differs by 2 levels where a picture is
# enlarged or hardly reduced, half a one at this reduction, and hardly any from 1.6 on. Pillow takes four times as long.
_EXACT_REDUCTION: Final = 1.3


def prepare(limits: Limits) -> None:
    """Make this process a decoder: one thread, Pillow's bounds set, kernels warm. Changes process-wide settings."""
    harden(limits)
    use_one_thread()
    resample(np.zeros((16, 16, 3), np.uint8), (8, 8), (16, 16), "bicubic", vertical_first=False)


class ImageDecoder:
    """Decodes one file after another. Not thread-safe: it keeps the memory that photographs are decoded into.

    Args:
        preprocess: How pixels are made.
        limits: What a file may cost.
    """

    def __init__(self, preprocess: Preprocess, limits: Limits) -> None:
        self._preprocess = preprocess
        self._limits = limits
        self._scratch = Scratch()

    def decode(self, data: bytes) -> Decoded:
        """Pixels of one file, upright, on white, resized and cropped as the model wants them.

        In mode `exact` each value is within 1 level of open_clip's `image_transform` of the upright RGB picture (2 for
        at most about one value in a million, where a picture is reduced 1.3 to 2.5 times). In mode `scaled` large JPEGs
        are decoded at a fraction of their size: 52 to 55 dB from exact for 12 megapixels, about 51 dB for 2.

        Raises:
            ImageRefused: With the reason; anything that a file can make the libraries raise ends here.
        """
        self._limits.weigh(data)
        kind = sniff(data)
        with refusals(kind):
            source = Source(data, kind, self._limits, self._scratch)
            placed = fit(source.width_px, source.height_px, self._preprocess)
            shown = _shown(source, placed, self._preprocess)
            info = ImageInfo(kind, source.width_px, source.height_px, len(data))
            return Decoded(squared(shown, placed, self._preprocess.fill), info)

    def thumbnail(self, data: bytes, side_px: int) -> bytes:
        """A JPEG of the upright picture that fits into `side_px` squared, on white, without metadata; never enlarged.

        Raises:
            ImageRefused: As `decode`.
        """
        self._limits.weigh(data)
        kind = sniff(data)
        with refusals(kind):
            source = Source(data, kind, self._limits, self._scratch)
            factor = min(1.0, side_px / max(source.width_px, source.height_px))
            width, height = max(1, round(source.width_px * factor)), max(1, round(source.height_px * factor))
            return jpeg.encode(source.resized(width, height, "bicubic", scaled=True))


def decode(data: bytes, preprocess: Preprocess, limits: Limits) -> Decoded:
    """Decode a single file; see `ImageDecoder.decode`."""
    return ImageDecoder(preprocess, limits).decode(data)


def _shown(source: Source, placed: Fit, preprocess: Preprocess) -> NDArray[np.uint8]:
    """What the square shows of the resized picture."""
    reduction = min(source.width_px / placed.width_px, source.height_px / placed.height_px)
    if placed.is_strip or (preprocess.mode == "exact" and reduction < _EXACT_REDUCTION):
        return resample_window(source.pixels(), placed, preprocess.interpolation)
    whole = source.resized(
        placed.width_px,
        placed.height_px,
        preprocess.interpolation,
        vertical_first=placed.vertical_first,
        scaled=preprocess.mode == "scaled",
    )
    left, top, right, bottom = placed.window
    return whole[top:bottom, left:right]


def squared(shown: NDArray[np.uint8], placed: Fit, fill: int) -> Pixels:
    """What a square shows of a picture, padded where the picture is smaller."""
    height, width, _ = shown.shape
    if height == width == placed.side_px:
        return np.ascontiguousarray(shown)
    square = np.full((placed.side_px, placed.side_px, 3), fill, np.uint8)
    left, top = max(-placed.left_px, 0), max(-placed.top_px, 0)
    square[top : top + height, left : left + width] = shown
    return square
