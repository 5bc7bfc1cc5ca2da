"""A model of arithmetic alone: a file's feature follows from its bytes, so anyone can check it to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.config import Config, load
from indexer.encoder.lane import EncoderLane
from indexer.encoder.worker import Slot
from indexer.engine.parts import IMAGES_ON_THEIR_WAY, Model
from indexer.errors import ImageRefused
from indexer.geometry import Geometry
from indexer.ports import Encoder
from indexer.recommend import MOST_PICTURES
from indexer.store.data_dir import DataDir
from indexer.types import (
    BatchLimit,
    Decoded,
    Embeddings,
    EmbeddingSpace,
    Features,
    ImageInfo,
    Matrix,
    Pixels,
    Preprocess,
    Reason,
)

SIDE_PX = 4
DIM = 64
JOINT_DIM = 32
BAD = b"bad"
"""Files that begin with these bytes are refused as corrupt."""


class StubDecoder:
    """Port `Decoder` in the calling thread: pixels (4, 4, 3) are the beginning of the file's SHA-384."""

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        future: Future[Decoded] = Future()
        if data.startswith(BAD):
            future.set_exception(ImageRefused(Reason.CORRUPT, "the stub refuses it"))
        else:
            future.set_result(Decoded(pixels_of(data), ImageInfo("STUB", SIDE_PX, SIDE_PX, len(data))))
        return future

    def thumbnail(self, data: bytes, side_px: int) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_exception(ImageRefused(Reason.UNSUPPORTED, "the stub draws nothing"))
        return future

    @property
    def pids(self) -> tuple[int, ...]:
        return ()

    def close(self) -> None: ...


class StubEncoder:
    """Port `Encoder`: each picture and each text has its own unit vector, made of digests.

    Args:
        before: Called with the pixels of each batch before it is encoded; may raise, or block.
        version: Another one makes another embedding space, as other weights do.
    """

    def __init__(self, before: Callable[[Pixels], None] = lambda pixels: None, version: int = 0) -> None:
        self._before = before
        self.space = space_of(version)
        self.projection: Matrix | None = np.random.default_rng(version).standard_normal((DIM, JOINT_DIM), np.float32)
        self.has_text = True
        self.device = "cpu"
        self.weights_bytes = 0

    def encode_pixels(self, pixels: Pixels) -> Features:
        self._before(pixels)
        return np.stack([_feature(picture, self.space) for picture in pixels])

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        return np.stack([_unit(text.encode(), JOINT_DIM) for text in texts])

    def close(self) -> None: ...


def space_of(version: int = 0) -> EmbeddingSpace:
    """The embedding space of the stub's features.

    Version 1 is another precision class of version 0, and 2 another preprocessing; any other has weights of its own.
    """
    space = EmbeddingSpace("stub", "random-0", "fp32", DIM, Preprocess(SIDE_PX, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    if version == 1:
        return replace(space, precision="bf16")
    if version == 2:
        return replace(space, preprocess=replace(space.preprocess, mode="scaled"))
    return replace(space, weights=f"random-{version}")


def configured(root: Path, settings: Mapping[str, Any] | None = None) -> Config:
    """A store `data` over a folder `pictures`, both below `root`; `section.key` -> value over what suits a harness."""
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    mine = {
        "watch.folders": [str(root / "pictures")],
        "watch.settle_s": 0.05,
        "watch.rescan_s": 3600,
        "model.name": "demo",
        "store.dir": str(root / "data"),
    }
    return load(flags={**mine, **(settings or {})}, environ={}, cwd=root).config


def open_stub(config: Config, data: DataDir, stack: ExitStack, build: Callable[[], Encoder] = StubEncoder) -> Model:
    """Opens the stub in the engine's own lane; an argument for `open_engine`."""
    batch = BatchLimit(MOST_PICTURES["cpu"], "recommended")
    lane = EncoderLane(
        *[Slot(build, "cpu")] * len(config.model.devices),
        batch_size=batch.size,
        max_bulk=IMAGES_ON_THEIR_WAY["cpu"],
        idle_release_s=config.model.idle_release_s,
    )
    stack.callback(lane.close)
    geometry = Geometry(lane.projection, config.index.space, lane.space.dim)
    return Model(StubDecoder(), lane, lane.device, geometry, batch)


def pixels_of(data: bytes) -> Pixels:
    """The pixels (4, 4, 3) that the stub sees in a file."""
    return np.frombuffer(hashlib.sha384(data).digest(), np.uint8).reshape(SIDE_PX, SIDE_PX, 3)


def feature_of(data: bytes, version: int = 0) -> NDArray[np.float16]:
    """The feature (64,) float16 of a file, unit length."""
    return feature_in(data, space_of(version))


def feature_in(data: bytes, space: EmbeddingSpace) -> NDArray[np.float16]:
    """The feature (64,) float16 that a file has in one of the stub's spaces."""
    return _feature(pixels_of(data), space)


def is_good(data: bytes) -> bool:
    """Whether a file's bytes become a row: neither empty nor refused."""
    return bool(data) and not data.startswith(BAD)


def _feature(pixels: Pixels, space: EmbeddingSpace) -> NDArray[np.float16]:
    salt = f"{space.weights} {space.precision} {space.preprocess.mode}".encode()
    return _unit(salt + pixels.tobytes(), DIM).astype(np.float16)


@lru_cache(1 << 16)
def _unit(data: bytes, dim: int) -> NDArray[np.float32]:
    """A unit vector (dim,) float32 whose directions are spread evenly, from nothing but SHAKE-128 of `data`."""
    raw = np.frombuffer(hashlib.shake_128(data).digest(4 * dim), "<u4").reshape(2, -1).astype(np.float64)
    radius, angle = np.sqrt(-2 * np.log((raw[0] + 1) / 2**32)), 2 * np.pi * raw[1] / 2**32
    vector = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])  # Box-Muller
    unit: NDArray[np.float32] = (vector / np.sqrt((vector * vector).sum())).astype(np.float32)
    return unit
