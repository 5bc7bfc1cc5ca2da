"""Where a picture's pixels go: sizes, crops and turns, as integers, with no pixel touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from indexer.types import Preprocess

# A strip is resized only where it is seen: at 16:1 the whole would be 16 times the pixels that are kept.
_MAX_WHOLE: Final = 16


@dataclass(frozen=True, slots=True)
class Fit:
    """How an upright picture fills a square.

    Attributes:
        width_px: Width of the whole picture after resizing.
        height_px: Its height.
        left_px: Where the square begins in it; negative where the picture is padded.
        top_px: The same, downwards.
        side_px: Side of the square.
        vertical_first: Which of the two resampling passes comes first; each rounds to 8 bits, so the order shows.
    """

    width_px: int
    height_px: int
    left_px: int
    top_px: int
    side_px: int
    vertical_first: bool

    @property
    def is_strip(self) -> bool:
        """Whether most of the resized picture would be cut off."""
        return self.width_px * self.height_px > _MAX_WHOLE * self.side_px**2

    @property
    def window(self) -> tuple[int, int, int, int]:
        """The part of the resized picture that the square shows: left, top, right, bottom."""
        return (
            max(self.left_px, 0),
            max(self.top_px, 0),
            min(self.left_px + self.side_px, self.width_px),
            min(self.top_px + self.side_px, self.height_px),
        )


def fit(width_px: int, height_px: int, preprocess: Preprocess) -> Fit:
    """The geometry of open_clip's `image_transform` (3.x) for an upright picture of this size."""
    side = preprocess.side_px
    width, height = _resized(width_px, height_px, side, preprocess.resize)
    return Fit(
        width,
        height,
        _offset(width, side),
        _offset(height, side),
        side,
        _vertical_first(width_px, height_px, width, height),
    )


def _resized(width_px: int, height_px: int, side: int, resize: str) -> tuple[int, int]:
    if resize == "squash":
        return side, side
    if resize == "longest":
        ratio = max(width_px, height_px) / side
        return max(1, round(width_px / ratio)), max(1, round(height_px / ratio))
    if width_px <= height_px:
        return side, int(side * height_px / width_px)
    return int(side * width_px / height_px), side


def _offset(length: int, side: int) -> int:
    # Rounds half to even, as torchvision's centre crop does; padding puts the odd pixel on the far side.
    return round((length - side) / 2) if length >= side else -((side - length) // 2)


def _vertical_first(width_px: int, height_px: int, width: int, height: int) -> bool:
    # Pillow's rule since version 13; before, it always began horizontally.
    return height < height_px and height_px - height > 2 * (width_px - width)
