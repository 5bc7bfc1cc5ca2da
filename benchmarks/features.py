"""The feature cache against diskcache as it comes: `python -m benchmarks.features`.

C9: features are put in batches, each durable when the call returns, against diskcache's defaults one at a time, which
are durable some time later; and a batch of gets, each checked, against as many single gets of bare bytes. Both sides
keep what they were given before, so that they grow alike, and are measured in turns.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import diskcache
import numpy as np

from benchmarks.report import Row, at_least, at_most, emit, paired_ratio, samples
from indexer.features.disk import DiskFeatureCache
from indexer.types import ContentHash, EmbeddingSpace, ImageInfo, Preprocess, StoredFeature, content_hash

SPACE = EmbeddingSpace("stub", "none", "fp16", 1280, Preprocess(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
INFO = ImageInfo("JPEG", 4000, 3000, 3_000_000)
BATCH = 256
N_PUT = 4 * BATCH
N_GET = 2000
RESTART = 200_000


class Peers:
    """Two caches in a folder, fed with the same features under fresh keys."""

    def __init__(self, folder: Path) -> None:
        self.ours = DiskFeatureCache(folder / "ours", SPACE)
        self.theirs = diskcache.Cache(str(folder / "theirs"))
        self._numbers = itertools.count()
        vectors = np.random.default_rng(0).standard_normal((BATCH, SPACE.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        self._features = [StoredFeature(vector, INFO) for vector in vectors.astype(np.float16)]

    def fresh(self, n: int) -> dict[ContentHash, StoredFeature]:
        """That many features under keys never used before."""
        return {content_hash(b"%d" % next(self._numbers)): self._features[i % BATCH] for i in range(n)}

    def put_in_batches(self, n: int = N_PUT) -> list[ContentHash]:
        """Put that many; under which keys, in order."""
        hashes: list[ContentHash] = []
        for _ in range(0, n, BATCH):
            features = self.fresh(BATCH)
            self.ours.put_many(features)
            hashes += features
        return hashes

    def put_one_by_one(self) -> None:
        for hash_, stored in self.fresh(N_PUT).items():
            self.theirs.set(hash_.hex(), stored.feature.tobytes())

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


def put_row(peers: Peers, repeats: int) -> Row:
    times = samples({"ours": peers.put_in_batches, "theirs": peers.put_one_by_one}, repeats)
    rate = N_PUT / sorted(times["ours"])[repeats // 2]
    what = f"durable put of features (1280-d) in batches of {BATCH}: {rate:,.0f} a second"
    return at_least("C9a", what, paired_ratio(times, "theirs", "ours"), "x", 3, "diskcache's defaults, one at a time")


def get_row(peers: Peers, repeats: int) -> Row:
    kept = peers.fresh(N_GET)
    hashes = list(kept)
    peers.ours.put_many(kept)
    with peers.theirs.transact():
        for hash_, stored in kept.items():
            peers.theirs.set(hash_.hex(), stored.feature.tobytes())

    def in_batches() -> None:
        found = sum(len(peers.ours.get_many(hashes[i : i + BATCH])) for i in range(0, N_GET, BATCH))
        assert found == N_GET

    def one_by_one() -> None:
        assert all(peers.theirs.get(hash_.hex()) is not None for hash_ in hashes)

    times = samples({"ours": in_batches, "theirs": one_by_one}, repeats)
    rate = N_GET / sorted(times["ours"])[repeats // 2]
    what = f"checked get of features in batches of {BATCH}: {rate:,.0f} a second"
    return at_least(
        "C9b", what, paired_ratio(times, "theirs", "ours"), "x", 1, "diskcache's get of bytes, one at a time"
    )


def restart_row(peers: Peers, n: int, repeats: int) -> Row:
    hashes = peers.put_in_batches(n)  # in this order the catalogue names them at a start

    def read_all() -> None:
        assert sum(len(peers.ours.get_many(hashes[i : i + 2048])) for i in range(0, len(hashes), 2048)) == len(hashes)

    seconds = sorted(samples({"ours": read_all}, repeats)["ours"])[repeats // 2]
    what = f"{RESTART:,} features read back and checked (measured on {len(hashes):,})"
    return at_most("C9c", what, seconds * RESTART / len(hashes), "s", 3)


def measure(quick: bool, folder: Path) -> list[Row]:
    """All rows, in a new folder inside `folder`."""
    repeats = 5 if quick else 15
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        peers = Peers(Path(inside))
        try:
            return [
                put_row(peers, repeats),
                get_row(peers, repeats),
                restart_row(peers, 20 * BATCH if quick else RESTART, 5),
            ]
        finally:
            peers.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller inputs")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the caches are made")
    options = parser.parse_args(arguments)
    emit(measure(options.quick, options.dir), options.json)


if __name__ == "__main__":
    main()
