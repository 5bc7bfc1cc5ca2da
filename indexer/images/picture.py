"""Pillow: reads headers, and the pixels of everything that is not a plain JPEG.

Colour profiles are ignored, as open_clip ignores them.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Importing a plugin registers it; without that, the first picture of an unregistered format imports all of Pillow's.
from PIL import AvifImagePlugin, ExifTags, Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401

from indexer.errors import ImageRefused
from indexer.images.fit import Fit
from indexer.images.formats import Format
from indexer.images.limits import Limits
from indexer.types import Reason

_RESAMPLING: Final = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_DETAIL_LENGTH: Final = 300


def harden(limits: Limits) -> None:
    """Set Pillow's own bounds, for a process that decodes strangers' files and nothing else."""
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@contextmanager
def refusals(format: Format) -> Iterator[None]:
    """Turn whatever hostile bytes make the libraries raise into `ImageRefused`."""
    try:
        yield
    except ImageRefused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise ImageRefused(Reason.TOO_MANY_PIXELS, _detail(e)) from e
    except Exception as e:  # damaged files were seen to raise nearly every built-in one
        # libjpeg, libtiff and torch report a refused allocation as an ordinary error, in words.
        starved = isinstance(e, MemoryError) or "memory" in str(e).lower()
        raise ImageRefused(Reason.DECODER_MEMORY if starved else Reason.CORRUPT, f"{format}: {_detail(e)}") from e


def _detail(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:_DETAIL_LENGTH]


def open_picture(data: bytes, format: Format, limits: Limits) -> Image.Image:
    """Read the header only.

    Raises:
        ImageRefused: `TOO_MANY_PIXELS`. What else Pillow raises is for `refusals`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=[format])
    except UnidentifiedImageError as e:
        raise ImageRefused(Reason.CORRUPT, f"starts like {format.upper()}, but its header cannot be read") from e
    if image.width * image.height > limits.max_pixels:
        detail = f"{image.width} x {image.height} pixels, more than the {limits.max_pixels:,} allowed"
        raise ImageRefused(Reason.TOO_MANY_PIXELS, detail)
    return image


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it cannot be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - good pictures with a broken EXIF block are common
        return 1
    return int(value) if value in range(1, 9) else 1


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Decode: pixels as stored, (h, w, 3), transparent parts on white.

    16-bit grey keeps its high byte, as Pillow's 16-bit colour does. 32-bit and floating-point pictures have no agreed
    range: they are stretched from their own minimum to their own maximum.
    """
    image.load()
    if image.mode.startswith("I;16"):
        return _grey((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return _grey(_stretched(np.asarray(image, dtype=np.float32)))
    try:
        flat = _on_white(image) if image.has_transparency_data else image.convert("RGB")
    except ValueError as e:
        raise ImageRefused(Reason.UNSUPPORTED, f"colour mode {image.mode} cannot be turned into RGB") from e
    return np.array(flat)


def _on_white(image: Image.Image) -> Image.Image:
    flat = Image.new("RGB", image.size, "white")
    rgba = image.convert("RGBA")
    flat.paste(rgba, mask=rgba)
    return flat


def _grey(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(levels[:, :, None], 3, axis=2)


def _stretched(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    finite = np.isfinite(levels)
    low, high = (float(levels[finite].min()), float(levels[finite].max())) if finite.any() else (0.0, 0.0)
    scaled = (np.where(finite, levels, low) - low) * (255 / (high - low) if high > low else 0.0)
    return np.rint(scaled).astype(np.uint8)


def resample_window(
    rgb: NDArray[np.uint8], fit: Fit, interpolation: Literal["bicubic", "bilinear"]
) -> NDArray[np.uint8]:
    """The window of an upright picture (h, w, 3) that Pillow resized: equal to its resize of the whole, cropped.

    Of a strip only what the window needs is resized; the ends of the window fall between pixels then, and a value may
    be a level off.
    """
    left, top, right, bottom = fit.window
    height, width, _ = rgb.shape
    x = _span(left, right, width, fit.width_px, part=fit.is_strip)
    y = _span(top, bottom, height, fit.height_px, part=fit.is_strip)
    image = Image.fromarray(np.ascontiguousarray(rgb[y.source, x.source]))
    how = _RESAMPLING[interpolation]
    # One axis a call: Pillow's own choice of order depends on its version.
    for axis in "yx" if fit.vertical_first else "xy":
        across, down = image.size
        if axis == "x":
            image = image.resize((x.length, down), how, box=(x.low, 0, x.high, down))
            image = image.crop((x.start, 0, x.stop, down))
        else:
            image = image.resize((across, y.length), how, box=(0, y.low, across, y.high))
            image = image.crop((0, y.start, across, y.stop))
    return np.array(image)


class _Span(NamedTuple):
    """One axis of a resize: resample `low` to `high` of the source into `length` pixels, keep `start` to `stop`."""

    source: slice
    low: float
    high: float
    length: int
    start: int
    stop: int


def _span(start: int, stop: int, length: int, resized: int, *, part: bool) -> _Span:
    if not part:
        return _Span(slice(0, length), 0, length, resized, start, stop)
    scale = length / resized
    reach = math.ceil(2 * max(scale, 1)) + 1
    low, high = start * scale, stop * scale
    first, last = max(math.floor(low) - reach, 0), min(math.ceil(high) + reach, length)
    return _Span(slice(first, last), low - first, min(high, last) - first, stop - start, 0, stop - start)
