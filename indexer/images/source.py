"""One picture file, opened: what its header says, and its pixels when asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexer.images import jpeg
from indexer.images.formats import Format
from indexer.images.limits import Limits
from indexer.images.picture import open_picture, orientation, rgb_pixels
from indexer.images.resample import resample
from indexer.images.upright import swaps_axes, upright


class Source:
    """A file within its limits; plain JPEGs are decoded by libjpeg-turbo, all else by Pillow.

    Its pixels may lie in `scratch`, and last until another picture is decoded there.

    Attributes:
        format: What it is.
        width_px: Width as it is meant to be seen.
        height_px: Height likewise.
    """

    def __init__(self, data: bytes, format: Format, limits: Limits, scratch: jpeg.Scratch) -> None:
        self.format = format
        self._data = data
        self._scratch = scratch
        self._image = open_picture(data, format, limits)
        # CMYK goes through Pillow.
        self._fast = format == "jpeg" and self._image.mode in ("RGB", "L")
        if not self._fast:
            # Some formats turn the picture while decoding, some keep their EXIF block behind the pixels.
            self._image.load()
        self._orientation = orientation(self._image)
        width, height = self._image.size
        self.width_px, self.height_px = (height, width) if swaps_axes(self._orientation) else (width, height)

    def pixels(self) -> NDArray[np.uint8]:
        """Every pixel (height, width, 3), upright; a view."""
        return upright(self._stored(1), self._orientation)

    def resized(
        self,
        width_px: int,
        height_px: int,
        interpolation: Literal["bicubic", "bilinear"],
        *,
        vertical_first: bool = False,
        scaled: bool = False,
    ) -> NDArray[np.uint8]:
        """The whole picture, upright, at this size: (height, width, 3), a view.

        The turn comes last, when there is little left to turn. `scaled` lets a JPEG be decoded at a fraction of its
        size, never below twice the size asked for.
        """
        reduction = min(self.width_px / width_px, self.height_px / height_px)
        shrink = jpeg.shrink_for(reduction) if scaled and self._fast else 1
        swap = swaps_axes(self._orientation)
        stored = self._stored(shrink)
        # Where Pillow had to step in, nothing was shrunk.
        shrink = shrink if stored.shape[1] < self._image.width else 1
        small = resample(
            stored,
            (height_px, width_px) if swap else (width_px, height_px),
            (self._image.width / shrink, self._image.height / shrink),
            interpolation,
            vertical_first=vertical_first != swap,
        )
        return upright(small, self._orientation)

    def _stored(self, shrink: int) -> NDArray[np.uint8]:
        if self._fast:
            pixels = jpeg.pixels(self._data, *self._image.size, shrink, self._scratch)
            if pixels is not None:
                return pixels
        return rgb_pixels(self._image)
