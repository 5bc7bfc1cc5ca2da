"""Precisions against each other on this CPU: `python -m benchmarks.precision [--quick] [--json]`.

ViT-H-14 in its real dimensions with random weights: speed in turns, and 1 - cosine to FP32. Then the gate on the demo
model, which is trained, over drawn scenes. On a machine that others use too, give it `--threads 1`: threads that wait
for each other at every operation measure the others. FP8 is computed here as a GPU would round it: its figures are of
accuracy, and no speed is claimed. `indexer evaluate` prints such figures for one's own images.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.encoder import noise
from benchmarks.report import Row, emit, samples, skipped
from indexer.encoder import openclip
from indexer.encoder.checkpoint import resolve
from indexer.encoder.device import Placement, cpu_has_bf16, cpu_has_int8
from indexer.encoder.openclip import OpenClipEncoder
from indexer.evaluate import Measured, compared, summed_up, unit
from indexer.scenes import write_scenes
from indexer.types import Effort, Pixels

FP8 = Placement(torch.device("cpu"), "fp8+bf16")


def rows(*, quick: bool) -> Iterator[Row]:
    if not cpu_has_int8() or not cpu_has_bf16():
        yield skipped("Q1", "int8 against bf16 and fp32", "this CPU has no VNNI or no BF16")
        return
    yield from speed("ViT-B-16" if quick else "ViT-H-14", n=2 if quick else 4, repeats=3 if quick else 5)
    yield from gate(100 if quick else 500)


def speed(model: str, n: int, repeats: int) -> Iterator[Row]:
    """One batch in each precision, in turns, and how far its features are from FP32's."""
    encoders = {precision: opened(model, precision) for precision in ("fp32", "bf16", "int8")}
    pixels = noise(n)
    times = samples(
        {precision: partial(encoder.encode_pixels, pixels) for precision, encoder in encoders.items()}, repeats
    )
    rates = {precision: n / min(seconds) for precision, seconds in times.items()}
    told = ", ".join(f"{precision} {rate:.2f}" for precision, rate in rates.items())
    what = f"{model}, random weights, {n} a batch, {torch.get_num_threads()} threads, quickest of {repeats}"
    yield Row("Q1a", f"{what}: int8 against bf16 (images/s: {told})", rates["int8"] / rates["bf16"], "x", peer="bf16")
    yield Row("Q1b", "the same against fp32", rates["int8"] / rates["fp32"], "x", peer="fp32")
    sizes = {precision: encoder.weights_bytes for precision, encoder in encoders.items()}
    told = ", ".join(f"{precision} {size / 1e9:.2f}" for precision, size in sizes.items())
    yield Row("Q1c", f"weights, both towers; GB: {told}", sizes["int8"] / sizes["bf16"], "x", peer="bf16")
    full = unit(encoders.pop("fp32").encode_pixels(pixels))
    encoders["fp8"] = opened(model, "fp8")
    for id, (precision, encoder) in zip("def", encoders.items(), strict=True):
        lowest = float((unit(encoder.encode_pixels(pixels)) * full).sum(axis=1).min())
        yield Row(f"Q1{id}", f"1 - cosine to fp32, {precision}, largest of {n}", 1 - lowest, "", peer="fp32")


def gate(n: int) -> Iterator[Row]:
    """What the gate says of the demo model on drawn scenes, all of them compared with all."""
    pixels = scenes(n, resolve("demo", "").preprocess.side_px)
    made = {precision: features(precision, pixels) for precision in ("fp32", "bf16", "int8", "fp8")}
    full = made.pop("fp32")
    for id, (precision, found) in zip("abc", made.items(), strict=True):
        mean, p1, least, overlap, error = summed_up(*compared(full, found, n))
        verdict = "passes" if overlap >= 0.95 and p1 >= 0.99 else "fails"
        what = f"{precision} {verdict} the gate, demo model, {n} scenes: top-10 overlap (± {error:.3f}; floor 0.95)"
        peer = f"fp32; cosine mean {mean:.5f}, p1 {p1:.5f}, lowest {least:.5f} (floor of p1: 0.99)"
        yield Row(f"Q2{id}", what, overlap, "", peer=peer)


def features(precision: str, pixels: Pixels) -> Measured:
    encoder = opened("demo", precision)
    made = np.concatenate([encoder.encode_pixels(pixels[at : at + 50]) for at in range(0, len(pixels), 50)])
    return Measured(made, Effort(precision, 0.0, 0, encoder.weights_bytes))


def scenes(n: int, side_px: int) -> Pixels:
    with tempfile.TemporaryDirectory() as folder:
        drawn = [np.asarray(Image.open(path).convert("RGB")) for path in write_scenes(Path(folder), n, 22, side_px)]
    return np.stack(drawn)


def opened(model: str, precision: str) -> OpenClipEncoder:
    checkpoint = resolve(model, "random")
    if precision != "fp8":
        return OpenClipEncoder(checkpoint, device="cpu", precision=precision)
    with patch.object(openclip, "place", lambda *_: FP8):  # refused on a CPU, which could only be slow
        return OpenClipEncoder(checkpoint)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller model, fewer repeats and scenes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--threads", type=int, help="that compute; default: one for each core")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    emit(rows(quick=options.quick), json=options.json)


if __name__ == "__main__":
    main()
