"""From JPEG files to features on a GPU: `python -m benchmarks.throughput [--quick] [--cpu] [--json]`.

G5, G6: files in memory go through our decoders and encoder, and through the loop that clip-retrieval's inference runs:
a DataLoader of 16 workers with open_clip's transform, batches of 256, open_clip's model in FP16. ViT-H-14 with random
weights. `--cpu` runs the same with a small model where there is no GPU: its rows have no goal.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from queue import SimpleQueue

import torch
from open_clip.transform import image_transform
from torch.utils.data import DataLoader

from benchmarks import photographs
from benchmarks.encoder import in_half, open_clips_own
from benchmarks.peer_loop import Pictures, seconds_of
from benchmarks.report import Row, at_least, emit, skipped
from indexer.encoder.checkpoint import Checkpoint, resolve
from indexer.encoder.lane import EncoderLane
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.worker import Slot
from indexer.images.gpu_jpeg import GpuJpegs
from indexer.images.jobs import Bounds
from indexer.images.limits import Limits
from indexer.images.pool import DecodePool
from indexer.ports import Decoder
from indexer.types import Decoded, Pixels

GOALS = {
    "G5a": ("JPEGs of 500x375 to features, share of encoding alone", "%", 92.0),
    "G5b": ("the same against the loop", "x", 2.0),
    "G6a": ("12-megapixel photographs, mode scaled, against the loop", "x", 4.0),
    "G6b": ("the same with JPEGs decoded on the GPU too", "x", 6.0),
}
PEER = "DataLoader of 16 workers + open_clip's transform + eager FP16 in batches of 256"
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Stage:
    """What is measured, and how large.

    Attributes:
        n_small: Files of 500x375.
        n_large: Files of 12 megapixels.
        batch: Pictures in a batch, on both sides.
        n_workers: Of the loop.
    """

    model: str
    device: str
    n_small: int
    n_large: int
    batch: int
    n_workers: int


def rows(stage: Stage) -> Iterator[Row]:
    checkpoint = resolve(stage.model, "random")
    scaled = replace(checkpoint, preprocess=replace(checkpoint.preprocess, mode="scaled"))
    small = [photographs.draw(500, 375, seed) for seed in range(16)]
    large = [photographs.draw(4000, 3000, seed) for seed in range(2)]
    files = {
        "small": repeated([photographs.as_jpeg(image) for image in small], stage.n_small),
        "large": repeated([photographs.as_jpeg(image) for image in large], stage.n_large),
    }
    with ExitStack() as stack:
        lane = lane_of(checkpoint, stage)
        stack.callback(lane.close)
        exact = pool(checkpoint)
        stack.callback(exact.close)
        features_of(exact, lane, files["small"][: stage.batch])  # warm
        alone = stage.n_small / seconds(lambda: encoded_alone(exact, lane, files["small"]))
        rate = stage.n_small / seconds(lambda: features_of(exact, lane, files["small"]))
        theirs = stage.n_small / loop(files["small"], checkpoint, stage)
        yield row("G5a", 100 * rate / alone, f"{rate:,.0f} images/s of {alone:,.0f}", stage)
        yield row("G5b", rate / theirs, f"{rate:,.0f} images/s against {theirs:,.0f}", stage)
        theirs = stage.n_large / loop(files["large"], checkpoint, stage)
        children = pool(scaled)
        both = GpuJpegs(children, scaled.preprocess, LIMITS, stage.device)
        stack.callback(both.close)
        for id, decoder in (("G6a", children), ("G6b", both)):
            features_of(decoder, lane, files["large"][:8])
            rate = stage.n_large / seconds(lambda decoder=decoder: features_of(decoder, lane, files["large"]))  # type: ignore[misc]
            yield row(id, rate / theirs, f"{rate:,.0f} images/s against {theirs:,.0f}", stage)


def row(id: str, value: float, figures: str, stage: Stage) -> Row:
    what, unit, goal = GOALS[id]
    what = f"{what}: {figures}, {stage.model} on {stage.device}"
    return (
        at_least(id, what, value, unit, goal, PEER) if stage.device == "cuda" else Row(id, what, value, unit, peer=PEER)
    )


def repeated(files: Sequence[bytes], n: int) -> list[bytes]:
    return [files[i % len(files)] for i in range(n)]


def lane_of(checkpoint: Checkpoint, stage: Stage) -> EncoderLane:
    def build() -> OpenClipEncoder:
        encoder = OpenClipEncoder(checkpoint, device=stage.device)
        if stage.device == "cuda":
            encoder._pass.compiling.join()  # type: ignore[attr-defined]  # noqa: SLF001  # as after the first minute
        return encoder

    return EncoderLane(Slot(build, stage.device), batch_size=stage.batch, max_batch_s=60, max_bulk=4 * stage.batch)


def pool(checkpoint: Checkpoint) -> DecodePool:
    n_cores = len(os.sched_getaffinity(0))
    return DecodePool(checkpoint.preprocess, LIMITS, n_workers=min(16, n_cores), bulk=Bounds(1024, 2 << 30))


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def features_of(decoder: Decoder, lane: EncoderLane, files: Sequence[bytes]) -> None:
    """Decode and encode every file, each stage as far ahead of the next as its queue lets it."""
    decoding: SimpleQueue[Future[Decoded]] = SimpleQueue()

    def hand_in() -> None:
        for data in files:
            decoding.put(decoder.decode(data))

    thread = threading.Thread(target=hand_in)
    thread.start()
    features = [lane.embed_image(decoding.get().result().pixels) for _ in files]
    thread.join()
    for future in features:
        future.result()


def encoded_alone(decoder: Decoder, lane: EncoderLane, files: Sequence[bytes]) -> None:
    """As many pictures that are decoded already."""
    pixels: Pixels = decoder.decode(files[0]).result().pixels
    for future in [lane.embed_image(pixels) for _ in files]:
        future.result()


# ---------------------------------------------------------------- the peer


def loop(files: Sequence[bytes], checkpoint: Checkpoint, stage: Stage) -> float:
    """Seconds of the peer's loop, its model warm."""
    device = torch.device(stage.device)
    made = checkpoint.preprocess
    transform = image_transform(made.side_px, is_train=False, mean=made.mean, std=made.std)
    full = open_clips_own(checkpoint, device)
    model = in_half(full, checkpoint) if device.type == "cuda" else full
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    batches = DataLoader(
        Pictures(files, transform),
        batch_size=stage.batch, num_workers=stage.n_workers, prefetch_factor=2, pin_memory=device.type == "cuda",
    )  # fmt: skip
    with torch.inference_mode():
        model.encode_image(torch.zeros((stage.batch, 3, made.side_px, made.side_px), device=device, dtype=dtype)).cpu()
        return seconds_of(
            batches, lambda batch: model.encode_image(batch.to(device, dtype, non_blocking=True)), len(files)
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pictures")
    parser.add_argument("--cpu", action="store_true", help="a small model on the CPU, to see that it runs")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    if torch.cuda.is_available():
        n_small, n_large = (8_000, 600) if args.quick else (32_000, 2_400)
        emit(rows(Stage("ViT-H-14", "cuda", n_small, n_large, 256, 16)), args.json)
    elif args.cpu:
        emit(rows(Stage("ViT-S-32", "cpu", 256, 32, 16, 2)), args.json)
    else:
        emit((skipped(id, what, "no GPU", unit, f">= {goal:g}") for id, (what, unit, goal) in GOALS.items()), args.json)


if __name__ == "__main__":
    main()
