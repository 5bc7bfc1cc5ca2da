"""Bytes to pixels: speed against open_clip's own transform, how far off, and what the child processes cost.

python -m benchmarks.decode [--photos DIR] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import image_transform
from PIL import Image, ImageOps

from benchmarks import photographs
from benchmarks.report import Row, at_least, at_most, emit, paired_ratio, samples, skipped
from indexer.images.decode import ImageDecoder
from indexer.images.limits import Limits
from indexer.images.pool import DecodePool
from indexer.types import Decoded, Preprocess

EXACT = Preprocess(224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
SCALED = dataclasses.replace(EXACT, mode="scaled")
LIMITS = Limits()
TRANSFORM = image_transform(EXACT.side_px, is_train=False, mean=EXACT.mean, std=EXACT.std)
PEER = "open_clip image_transform, one thread"


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    emit(_rows(arguments.photos, quick=arguments.quick), arguments.json)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", metavar="DIR", help="folder of JPEG photographs; drawn ones without it")
    parser.add_argument("--quick", action="store_true", help="fewer pictures and rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args()


def _rows(folder: str | None, *, quick: bool) -> Iterator[Row]:
    photos = photographs.load(folder, 8 if quick else 120)
    given = photos if folder else None
    kind = "photographs" if folder else "drawn pictures"
    full_hd = [photographs.of_size(given, 1920, 1080, seed) for seed in range(1 if quick else 4)]
    large = [photographs.of_size(given, 4000, 3000, seed) for seed in range(1 if quick else 3)]

    yield from _exact("C1a", f"{kind}, about 500x375", photos, 2.2, rounds=5 if quick else 9)
    yield from _exact("C1b", f"{kind}, 1920x1080", full_hd, 2.3, rounds=9 if quick else 15)
    yield from _exact("C1c", f"{kind}, 4000x3000", large, 2.7, rounds=5 if quick else 9)
    yield from _scaled("C2", f"{kind}, 4000x3000", large, 4.5, 54, rounds=5 if quick else 9)
    yield from _scaled("C2-hd", f"{kind}, 1920x1080", full_hd, None, None, rounds=5 if quick else 9)
    yield from _workers(photos, large, quick=quick)


# ---------------------------------------------------------------- one process


def _exact(id: str, what: str, files: Sequence[bytes], goal: float, rounds: int) -> Iterator[Row]:
    exact = _decode(EXACT)
    times = samples(_each(files, {"open_clip": _open_clip, "exact": exact}), rounds)
    ms = statistics.median(times["exact"]) / len(files) * 1e3
    ratio = paired_ratio(times, "open_clip", "exact")
    yield at_least(id, f"exact preprocessing, {what}: {ms:.2f} ms a picture", ratio, "x", goal, PEER)
    off = np.stack([_levels_off(exact(data).pixels, _reference(data)) for data in files])
    within = float(np.mean(off <= 1))
    worst = f"values within 1 level (worst {off.max()}, equal {np.mean(off == 0):.2%})"
    yield at_least(f"{id}-lsb", f"{what}: {worst}", 100 * within, "%", 99.9999, PEER)


def _scaled(
    id: str, what: str, files: Sequence[bytes], goal: float | None, psnr: float | None, rounds: int
) -> Iterator[Row]:
    scaled = _decode(SCALED)
    times = samples(_each(files, {"open_clip": _open_clip, "scaled": scaled}), rounds)
    ms = statistics.median(times["scaled"]) / len(files) * 1e3
    ratio = paired_ratio(times, "open_clip", "scaled")
    pairs = [(scaled(data).pixels, _reference(data)) for data in files]
    worst_psnr = min(_psnr(a, b) for a, b in pairs)
    worst = max(int(_levels_off(a, b).max()) for a, b in pairs)
    speed, drift = (
        f"mode scaled, {what}: {ms:.2f} ms a picture",
        f"mode scaled, {what}: lowest PSNR (worst {worst} levels)",
    )
    if goal is None or psnr is None:
        yield Row(id, speed, ratio, "x", peer=PEER)
        yield Row(f"{id}-psnr", drift, worst_psnr, "dB", peer=PEER)
        return
    yield at_least(id, speed, ratio, "x", goal, PEER)
    yield at_least(f"{id}-psnr", drift, worst_psnr, "dB", psnr, PEER)


def _each(files: Sequence[bytes], ways: dict[str, Callable[[bytes], Any]]) -> dict[str, Callable[[], Any]]:
    def over(way: Callable[[bytes], Any]) -> Callable[[], None]:
        def run() -> None:
            for data in files:
                way(data)

        return run

    return {name: over(way) for name, way in ways.items()}


def _open_clip(data: bytes) -> Any:
    return TRANSFORM(Image.open(io.BytesIO(data)))


def _decode(preprocess: Preprocess) -> Callable[[bytes], Decoded]:
    return ImageDecoder(preprocess, LIMITS).decode


def _reference(data: bytes) -> NDArray[np.uint8]:
    """Open_clip's pixels before its normalisation."""
    image: Any = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    for step in TRANSFORM.transforms[:-2]:
        image = step(image)
    return np.asarray(image)


def _levels_off(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int16]:
    off: NDArray[np.int16] = np.abs(a.astype(np.int16) - b)
    return off


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(255**2 / error) if error else 99.0


# ---------------------------------------------------------------- child processes


def _workers(photos: Sequence[bytes], large: Sequence[bytes], *, quick: bool) -> Iterator[Row]:
    rounds = 5 if quick else 9
    small = [photos[i % len(photos)] for i in range(200 if quick else 600)]
    some = [large[i % len(large)] for i in range(8 if quick else 16)]
    pools = {n: DecodePool(EXACT, LIMITS, n_workers=n) for n in (1, 2)}
    try:
        for pool in pools.values():
            _through(pool, small[:50])
        enough = len(os.sched_getaffinity(0)) >= 2
        for id, what, files, goal in (("C3", "about 500x375", small, 1.7), ("C3-12mp", "4000x3000", some, 1.7)):
            if not enough:
                yield skipped(id, f"two decode workers against one, {what}", "one core", "x", f">= {goal}")
                continue
            ways = {
                "one": lambda files=files: _through(pools[1], files),
                "two": lambda files=files: _through(pools[2], files),
            }
            times = samples(ways, rounds)
            rate = len(files) / statistics.median(times["two"])
            ratio = paired_ratio(times, "one", "two")
            yield at_least(id, f"two decode workers against one, {what}: {rate:.0f} images/s", ratio, "x", goal)
        yield from _overhead(pools[1], small[:100], rounds)
        private = max(_private_mib(pid) for pool in pools.values() for pid in pool.pids)
        yield at_most("C3-mem", "memory of a child beyond what it shares with its nursery", private, "MiB", 128)
    finally:
        for pool in pools.values():
            pool.close()


def _overhead(pool: DecodePool, files: Sequence[bytes], rounds: int) -> Iterator[Row]:
    here = _each(files, {"here": _decode(EXACT)})["here"]
    times = samples({"here": here, "child": lambda: _through(pool, files)}, rounds)
    share = paired_ratio(times, "here", "child")
    one_by_one = samples(
        {"here": here, "child": lambda: [pool.decode(data, urgent=True).result() for data in files]}, rounds
    )
    added = statistics.median(np.subtract(one_by_one["child"], one_by_one["here"])) / len(files) * 1e3
    yield Row(
        "C3-rate", "one child's rate, about 500x375", share, "x", peer="the same decoding in this process, one thread"
    )
    yield Row("C3-latency", "added to one picture's decoding by the child", added, "ms", peer="in this process")


def _through(pool: DecodePool, files: Sequence[bytes]) -> None:
    for future in [pool.decode(data) for data in files]:
        future.result()


def _private_mib(pid: int) -> float:
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        fields = dict(line.split(":", 1) for line in rollup.readlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")) / 1024


if __name__ == "__main__":
    main()
