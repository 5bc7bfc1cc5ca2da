"""JPEG by libjpeg-turbo: the fast way in for photographs, and the way out for thumbnails."""

from __future__ import annotations

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_QUALITY: Final = 85

# libjpeg-turbo scales in eighths, but only these run on vector instructions and keep whole blocks.
_SHRINKS: Final = (8, 4, 2)


# A 12-megapixel photograph is 36 MB. What is larger is rare, and given back.
_KEPT_BYTES: Final = 64 << 20


class Scratch:
    """Memory that one photograph after another is decoded into; clearing fresh pages costs a sixth of decoding.

    Not thread-safe: what it hands out is overwritten by the next picture.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, height_px: int, width_px: int) -> NDArray[np.uint8]:
        """Room for pixels (height, width, 3), with anything in it."""
        n_bytes = 3 * height_px * width_px
        if n_bytes > _KEPT_BYTES:
            return np.empty((height_px, width_px, 3), np.uint8)
        if n_bytes > self._bytes.size:
            self._bytes = np.empty(n_bytes, np.uint8)
        return self._bytes[:n_bytes].reshape(height_px, width_px, 3)


def shrink_for(reduction: float) -> int:
    """The largest of 8, 4, 2, 1 that leaves at least half of a reduction to the antialiasing filter."""
    return next((shrink for shrink in _SHRINKS if reduction >= 2 * shrink), 1)


def pixels(data: bytes, width_px: int, height_px: int, shrink: int, scratch: Scratch) -> NDArray[np.uint8] | None:
    """Stored pixels of a JPEG, (ceil(height / shrink), ceil(width / shrink), 3), RGB.

    None when libjpeg-turbo so much as warns, or finds another size than asked for: the caller then takes the
    slower, more forgiving way.
    """
    width, height = -(-width_px // shrink), -(-height_px // shrink)
    minimum = {"min_width": width, "min_height": height} if shrink > 1 else {}
    try:
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", buffer=scratch.array(height, width), **minimum)
    except ValueError:
        return None
    return decoded if decoded.shape == (height, width, 3) else None


def whole(data: bytes) -> NDArray[np.uint8]:
    """All pixels of a small JPEG, (height, width, 3), RGB; raises `ValueError` if it is none."""
    decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB")
    return decoded


def encode(rgb: NDArray[np.uint8]) -> bytes:
    """A JPEG of pixels (h, w, 3), without metadata."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_QUALITY, colorsubsampling="420")
    return encoded
