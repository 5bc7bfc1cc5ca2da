"""JPEG by libjpeg-turbo: the fast way in for photographs, and the way out for thumbnails."""

from __future__ import annotations

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

_QUALITY: Final = 85

# libjpeg-turbo scales in eighths, but only these run on vector instructions and keep whole blocks.
_SHRINKS: Final = (8, 4, 2)


def shrink_for(reduction: float) -> int:
    """The largest of 8, 4, 2, 1 that leaves at least half of a reduction to the antialiasing filter."""
    return next((shrink for shrink in _SHRINKS if reduction >= 2 * shrink), 1)


def pixels(data: bytes, width_px: int, height_px: int, shrink: int = 1) -> NDArray[np.uint8] | None:
    """Stored pixels of a JPEG, (ceil(height / shrink), ceil(width / shrink), 3), RGB.

    None when libjpeg-turbo so much as warns, or finds another size than asked for: the caller then takes the
    slower, more forgiving way.
    """
    width, height = -(-width_px // shrink), -(-height_px // shrink)
    minimum = {"min_width": width, "min_height": height} if shrink > 1 else {}
    try:
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", **minimum)
    except ValueError:
        return None
    return decoded if decoded.shape == (height, width, 3) else None


def encode(rgb: NDArray[np.uint8]) -> bytes:
    """A JPEG of pixels (h, w, 3), without metadata."""
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=_QUALITY, colorsubsampling="420")
    return encoded
