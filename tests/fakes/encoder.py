"""An encoder without a model: every picture and every text has its own seeded unit vector."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.errors import DeviceFailed, DeviceOutOfMemory, NoTextTower
from indexer.types import Embeddings, EmbeddingSpace, Features, Matrix, Pixels, Preprocess


class StubEncoder:
    """Keeps the port `Encoder`, counts what it is asked, and fails on demand.

    Faults are plain attributes that a test sets at any time. They are looked at in this order: `before`, closed,
    `fits`, `breaks`, `nonsense`.

    Attributes:
        before: Called with the number of items of each call, before anything else; may block or raise.
        fits: The largest batch that does not run out of memory; None: any.
        breaks: Pictures (one's pixels) on which the device fails.
        nonsense: Pictures whose row comes out NaN.
        batches: Size of every picture batch asked for, failed ones too.
        text_calls: The texts of every text batch asked for.
        closed: Whether `close` was called.
    """

    def __init__(
        self, dim: int = 32, joint_dim: int = 16, *, side_px: int = 8, seed: int = 0, has_text: bool = True
    ) -> None:
        preprocess = Preprocess(side_px=side_px, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
        self.space = EmbeddingSpace("stub", f"random-{seed}", "fp32", dim, preprocess)
        self.projection: Matrix | None = np.random.default_rng(seed).standard_normal((dim, joint_dim), np.float32)
        self.has_text = has_text
        self.device = "stub"
        self.weights_bytes = 1000
        self.before: Callable[[int], object] = lambda n: None
        self.fits: int | None = None
        self.breaks: Callable[[Pixels], bool] = lambda pixels: False
        self.nonsense: Callable[[Pixels], bool] = lambda pixels: False
        self.batches: list[int] = []
        self.text_calls: list[list[str]] = []
        self.closed = False
        self._joint_dim = joint_dim

    @property
    def n_images(self) -> int:
        """Pictures asked for, each as often as it was asked for."""
        return sum(self.batches)

    def encode_pixels(self, pixels: Pixels) -> Features:
        self.batches.append(len(pixels))
        self._meet_faults(len(pixels))
        if any(self.breaks(picture) for picture in pixels):
            raise DeviceFailed("stub: a picture broke the device")
        rows = np.stack([self.feature_of(picture) for picture in pixels])
        rows[[self.nonsense(picture) for picture in pixels]] = np.nan
        return rows

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        if not self.has_text:
            raise NoTextTower("stub: no text tower")
        self.text_calls.append(list(texts))
        self._meet_faults(len(texts))
        return np.array([self.embedding_of(text) for text in texts], np.float32).reshape(len(texts), self._joint_dim)

    def close(self) -> None:
        self.closed = True

    def feature_of(self, pixels: Pixels) -> NDArray[np.float16]:
        """The feature (d,) that these pixels (side, side, 3) have."""
        return _unit(pixels.tobytes(), self.space.dim).astype(np.float16)

    def embedding_of(self, text: str) -> NDArray[np.float32]:
        """The joint embedding (j,) that this text has."""
        return _unit(text.encode(), self._joint_dim)

    def _meet_faults(self, n: int) -> None:
        self.before(n)
        if self.closed:
            raise DeviceFailed("stub: closed")
        if self.fits is not None and n > self.fits:
            raise DeviceOutOfMemory(f"stub: {n} do not fit")


def pixels_of(label: int | str, side_px: int = 8) -> Pixels:
    """A picture (side, side, 3) of noise, the same for a label always."""
    seed = int.from_bytes(hashlib.sha256(str(label).encode()).digest()[:8])
    return np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), np.uint8)


def _unit(data: bytes, dim: int) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8])
    vector = np.random.default_rng(seed).standard_normal(dim, np.float32)
    return vector / np.linalg.norm(vector)
