"""EXIF orientations (CIPA DC-008, tag 274): how a stored picture is turned to stand upright."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Orientation -> (swap the axes, then mirror left-right, then mirror top-bottom).
_TURNS: Final = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def swaps_axes(orientation: int) -> bool:
    """Whether the stored width is the upright height."""
    return _TURNS[orientation][0]


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A view of stored pixels (h, w, c) as they are meant to be seen; `orientation` is 1 to 8."""
    swap, mirror_x, mirror_y = _TURNS[orientation]
    if swap:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
