"""Large photographs decoded on a GPU, beside the children who decode everything else."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import torch
import torchvision.io  # noqa: F401  # registers the operators below
from numpy.typing import NDArray
from torch import Tensor

from indexer.errors import ImageRefused, Stopped
from indexer.images.decode import squared
from indexer.images.fit import Fit, fit
from indexer.images.formats import sniff
from indexer.images.limits import Limits
from indexer.images.picture import open_picture, orientation, refusals
from indexer.images.upright import swaps_axes, upright
from indexer.ports import Decoder
from indexer.types import Decoded, ImageInfo, Preprocess

logger = logging.getLogger(__name__)

LEAST_REDUCTION: Final = 4.0
"""From here on it does not show that nvJPEG repeats colours where libjpeg interpolates them: 56 dB from exact and more,
which is nearer to it than a decode at a fraction of the size."""

BATCH: Final = 16
BATCH_PIXELS: Final = 100_000_000
"""Of a batch, 3 bytes each on the device, and 12 more of the largest."""

N_BATCHES: Final = 2
"""That may wait; what comes then goes to the children, so both are busy."""

GIVE_UP_AFTER: Final = 3
"""Batches in a row that failed."""

_RGB: Final = 3


@dataclass(frozen=True, slots=True)
class _Photo:
    data: bytes
    stored_px: tuple[int, int]
    """Width and height before it is turned."""
    orientation: int
    placed: Fit
    info: ImageInfo
    future: Future[Decoded]

    @property
    def n_pixels(self) -> int:
        return self.stored_px[0] * self.stored_px[1]


class GpuJpegs:
    """Port `Decoder` for mode `scaled`: a GPU takes large plain JPEGs while it has room, the children all else.

    What the GPU cannot decode goes to the children, who say why; so does everything once it fails again and again. Its
    decoder works on files of strangers in this process, not at arm's length: that is why it is an option.

    Args:
        children: Decode the rest, and are closed with this.
        preprocess: How pixels are made; mode `scaled`.
        limits: What a file may cost.
        device: Where, as torch names it.
    """

    def __init__(self, children: Decoder, preprocess: Preprocess, limits: Limits, device: str) -> None:
        self._children = children
        self._preprocess = preprocess
        self._limits = limits
        self._device = torch.device(device)
        self._waiting: deque[_Photo] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._n_failed = 0
        self.n_decoded = 0
        """By the GPU."""
        self._thread = threading.Thread(target=self._run, name="gpu-jpeg", daemon=True)
        self._thread.start()

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        photo = None if urgent or self._n_failed >= GIVE_UP_AFTER else self._suitable(data)
        if photo is not None and self._queued(photo):
            return photo.future
        return self._children.decode(data, urgent=urgent)

    def thumbnail(self, data: bytes, side_px: int) -> Future[bytes]:
        return self._children.thumbnail(data, side_px)

    @property
    def pids(self) -> tuple[int, ...]:
        return self._children.pids

    def close(self) -> None:
        with self._changed:
            self._closed = True
            left = [photo for photo in self._waiting if photo.future.set_running_or_notify_cancel()]
            self._waiting.clear()
            self._changed.notify()
        for photo in left:
            photo.future.set_exception(Stopped("the service ends; the picture is decoded when it runs again"))
        self._children.close()
        self._thread.join()

    # ------------------------------------------------------------ at the door

    def _suitable(self, data: bytes) -> _Photo | None:
        """A plain, much larger photograph, by its header; what is wrong with a file is for the children to say."""
        try:
            self._limits.weigh(data)
            kind = sniff(data)
            with refusals(kind):
                if kind != "jpeg":
                    return None
                image = open_picture(data, kind, self._limits)
                turn = orientation(image)
        except ImageRefused:
            return None
        width, height = image.size[::-1] if swaps_axes(turn) else image.size
        placed = fit(width, height, self._preprocess)
        reduction = min(width / placed.width_px, height / placed.height_px)
        if (
            image.mode != "RGB"
            or placed.is_strip
            or reduction < LEAST_REDUCTION
            or image.width * image.height > BATCH_PIXELS
        ):
            return None
        return _Photo(data, image.size, turn, placed, ImageInfo(kind, width, height, len(data)), Future())

    def _queued(self, photo: _Photo) -> bool:
        with self._changed:
            if self._closed or len(self._waiting) >= N_BATCHES * BATCH:
                return False
            self._waiting.append(photo)
            self._changed.notify()
            return True

    # ------------------------------------------------------------ in its thread

    def _run(self) -> None:
        while photos := self._taken():
            try:
                pixels = self._pixels(photos)
            except Exception as error:  # noqa: BLE001  # a worker's loop: whatever it is, the children can do it
                self._failed(photos, error)
                continue
            self._n_failed = 0
            self.n_decoded += len(photos)
            for photo, picture in zip(photos, pixels, strict=True):
                photo.future.set_result(Decoded(picture, photo.info))

    def _taken(self) -> list[_Photo]:
        """What waits, up to a batch; nothing at the end."""
        taken: list[_Photo] = []
        with self._changed:
            while not taken and not self._closed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                room = BATCH_PIXELS
                while self._waiting and len(taken) < BATCH and self._waiting[0].n_pixels <= room:
                    photo = self._waiting.popleft()
                    if photo.future.set_running_or_notify_cancel():
                        taken.append(photo)
                        room -= photo.n_pixels
        return taken

    def _pixels(self, photos: Sequence[_Photo]) -> list[NDArray[np.uint8]]:
        """The tower's pixels (side, side, 3) of each."""
        files = [torch.frombuffer(bytearray(photo.data), dtype=torch.uint8) for photo in photos]
        with torch.inference_mode():
            small = [self._resized(whole, photo) for whole, photo in zip(self._decoded(files), photos, strict=True)]
            return [self._placed(each.cpu().numpy(), photo) for each, photo in zip(small, photos, strict=True)]

    def _decoded(self, files: list[Tensor]) -> list[Tensor]:
        """Whole pictures (3, h, w) uint8 on the device."""
        images: Any = torch.ops.image
        if self._device.type == "cuda":
            return list(images.decode_jpegs_cuda(files, _RGB, self._device))
        return [images.decode_jpeg(file, _RGB, False) for file in files]

    def _resized(self, whole: Tensor, photo: _Photo) -> Tensor:
        """The whole picture, small, (h, w, 3) uint8, not yet turned."""
        if whole.shape != (3, *photo.stored_px[::-1]):
            raise ValueError(f"{tuple(whole.shape)} came out, and its header says {photo.stored_px}")
        size = (photo.placed.height_px, photo.placed.width_px)
        mode: Literal["bicubic", "bilinear"] = self._preprocess.interpolation
        small = torch.nn.functional.interpolate(
            whole[None].float(), size=size[::-1] if swaps_axes(photo.orientation) else size, mode=mode, antialias=True
        )
        return small[0].round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)

    def _placed(self, small: NDArray[np.uint8], photo: _Photo) -> NDArray[np.uint8]:
        left, top, right, bottom = photo.placed.window
        return squared(upright(small, photo.orientation)[top:bottom, left:right], photo.placed, self._preprocess.fill)

    def _failed(self, photos: Sequence[_Photo], error: Exception) -> None:
        """The children try each; a device that fails again and again is left alone from then on."""
        self._n_failed += 1
        detail = (str(error) or type(error).__name__).splitlines()[0]
        logger.warning("a batch of %d JPEGs failed on %s: %s", len(photos), self._device, detail)
        if self._n_failed == GIVE_UP_AFTER:
            logger.warning("JPEGs are decoded by the processor from now on")
        for photo in photos:
            try:
                decoding = self._children.decode(photo.data)
            except Stopped as stopped:
                photo.future.set_exception(stopped)
            else:
                decoding.add_done_callback(partial(_pass_on, photo.future))


def _pass_on(to: Future[Decoded], done: Future[Decoded]) -> None:
    error = done.exception()
    if error is not None:
        to.set_exception(error)
    else:
        to.set_result(done.result())
