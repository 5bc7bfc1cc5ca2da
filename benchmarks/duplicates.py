"""Are variants told from other pictures, and how long does it take? `python -m benchmarks.duplicates`.

Each photograph lies in a watched folder four times: as it is, as a JPEG of quality 50, at half its size, and cropped to
nine tenths at a place by chance. Pairs in a group that are of one photograph are right, all others in it are wrong. The
photographs are those of a folder (`--photos`), or drawn; the demo model, which has never seen one, proposes.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.photographs import as_jpeg, load
from benchmarks.report import Row, at_least, at_most, emit
from benchmarks.vectors import Clusters
from indexer.config import load as load_config
from indexer.duplicates.find import SIMILAR_SHARE
from indexer.duplicates.groups import starred
from indexer.duplicates.look import look, n_differing
from indexer.duplicates.pairs import chance, close_pairs
from indexer.engine import open_engine
from indexer.index.cpu import CpuIndex
from indexer.types import DuplicateGroup, Tier

KINDS = ("photo", "jpeg50", "half", "crop90")
DIM = 1280


def variants(photo: bytes, rng: np.random.Generator) -> list[bytes]:
    """One file of each kind."""
    with Image.open(io.BytesIO(photo)) as opened:
        image = opened.convert("RGB")
    width, height = round(image.width * 0.9), round(image.height * 0.9)
    x, y = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
    return [photo, as_jpeg(image, 50), as_jpeg(half), as_jpeg(image.crop((x, y, x + width, y + height)))]


def groups_of(photos: Sequence[bytes], folder: Path) -> tuple[list[DuplicateGroup], float]:
    """The groups of variants that a service finds, and how long it looked, seconds."""
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number, photo in enumerate(photos):
        for kind, data in zip(KINDS, variants(photo, rng), strict=True):
            (pictures / f"{number}-{kind}.jpg").write_bytes(data)
    flags = {"watch.folders": [str(pictures)], "store.dir": str(folder / "data"), "watch.settle_s": 0.1,
             "model.name": "demo"}  # fmt: skip
    with open_engine(load_config(flags=flags, environ={}, cwd=folder).config) as engine:
        while not engine.wait_idle(1.0) or engine.stats().indexed < len(KINDS) * len(photos):
            time.sleep(0.1)
        started = time.perf_counter()
        while (page := engine.duplicates(Tier.VARIANT, 10_000)).progress:
            pass
        return list(page.groups), time.perf_counter() - started


def accuracy(photos: Sequence[bytes]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        groups, took_s = groups_of(photos, Path(folder))
    right: Counter[frozenset[str]] = Counter()
    n_wrong = 0
    for group in groups:
        names = [os.fsdecode(os.path.basename(image.paths[0]))[:-4].split("-") for image in group.images]
        for (one, kind), (other, other_kind) in itertools.combinations(names, 2):
            right[frozenset((kind, other_kind))] += one == other
            n_wrong += one != other
    n_pairs = len(list(itertools.combinations(KINDS, 2)))
    recall = right.total() / (n_pairs * len(photos))
    precision = right.total() / max(right.total() + n_wrong, 1)
    asked = f"{len(photos)} photographs, {len(KINDS)} files of each"
    yield at_least("DU1", f"recall of pairs of variants, {asked}", recall, "", 0.95)
    yield at_least("DU2", f"their precision, {n_wrong} wrong pairs", precision, "", 0.99)
    for kind in KINDS[1:]:
        yield Row(
            f"DU1-{kind}",
            f"recall of the photograph and its {kind}",
            right[frozenset(("photo", kind))] / len(photos),
            "",
        )
    yield Row("DU3", "time for it, pixels decoded and all", took_s, "s")


def speed(n: int) -> Iterator[Row]:
    """A twentieth of the rows is there a second time, a little changed."""
    rows = Clusters(DIM, n // 20).rows(n)
    rng = np.random.default_rng(0)
    n_twins = n // 20
    twins = rows[:n_twins].astype(np.float32) + rng.standard_normal((n_twins, DIM), np.float32) * 0.1 / DIM**0.5
    rows[-n_twins:] = twins / np.linalg.norm(twins, axis=1, keepdims=True)
    with closing(CpuIndex(DIM)) as index:
        index.upsert(np.arange(1, n + 1), rows, np.ones(n, np.float32))
        started, busy_since = time.perf_counter(), time.process_time()
        usual = chance(index)
        pairs = close_pairs(index, usual + SIMILAR_SHARE * (1 - usual), lambda _done, _total: None)
        groups = starred(pairs)
        took_s, busy_s = time.perf_counter() - started, time.process_time() - busy_since
    planted = {(i + 1, n - n_twins + i + 1) for i in range(n_twins)}
    found = len(planted & set(map(tuple, pairs.ids.tolist()))) / n_twins
    yield at_most(
        "DU4", f"close pairs among {n:,} rows, in {len(groups):,} groups", took_s, "s", 60 * (n / 100_000) ** 2
    )
    yield Row("DU4p", "processor time for it, all cores", busy_s, "s")
    yield at_least("DU5", "planted pairs among them", found, "", 1.0)
    pixels = rng.integers(0, 256, (224, 224, 3), np.uint8)
    look(pixels)
    started = time.perf_counter()
    looks = np.stack([look(pixels)] * 1000 + [look(pixels) for _ in range(50)])
    yield Row("DU6", "the perceptual hash of a picture's pixels", (time.perf_counter() - started) / 51 * 1e3, "ms")
    started = time.perf_counter()
    n_differing(looks[:1000], looks[-1000:])
    yield Row("DU7", "comparing those of a thousand pairs", (time.perf_counter() - started) * 1e3, "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", metavar="FOLDER", help="JPEG files; drawn ones by default")
    parser.add_argument("--quick", action="store_true", help="fewer of all")
    parser.add_argument("--json", action="store_true", help="one line per row")
    asked = parser.parse_args()
    photos = load(asked.photos, 20 if asked.quick else 120)
    emit(itertools.chain(accuracy(photos), speed(10_000 if asked.quick else 100_000)), asked.json)


if __name__ == "__main__":
    main()
