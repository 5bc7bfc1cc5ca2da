"""What a picture may cost."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.errors import ImageRefused
from indexer.types import Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that a file must keep to be decoded.

    Attributes:
        max_pixels: Width times height, as the header declares it; compared before anything is decoded.
        max_bytes: Length of the file.
    """

    max_pixels: int = 100_000_000
    max_bytes: int = 64 << 20

    def weigh(self, data: bytes) -> None:
        """Raises `ImageRefused` with `TOO_MANY_BYTES`."""
        if len(data) > self.max_bytes:
            raise ImageRefused(Reason.TOO_MANY_BYTES, f"{len(data):,} bytes, more than the {self.max_bytes:,} allowed")

    @property
    def memory_bytes(self) -> int:
        """Memory that decoding the largest permitted picture may take.

        12 bytes a pixel: Pillow's RGBA and RGB copies (4 each) and the array behind them (3), with room to spare;
        progressive JPEGs and AVIF need about as much.
        """
        return (256 << 20) + 12 * self.max_pixels + 2 * self.max_bytes
