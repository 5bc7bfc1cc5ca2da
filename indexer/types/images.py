"""Pictures: what is known of one, and why a file is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.types.arrays import Matrix, Pixels


class ImageInfo(NamedTuple):
    """What is known of a picture besides its pixels. Width and height are in pixels, EXIF-upright."""

    format: str
    width_px: int
    height_px: int
    size_bytes: int


class Reason(StrEnum):
    """Why a file was refused. The value is what people and clients see."""

    UNSUPPORTED = "unsupported_format"
    CORRUPT = "corrupt"
    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_REGULAR = "not_a_regular_file"
    UNREADABLE = "unreadable"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_MEMORY = "decoder_out_of_memory"
    BAD_FEATURE = "feature_not_finite"
    DEVICE_MEMORY = "device_out_of_memory"
    DEVICE_FAILED = "device_failed"
    NOT_STORABLE = "not_storable"

    @property
    def transient(self) -> bool:
        """Whether the cause may pass while the file stays as it is: then every rescan tries it again."""
        return self in (Reason.UNREADABLE, Reason.DEVICE_MEMORY, Reason.DEVICE_FAILED, Reason.NOT_STORABLE)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture ready for the encoder: pixels (side, side, 3) uint8."""

    pixels: Pixels
    info: ImageInfo


class StoredFeature(NamedTuple):
    """What the feature cache keeps of one content: the feature (d,) float16 and the picture's measures."""

    feature: NDArray[np.float16]
    info: ImageInfo


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """A picture's id, its visual feature (d,) float32 and, if there is a joint space, its embedding (j,) float32."""

    id: str
    feature: Matrix
    embedding: Matrix | None
