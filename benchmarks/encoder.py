"""The encoder against open_clip as it comes: `python -m benchmarks.encoder [--quick] [--json]`.

ViT-H-14 in its real dimensions with random weights, the same on both sides. On a CPU: the image tower in BF16 (C4) and
one text. On a GPU: rates of GEMM and copy first, then throughput (G1), accuracy (G2), latency (G3), warm start (G11).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.model import convert_weights_to_lp

from benchmarks.report import Row, at_least, at_most, emit, paired_ratio, samples, skipped
from indexer.encoder.checkpoint import Checkpoint, resolve
from indexer.encoder.device import cpu_has_bf16
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.tower import build, untrained
from indexer.types import Pixels

MODEL = "ViT-H-14"
FLOP_PER_IMAGE = 334.59e9
"""Of ViT-H-14's image tower at 224 px."""

ON_A_GPU = {
    "G1a": "FP16 throughput against open_clip eager FP16",
    "G1b": "FP16 throughput as a share of the GEMM rate",
    "G2": "1 - cosine to FP32 open_clip, 64 pictures",
    "G3": "one picture's latency against eager",
    "G11": "warm start to the first embedding",
}

WARM_START = """
import sys, time
started = time.perf_counter()
import numpy as np
from indexer.encoder.checkpoint import resolve
from indexer.encoder.openclip import OpenClipEncoder
encoder = OpenClipEncoder(resolve(sys.argv[1], sys.argv[2]), device=sys.argv[3])
encoder.encode_pixels(np.zeros((1, 224, 224, 3), np.uint8))
print(time.perf_counter() - started)
"""


def rows(*, quick: bool) -> Iterator[Row]:
    checkpoint = resolve(MODEL, "random")
    if torch.cuda.is_available():
        yield from on_gpu(checkpoint, quick=quick)
    else:
        for id, what in ON_A_GPU.items():
            yield skipped(id, what, "no GPU")
    yield from on_cpu(checkpoint, quick=quick)


# ---------------------------------------------------------------- CPU


def on_cpu(checkpoint: Checkpoint, *, quick: bool) -> Iterator[Row]:
    if not cpu_has_bf16():
        yield skipped("C4a", "image tower in BF16 against open_clip FP32", "this CPU has no BF16")
        return
    theirs = open_clips_own(checkpoint, torch.device("cpu"))
    ours = OpenClipEncoder(checkpoint, device="cpu", precision="bf16")
    n = 1 if quick else 4
    pixels = noise(n)
    images = normalised(pixels, checkpoint)
    fns: dict[str, Callable[[], Any]] = {
        "theirs": lambda: theirs.encode_image(images),
        "ours": lambda: ours.encode_pixels(pixels),
    }
    with torch.inference_mode():
        times = samples(fns, repeats=3 if quick else 5)
        expected = theirs.encode_image(images).numpy()
    what = f"image tower, {n} a batch: {statistics.median(times['ours']) / n * 1e3:.0f} ms an image in BF16"
    peer = f"open_clip FP32, as it comes: {statistics.median(times['theirs']) / n * 1e3:.0f} ms"
    yield at_least("C4a", what, paired_ratio(times, "theirs", "ours"), "x", 3.3, peer)
    yield at_least(
        "C4b", "cosine of the joint embedding, lowest", lowest_cosine(ours, pixels, expected), "", 0.9998, peer
    )
    yield products(n)
    yield one_text(theirs, ours, quick=quick)
    if not quick:
        yield warm_start(checkpoint, "cpu")


def products(n: int) -> Row:
    """What the processor gains by BF16: the matrix products of one block of the tower, for n pictures."""
    shapes = [(1280, 3840), (1280, 1280), (1280, 5120), (5120, 1280)]
    fns: dict[str, Callable[[], Any]] = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        pairs = [(torch.randn(257 * n, a).to(dtype), torch.randn(b, a).to(dtype)) for a, b in shapes]
        fns[name] = partial(lambda pairs: [torch.nn.functional.linear(x, w) for x, w in pairs], pairs)
    times = samples(fns, repeats=9)
    rate = sum(2 * 257 * n * a * b for a, b in shapes) / statistics.median(times["bf16"]) / 1e12
    what = f"the tower's matrix products alone, BF16 against FP32: {rate:.2f} TFLOP/s in BF16"
    return Row("C4g", what, paired_ratio(times, "fp32", "bf16"), "x")


def one_text(theirs: Any, ours: OpenClipEncoder, *, quick: bool) -> Row:
    tokenizer = open_clip.SimpleTokenizer()
    text = "a photograph of two dogs in the snow"
    fns: dict[str, Callable[[], Any]] = {
        "theirs": lambda: theirs.encode_text(tokenizer([text])),
        "ours": lambda: ours.encode_texts([text]),
    }
    with torch.inference_mode():
        times = samples(fns, repeats=3 if quick else 7)
    what = f"one text: {statistics.median(times['ours']) * 1e3:.0f} ms in BF16, unpadded"
    peer = f"open_clip FP32, as it comes: {statistics.median(times['theirs']) * 1e3:.0f} ms"
    return Row("C4t", what, paired_ratio(times, "theirs", "ours"), "x", peer=peer)


# ---------------------------------------------------------------- GPU


def on_gpu(checkpoint: Checkpoint, *, quick: bool) -> Iterator[Row]:
    device = torch.device("cuda", 0)
    flops, copy = gemm_flops(device), copy_bytes_per_s(device)
    yield Row("G0a", "GEMM 8192 x 8192 x 8192, FP16", flops / 1e12, "TFLOP/s")
    yield Row("G0b", "copy within the device, read and written", copy / 1e9, "GB/s")
    ours = OpenClipEncoder(checkpoint, device="cuda", precision="fp16")
    ours._pass.compiling.join()  # type: ignore[attr-defined]  # noqa: SLF001  # as after the first minute
    full = open_clips_own(checkpoint, device)
    yield accuracy(full, ours, checkpoint)
    half = in_half(full, checkpoint)
    yield from throughput(half, ours, checkpoint, flops, quick=quick)
    yield latency(half, ours, checkpoint, quick=quick)
    del full, half
    ours.close()
    if quick:
        yield skipped("G11", ON_A_GPU["G11"], "--quick")
    else:
        yield warm_start(checkpoint, "cuda", 15)


def throughput(half: Any, ours: OpenClipEncoder, checkpoint: Checkpoint, flops: float, *, quick: bool) -> Iterator[Row]:
    """The best batch of each side, theirs fed with pictures that lie on the device already."""
    sizes = (64, 128) if quick else (32, 64, 128, 256)
    best: dict[str, tuple[float, int]] = {}
    for n in sizes:
        pixels = noise(n)
        images = normalised(pixels, checkpoint).half().cuda()
        times = samples(
            {"theirs": eager(half, images), "ours": partial(ours.encode_pixels, pixels)}, repeats=7, warmup=2
        )
        for side, seconds in times.items():
            best[side] = max(best.get(side, (0.0, 0)), (n / statistics.median(seconds), n))
    (rate, n), (their_rate, their_n) = best["ours"], best["theirs"]
    what = f"{ON_A_GPU['G1a']}: {rate:.0f} images/s at {n}, from uint8 in host memory"
    yield at_least(
        "G1a", what, rate / their_rate, "x", 1.25, f"open_clip eager FP16: {their_rate:.0f} images/s at {their_n}"
    )
    yield at_least("G1b", ON_A_GPU["G1b"], 100 * rate * FLOP_PER_IMAGE / flops, "%", 65, "GEMM of 8192")


def latency(half: Any, ours: OpenClipEncoder, checkpoint: Checkpoint, *, quick: bool) -> Row:
    pixels = noise(1)
    images = normalised(pixels, checkpoint).half().cuda()
    fns = {"theirs": eager(half, images), "ours": lambda: ours.encode_pixels(pixels)}
    times = samples(fns, repeats=20 if quick else 100, warmup=5)
    mine, theirs = (statistics.median(times[side]) * 1e3 for side in ("ours", "theirs"))
    what = f"{ON_A_GPU['G3']}: {mine:.2f} ms"
    return at_least("G3", what, paired_ratio(times, "theirs", "ours"), "x", 4, f"open_clip eager FP16: {theirs:.2f} ms")


def accuracy(full: Any, ours: OpenClipEncoder, checkpoint: Checkpoint) -> Row:
    pixels = noise(64)
    with torch.inference_mode():
        expected = full.encode_image(normalised(pixels, checkpoint).cuda()).cpu().numpy()
    return at_most("G2", ON_A_GPU["G2"], 1 - lowest_cosine(ours, pixels, expected), "", 1e-5, "open_clip FP32")


def eager(model: Any, images: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            model.encode_image(images)
            torch.cuda.synchronize()

    return run


def gemm_flops(device: torch.device, n: int = 8192) -> float:
    a = torch.randn(n, n, device=device, dtype=torch.float16)
    return 2 * n**3 / seconds_of(lambda: a @ a)


def copy_bytes_per_s(device: torch.device, n: int = 1 << 30) -> float:
    a, b = (torch.empty(n, device=device, dtype=torch.uint8) for _ in range(2))
    return 2 * n / seconds_of(lambda: b.copy_(a))


def seconds_of(fn: Callable[[], Any], n_runs: int = 20) -> float:
    """Seconds of one run among many on the device."""
    for _ in range(3):
        fn()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(n_runs):
        fn()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / n_runs


# ---------------------------------------------------------------- both


def open_clips_own(checkpoint: Checkpoint, device: torch.device) -> Any:
    """open_clip's model in FP32 with the weights that `checkpoint` draws; what `create_model` gives."""
    model = build(checkpoint.config)
    state = {name: read().to(device) for name, read in untrained(model, seed=0).items()}
    model.load_state_dict(state, assign=True)
    return model.to(device)


def in_half(full: Any, checkpoint: Checkpoint) -> Any:
    """open_clip's model as `create_model(precision="fp16")` makes it, norms in float32."""
    model = open_clip.CLIP(**checkpoint.config, cast_dtype=torch.float16).eval().requires_grad_(False).cuda()
    model.load_state_dict(full.state_dict())
    convert_weights_to_lp(model, torch.float16)
    return model


def warm_start(checkpoint: Checkpoint, device: str, goal_s: float | None = None) -> Row:
    """A new process, from its first import to its first embedding, with the file in the page cache."""
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model = build(checkpoint.config)
        save_file({name: read() for name, read in untrained(model, seed=0).items()}, path)
        command = [sys.executable, "-c", WARM_START, MODEL, str(path), device]
        seconds = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(2)]
    what = f"{ON_A_GPU['G11']} on {device}, both towers, {path.name} read and digested"
    return Row("G11", what, min(seconds), "s") if goal_s is None else at_most("G11", what, min(seconds), "s", goal_s)


def noise(n: int) -> Pixels:
    """Pictures with structure at all scales; pure noise all looks the same to a tower."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.uniform(0, 255, (n, 3, 7, 7)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, size=224, mode="bicubic")
    grain = torch.from_numpy(rng.normal(0, 10, (n, 3, 224, 224)).astype(np.float32))
    return (smooth + grain).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def normalised(pixels: Pixels, checkpoint: Checkpoint) -> torch.Tensor:
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    told = checkpoint.preprocess
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (told.mean, told.std))
    return ((images - mean) / std).contiguous()


def lowest_cosine(ours: OpenClipEncoder, pixels: Pixels, expected: np.ndarray[Any, Any]) -> float:
    assert ours.projection is not None
    joint = ours.encode_pixels(pixels).astype(np.float64) @ ours.projection
    wanted = expected.astype(np.float64)
    lengths = np.linalg.norm(joint, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((joint * wanted).sum(axis=1) / lengths).min())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller batches, no warm start")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    emit(rows(quick=options.quick), json=options.json)


if __name__ == "__main__":
    main()
