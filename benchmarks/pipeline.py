"""From a folder to the index: `python -m benchmarks.pipeline [--photos DIR] [--quick] [--json]`.

C13: a folder of 700 photographs is moved into a watched one, three times, and the clock runs until every one is
searchable: read, hashed, decoded, encoded, cached, committed and indexed. Against the loop that clip-retrieval's
inference runs: a DataLoader with open_clip's transform in worker processes, batches, `encode_image`, features kept in
memory, nothing stored. A small ViT with random weights on both sides. Then against the slowest stage alone, given the
same cores, and against what both stages alone would take of them.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks import photographs
from benchmarks.peer_loop import Pictures, seconds_of
from benchmarks.report import Row, at_least, emit
from indexer.config import Config, load
from indexer.engine import RunningEngine, open_engine

MODEL = "ViT-S-16"
PEER = "DataLoader + open_clip's transform + batches of 64"
_SEED = 1


def rows(photos: str | None, n: int, rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as root:
        ours, theirs, alone = [], [], []
        files = write_photographs(Path(root) / "all", photographs.load(photos, min(n, 200)), n)
        for turn in range(rounds):
            theirs.append(n / loop(files))
            with opened(Path(root) / f"store-{turn}") as engine:
                ours.append(n / index(engine, Path(root) / f"store-{turn}", files))
                alone.append(stages_alone(engine, files[: max(64, n // 4)]))
    paired = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    slowest = min(alone[0], key=lambda name: statistics.median(stages[name] for stages in alone))
    share = statistics.median(rate / stages[slowest] for rate, stages in zip(ours, alone, strict=True))
    told = ", ".join(f"{name} {statistics.median(s[name] for s in alone):,.0f}/s" for name in alone[0])
    rate = statistics.median(ours)
    where = f"{rounds} x {n:,} photographs, {MODEL}, {rate:,.0f} images/s"
    yield at_least(
        "C13a", f"folder to index, {where}", paired, "x", 2, "DataLoader + open_clip's transform + batches of 64"
    )
    yield at_least("C13b", f"the same, share of the slowest stage alone ({told})", 100 * share, "%", 90)
    # On a CPU the stages share its cores: each picture takes its time in both.
    cost = [
        rate * sum(1 / alone_rate for alone_rate in stages.values()) for rate, stages in zip(ours, alone, strict=True)
    ]
    yield Row("C13c", "the same, of what decoding and encoding leave each other", 100 * statistics.median(cost), "%")


def write_photographs(folder: Path, photos: Sequence[bytes], n: int) -> list[Path]:
    """n files; where there are fewer photographs, bytes after the end of a JPEG make each a content of its own."""
    folder.mkdir(parents=True)
    paths = [folder / f"{i:05}.jpg" for i in range(n)]
    for i, path in enumerate(paths):
        path.write_bytes(photos[i % len(photos)] + b"%d" % i)
    return paths


def opened(root: Path) -> RunningEngine:
    """An engine over an empty folder."""
    (root / "pictures").mkdir(parents=True)
    flags = {
        "watch.folders": [str(root / "pictures")],
        "store.dir": str(root / "data"),
        "watch.settle_s": 0.05,
        "model.name": MODEL,
        "model.pretrained": f"random:{_SEED}",
    }
    config: Config = load(flags=flags, environ={}, cwd=root).config
    return open_engine(config)


def index(engine: RunningEngine, root: Path, files: Sequence[Path]) -> float:
    """Seconds from the moment a folder of files is there until all are searchable."""
    engine.embed_images([files[0].read_bytes()])  # decoders and encoder are warm
    outside = root / "outside"
    outside.mkdir()
    for file in files:
        os.link(file, outside / file.name)
    started = time.perf_counter()
    outside.rename(root / "pictures" / "new")
    while len(engine.parts.index) < len(files):  # asking for all of the state takes a core some milliseconds
        time.sleep(0.02)
    return time.perf_counter() - started


def stages_alone(engine: RunningEngine, files: Sequence[Path]) -> dict[str, float]:
    """Images a second of decoding alone and of encoding alone, each through its queue with all cores."""
    contents = [file.read_bytes() for file in files]
    started = time.perf_counter()
    pictures = [future.result().pixels for future in [engine.parts.decoder.decode(data) for data in contents]]
    decode_s = time.perf_counter() - started
    started = time.perf_counter()
    waiting: list[Future[Any]] = [engine.parts.embedder.embed_image(pixels) for pixels in pictures]
    for future in waiting:
        future.result()
    return {"decode": len(files) / decode_s, "encode": len(files) / (time.perf_counter() - started)}


def loop(files: Sequence[Path]) -> float:
    """Seconds of the peer's loop over the files, its workers warm."""
    torch.manual_seed(_SEED)
    model, _, transform = open_clip.create_model_and_transforms(MODEL)
    model.eval()
    workers = len(os.sched_getaffinity(0))
    batches = DataLoader(Pictures(files, transform), batch_size=64, num_workers=workers, prefetch_factor=2)
    with torch.inference_mode():
        model.encode_image(transform(Image.open(io.BytesIO(files[0].read_bytes())))[None])
        return seconds_of(batches, model.encode_image, len(files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", metavar="DIR", help="folder of JPEG photographs; drawn ones without it")
    parser.add_argument("--quick", action="store_true", help="150 photographs, one round")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    emit(rows(args.photos, 150 if args.quick else 700, 1 if args.quick else 3), args.json)


if __name__ == "__main__":
    main()
