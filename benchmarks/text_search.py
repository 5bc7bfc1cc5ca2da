"""Text search on the visual index: exact? at what cost? `python -m benchmarks.text_search [--quick] [--json]`.

Clustered features with a few strong directions, and projections whose columns weaken, so that lengths in the joint
space differ. The reference ranks every feature in the joint space in float64.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Iterator
from contextlib import closing
from itertools import cycle

import numpy as np

from benchmarks.report import Row, at_least, emit, paired_ratio, samples
from indexer.geometry import Geometry, search_joint
from indexer.index.cpu import CpuIndex
from indexer.types import Features, Ids, Matrix

DIM, JOINT, K, N_QUERIES = 1280, 1024, 10, 200


def draw_features(n: int, random: np.random.Generator) -> Features:
    """Clustered and anisotropic unit features (n, DIM)."""
    strength = np.exp(-np.arange(DIM) / (DIM / 3)).astype(np.float32) + 0.05
    centres = random.standard_normal((n // 50, DIM), dtype=np.float32) * strength
    rows = np.empty((n, DIM), np.float16)
    for start in range(0, n, 8192):
        part = rows[start : start + 8192]
        noise = 0.7 * random.standard_normal((len(part), DIM), dtype=np.float32) * strength
        part[:] = unit(centres[random.integers(0, len(centres), len(part))] + noise)
    return rows


def draw_projection(decay: float, random: np.random.Generator) -> Matrix:
    weights = np.exp(-decay * np.arange(JOINT) / JOINT).astype(np.float32)
    return random.standard_normal((DIM, JOINT), dtype=np.float32) * weights / np.float32(np.sqrt(DIM))


def draw_texts(features: Features, projection: Matrix, random: np.random.Generator) -> Matrix:
    """Joint embeddings (N_QUERIES, JOINT) that lean towards pictures, as captions do."""
    near = unit(features[random.integers(0, len(features), N_QUERIES)].astype(np.float32) @ projection)
    return unit(0.3 * near + unit(random.standard_normal(near.shape, dtype=np.float32)))


def exhaustive(features: Features, projection: Matrix, texts: Matrix) -> Ids:
    """Ids (q, K) of the best joint scores, by looking at all of them."""
    scores = np.empty((len(texts), len(features)))
    for start in range(0, len(features), 8192):
        joint = features[start : start + 8192].astype(np.float64) @ projection.astype(np.float64)
        scores[:, start : start + 8192] = texts.astype(np.float64) @ unit(joint).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :K] + 1


def unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    shortened: np.ndarray = vectors / lengths
    return shortened


def measured(n: int, decay: float, repeats: int) -> Iterator[Row]:
    """Exactness and cost for one size and one kind of projection."""
    random = np.random.default_rng(5)
    features, projection = draw_features(n, random), draw_projection(decay, random)
    texts = draw_texts(features, projection, random)
    geometry = Geometry(projection)
    with closing(CpuIndex(DIM, threads=len(os.sched_getaffinity(0)))) as index:
        for start in range(0, n, 8192):
            rows, norms = geometry.rows(features[start : start + 8192])
            index.upsert(np.arange(start + 1, start + 1 + len(rows)), rows, norms)
        found = np.concatenate([search_joint(index, geometry, text, K).ids for text in texts])
        same = 100 * float((found == exhaustive(features, projection, texts)).all(axis=1).mean())
        turns, plain = cycle(texts), cycle([geometry.joint_query(text)[None, :] for text in texts])
        calls = {
            "joint": lambda: search_joint(index, geometry, next(turns), K),
            "plain": lambda: index.search(next(plain), K),
        }
        times = samples(calls, repeats, 5)
        low, high = index.norm_bounds()
    what = f"{n:,} features, lengths in the joint space {low:.2f} to {high:.2f}"
    yield at_least("T1", f"top-{K} equal to the exhaustive joint ranking, {N_QUERIES} queries, {what}", same, "%", 99.9)
    ms = statistics.median(times["joint"]) * 1e3
    yield Row("T2", f"cost against a plain search, {what}: {ms:.2f} ms", paired_ratio(times, "joint", "plain"), "x")


def rows(quick: bool) -> Iterator[Row]:
    """Every row."""
    for n in (10_000,) if quick else (10_000, 100_000):
        for decay in (0.0, 6.0):
            yield from measured(n, decay, 40 if quick else 200)


def main() -> None:
    parser = argparse.ArgumentParser(description="Text search on the visual index: is it exact, and what does it cost?")
    parser.add_argument("--quick", action="store_true", help="10,000 features only")
    parser.add_argument("--json", action="store_true", help="one line per row")
    asked = parser.parse_args()
    emit(rows(asked.quick), asked.json)


if __name__ == "__main__":
    main()
