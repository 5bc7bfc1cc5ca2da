"""An open_clip model behind the port `Encoder`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from indexer.encoder.checkpoint import Checkpoint, Untrained
from indexer.encoder.compiled import Backend, inductor
from indexer.encoder.cuda import CudaTower
from indexer.encoder.device import Placement, device_errors, place, release
from indexer.encoder.digest import weights_digest
from indexer.encoder.hub import HubFile, fetch
from indexer.encoder.quantised import quantise
from indexer.encoder.text import TextTower, tokenizer_of
from indexer.encoder.tower import Tower, build, load, parameter_bytes, untrained
from indexer.encoder.weights import Weights, read_weights
from indexer.errors import DeviceFailed, NoTextTower
from indexer.types import Embeddings, EmbeddingSpace, Features, Matrix, Pixels

_log = logging.getLogger(__name__)


class OpenClipEncoder:
    """One open_clip model on one device, in half precision where that is fast. Belongs to one thread.

    In int8 and fp8 the matrices of the image tower's blocks have eight bits (see `indexer.encoder.quantised`); its
    first and last layers and the whole text tower have the precision of the rest, the projection has float32.

    The same pixels give the same feature whatever batch they travel in: to the last bit on the CPU that it was measured
    on (AVX-512, FP32 and BF16, batches of 1 to 16), and to a 1 - cosine of at most 1e-5 on every device.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        precision: str = "auto",
        digests: Path | None = None,
        compile: bool = True,
    ) -> None:
        """Load the model; weights that are on the hub and not here are downloaded.

        Args:
            checkpoint: From `indexer.encoder.checkpoint.resolve`.
            device: See `indexer.encoder.device.place`.
            precision: See there.
            digests: A small file that remembers the digests of weights' files; None computes them anew.
            compile: On CUDA, have torch compile the image tower beside the work, and use that if it is faster.

        Raises:
            ConfigError: Device or precision do not suit this machine, or the architecture is not supported.
            ModelUnavailable: The weights cannot be had.
            CheckpointMismatch: They do not fit the architecture.
            DeviceOutOfMemory, DeviceFailed: The model does not fit, or the device does not work.
        """
        started = time.monotonic()
        placement = place(device, precision)
        model, weights, digest = _gather(checkpoint, digests)
        with device_errors(placement.device), torch.inference_mode():
            loaded = load(model, weights, placement, checkpoint)
            if placement.eight_bits:
                quantise(model.visual, placement.eight_bits)
            self._pass, dim = _image_pass(model, checkpoint, placement, inductor if compile else None)
            self._text = _text_tower(model.to(placement.device), checkpoint, placement) if loaded.has_text else None
            self.weights_bytes = _n_bytes(model if loaded.has_text else model.visual)
        self._checkpoint = checkpoint
        self._placement = placement
        self._projection = loaded.projection
        self._space = EmbeddingSpace(checkpoint.model, digest, placement.precision, dim, checkpoint.preprocess)
        _log.info(
            "%s (%s) is ready on %s in %s after %.1f s",
            checkpoint.model, checkpoint.pretrained, placement.device, placement.precision, time.monotonic() - started,
        )  # fmt: skip

    @property
    def space(self) -> EmbeddingSpace:
        return self._space

    @property
    def projection(self) -> Matrix | None:
        return self._projection

    @property
    def has_text(self) -> bool:
        return self._text is not None

    @property
    def device(self) -> str:
        return str(self._placement.device)

    def encode_pixels(self, pixels: Pixels) -> Features:
        """Visual features (n, d) float16, see the port. Raises `DeviceOutOfMemory`, `DeviceFailed`."""
        with device_errors(self._placement.device), torch.inference_mode():
            return self._pass(np.ascontiguousarray(pixels))

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Joint embeddings (n, j) float32, see the port. Raises `NoTextTower`, `DeviceOutOfMemory`, `DeviceFailed`."""
        if self._text is None or self._projection is None:
            raise NoTextTower(f"{self._checkpoint.model} ({self._checkpoint.pretrained}) has no text tower")
        if not texts:
            return np.empty((0, self._projection.shape[1]), np.float32)
        with device_errors(self._placement.device), torch.inference_mode():
            return self._text(texts)

    def close(self) -> None:
        """Give the device's memory back; the encoder is of no use afterwards."""
        self._pass, self._text, self.weights_bytes = _closed, None, 0
        with device_errors(self._placement.device):
            release(self._placement.device)


def _gather(checkpoint: Checkpoint, digests: Path | None) -> tuple[Any, Weights, str]:
    """The model still empty, the tensors to fill it with, and their digest."""
    source = checkpoint.source
    if isinstance(source, Untrained):
        _log.warning("%s has random weights: good for measuring speed, its answers mean nothing", checkpoint.model)
        model = build(checkpoint.config)
        return model, untrained(model, source.seed), f"random-{source.seed}"
    if isinstance(source, HubFile):
        source = fetch(source, checkpoint.model, checkpoint.pretrained, lambda: parameter_bytes(checkpoint.config))
    return build(checkpoint.config), read_weights(source), weights_digest(source, digests)


def _image_pass(
    model: Any, checkpoint: Checkpoint, placement: Placement, compiler: Backend | None
) -> tuple[Callable[[Pixels], Features], int]:
    """One pass of the image tower from host memory to host memory, and the length of a feature."""
    tower = Tower(model.visual, checkpoint.preprocess, placement.dtype).to(placement.device)
    side = checkpoint.preprocess.side_px
    # The first pass sets the libraries up, and shows that the device works.
    dim = tower(torch.zeros((1, side, side, 3), dtype=torch.uint8, device=placement.device)).shape[1]
    if placement.device.type == "cuda":
        return CudaTower(tower, side, dim, placement.device, compiler), dim
    return lambda pixels: tower(torch.from_numpy(pixels)).numpy(), dim


def _text_tower(model: nn.Module, checkpoint: Checkpoint, placement: Placement) -> TextTower | None:
    try:
        tokenizer = tokenizer_of(checkpoint)
    except (ImportError, OSError) as error:
        _log.warning("Words cannot be searched: the tokenizer of %s is not to be had (%s)", checkpoint.model, error)
        return None
    return TextTower(model, tokenizer, placement.device)


def _n_bytes(model: nn.Module) -> int:
    """Memory of the model's tensors."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def _closed(_: Pixels) -> Features:
    raise DeviceFailed("the encoder is closed")
