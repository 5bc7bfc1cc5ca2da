"""Making the index anew, and starting: `python -m benchmarks.rebuild [--n 10000] [--json]`.

Fills a store with n random features of the demo model's space under made-up paths, then times `indexer rebuild` as a
whole process, and the engine's way from opening to its first answer with and without a snapshot (model load aside).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np

from benchmarks.report import Row, at_most, emit
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config, load
from indexer.engine import open_engine
from indexer.engine.parts import open_index, open_snapshots
from indexer.engine.spaces import read_projection, read_record
from indexer.features.disk import DiskFeatureCache
from indexer.geometry import Geometry
from indexer.restore import restore
from indexer.store.data_dir import DataDir
from indexer.types import FilePath, Found, ImageInfo, Stamp, StoredFeature, content_hash


def configured(root: Path) -> Config:
    (root / "pictures").mkdir(exist_ok=True)
    flags = {
        "watch.folders": str(root / "pictures"),
        "store.dir": str(root / "data"),
        "model.name": "demo",
        "model.device": "cpu",
    }
    return load(flags=flags, environ={}, cwd=root).config


def fill(config: Config, n: int) -> None:
    """n contents with unit features, committed as if they had been encoded."""
    with open_engine(config, watch=False) as engine:
        space = engine.space
    data = DataDir(config.store_dir)
    catalogue = SqliteCatalogue.open(data.catalogue)
    cache = DiskFeatureCache(data.features, space)
    rng = np.random.default_rng(0)
    info = ImageInfo("jpeg", 500, 375, 86_000)
    for start in range(0, n, 5000):
        several = range(start, min(start + 5000, n))
        vectors = rng.standard_normal((len(several), space.dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        hashes = [content_hash(b"%d" % i) for i in several]
        cache.put_many({h: StoredFeature(v.astype(np.float16), info) for h, v in zip(hashes, vectors, strict=True)})
        folder = os.fsencode(config.folders[0])
        catalogue.commit(
            [
                Found(FilePath(folder + b"/%d/%d.jpg" % (i // 1000, i)), Stamp(1, i + 1, 86_000, i, i), h, info)
                for i, h in zip(several, hashes, strict=True)
            ]
        )
    cache.close()
    catalogue.close()


def rebuild_command(config: Config) -> tuple[float, str]:
    """Seconds and the closing line of `indexer rebuild` without a server."""
    settings = (
        f"watch.folders={config.folders[0]}",
        f"store.dir={config.store_dir}",
        "model.name=demo",
        "model.device=cpu",
    )
    flags = [part for each in settings for part in ("--set", each)]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "indexer", *flags, "rebuild"], capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, (done.stdout + done.stderr).strip().splitlines()[-1]


def start_up(config: Config, *, snapshot: bool) -> float:
    """Seconds from opening the store to the first answer, without loading a model."""
    data = DataDir(config.store_dir)
    folder = next(iter(data.index.glob("*/")))
    if not snapshot:
        for generation in folder.glob("gen-*"):
            generation.unlink()
    record = read_record(folder)
    assert record is not None
    geometry = Geometry(read_projection(folder), config.index.space)
    started = time.perf_counter()
    catalogue = SqliteCatalogue.open(data.catalogue)
    cache = DiskFeatureCache(data.features, record.space)
    index = open_index(geometry, "cpu")
    open_snapshots(folder, record.space, geometry).load_into(index)
    restored = restore(catalogue, cache, index, geometry, Lock())
    index.search(np.eye(1, index.dim, dtype=np.float32), 10)
    took = time.perf_counter() - started
    assert len(index) == restored.n_live
    for part in (index, cache, catalogue):
        part.close()
    return took


def rows(n: int, n_start: int) -> Iterator[Row]:
    root = Path(tempfile.mkdtemp())
    try:
        config = configured(root)
        fill(config, n)
        took, closing = rebuild_command(config)
        yield at_most("M-rebuild", f"indexer rebuild, {n:,} features, whole process: {closing}", took, "s", 5)
        shutil.rmtree(config.store_dir)
        fill(config, n_start)
        rebuild_command(config)
        yield at_most(
            "R10a", f"first answer at {n_start:,} features from a snapshot", start_up(config, snapshot=True), "s", 3
        )
        yield at_most(
            "R10b", f"first answer at {n_start:,} features, snapshot deleted", start_up(config, snapshot=False), "s", 6
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000, help="features to rebuild")
    parser.add_argument("--start", type=int, default=200_000, help="features to start with")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    emit(rows(options.n, 20_000 if options.quick else options.start), options.json)


if __name__ == "__main__":
    main()
