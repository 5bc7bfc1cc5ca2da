"""Several encoders behind one queue: `python -m benchmarks.devices [--quick] [--json]`.

A small vision transformer with random weights, one core for each encoder, on the CPU. One encoder against two at the
same pictures, in turns; then two, of which one dies for good in the middle.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager
from statistics import median

import numpy as np
import torch

from benchmarks.report import Row, at_least, emit
from indexer.encoder.checkpoint import Checkpoint, resolve
from indexer.encoder.lane import EncoderLane
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.threads import cores_each
from indexer.encoder.worker import Slot
from indexer.errors import DeviceFailed
from indexer.ports import Encoder
from indexer.types import Features, Matrix, Pixels

MODEL = "ViT-S-16"
BATCH = 8


class Mortal(OpenClipEncoder):
    """An encoder whose device is lost for good once it is told to die."""

    is_dead = False

    def encode_pixels(self, pixels: Pixels) -> Features:
        if Mortal.is_dead:
            raise DeviceFailed("unplugged")
        return super().encode_pixels(pixels)


def slot(checkpoint: Checkpoint, prepare: Callable[[], None], kind: type[OpenClipEncoder] = OpenClipEncoder) -> Slot:
    """Where an encoder computes on one core."""

    def build() -> Encoder:
        prepare()
        return kind(checkpoint, device="cpu", precision="fp32")

    return Slot(build, "cpu")


@contextmanager
def lane_of(*slots: Slot) -> Iterator[EncoderLane]:
    """A lane whose encoders are all open."""
    with ExitStack() as stack:
        lane = EncoderLane(*slots, batch_size=BATCH, max_batch_s=10.0, max_bulk=1024)
        stack.callback(lane.close)
        while any(load.state != "open" for load in lane.queue.devices):
            time.sleep(0.05)
        yield lane


def seconds(lane: EncoderLane, pictures: Pixels) -> tuple[float, float]:
    """Time in which all pictures have their features, and the processors' time for that."""
    started, used = time.perf_counter(), time.process_time()
    wait([lane.embed_image(picture) for picture in pictures])
    return time.perf_counter() - started, time.process_time() - used


def unit(rows: Features) -> Matrix:
    """Rows at unit length once more: in float16 they are so to 1e-4 only."""
    wide = rows.astype(np.float32)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def rows(*, quick: bool) -> Iterator[Row]:
    checkpoint = resolve(MODEL, "random")
    prepare = cores_each(1)
    side = checkpoint.preprocess.side_px
    pictures = np.random.default_rng(0).integers(0, 256, (32 if quick else 256, side, side, 3), np.uint8)
    one, two = slot(checkpoint, prepare), slot(checkpoint, prepare)
    with lane_of(one) as alone, lane_of(one, two) as together:
        for lane in (alone, together):
            seconds(lane, pictures[:16])
        pairs = [(seconds(alone, pictures), seconds(together, pictures)) for _ in range(3 if quick else 9)]
        ratio = median(a / b for (a, _), (b, _) in pairs)
        rate = len(pictures) / median(b for _, (b, _) in pairs)
        what = f"two encoders of one core against one, {MODEL}, batches of {BATCH}, {rate:,.0f} images/s together"
        yield at_least("S1", what, ratio, "x", 1.7)
        what = "the same in processor time a picture: what it is on two cores that do nothing else"
        yield Row("S1b", what, 2 * median(a / b for (_, a), (_, b) in pairs), "x")
        expected = unit(np.stack([alone.embed_image(picture).result() for picture in pictures]))
    with lane_of(slot(checkpoint, prepare), slot(checkpoint, prepare, Mortal)) as lane:
        futures = [lane.embed_image(picture) for picture in pictures]
        futures[len(futures) // 4].result()
        Mortal.is_dead = True
        cosines = unit(np.stack([future.result() for future in futures])) @ expected.T
        is_own = (np.diag(cosines) > 0.9999) & (cosines.argmax(1) == np.arange(len(pictures)))
        n_right = int(is_own.sum())
        told = lane.queue.devices[1]
        what = f"pictures of {len(futures)} that have their own feature though one of two died (told: {told.state})"
        yield at_least("S2", what, n_right / len(futures), "share", 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    emit(rows(quick=arguments.quick), json=arguments.json)


if __name__ == "__main__":
    main()
