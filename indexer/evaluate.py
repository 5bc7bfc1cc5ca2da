"""The gate: whether a cheaper precision finds on the user's own images what FP32 finds.

Statistically, what counts is the order among close neighbours, and they are closest in the whole index: ten nearest
among 500 images drawn at random from a million are no neighbours at all, and hardly any error could reorder them. So
where features are stored, a few images are drawn at random as queries, and their nearest stored neighbours are encoded
with them: the ten nearest of such a query among these are its ten nearest in the whole index, before and after, as long
as none comes from beyond its first twenty. The fewer queries make the mean less certain; its standard error is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexer.errors import DeviceOutOfMemory, InputError
from indexer.ports import Encoder, FeatureReading, MemoryMeter
from indexer.types import ContentHash, Effort, Evaluation, Features, Ids, IndexEvaluation, Pixels

Doubles: TypeAlias = NDArray[np.float64]

K: Final = 10
"""Neighbours compared."""

HOOD: Final = 20
"""Images that are encoded for one query, itself included."""

MOST_IMAGES: Final = 5000
"""Their pixels are all in memory: 750 MB at 224 px."""

_CHUNK: Final = 4096


@dataclass(frozen=True, slots=True)
class Chosen:
    """Contents to encode; of the first `n_queries` the neighbours are compared."""

    hashes: Sequence[ContentHash]
    n_queries: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What one encoder made of the sample, and what that took."""

    features: Features  # (n, d)
    effort: Effort


# ---------------------------------------------------------------- the sample


def chosen(live: Sequence[ContentHash], stored: FeatureReading | None, n: int, rng: np.random.Generator) -> Chosen:
    """Up to `n` of the live contents: all, or queries drawn at random with their nearest stored neighbours.

    Without stored features of the model (None) all are drawn at random, and each is a query among the others.

    Raises:
        InputError: There are too few images for `K` neighbours.
    """
    if min(len(live), n) <= K:
        raise InputError(f"the gate compares {K} neighbours and needs more images than that; {len(live)} are indexed")
    order = rng.permutation(len(live)).tolist()
    seeds = order[: max(1, n // HOOD)]
    near = _nearest_stored(live, stored, seeds) if stored is not None and len(live) > n else []
    if not near:
        return Chosen([live[place] for place in order[:n]], min(n, len(live)))
    places = list(dict.fromkeys([*seeds, *near, *order]))[:n]
    return Chosen([live[place] for place in places], len(seeds))


def _nearest_stored(live: Sequence[ContentHash], stored: FeatureReading, seeds: Sequence[int]) -> list[int]:
    """Places of the `HOOD` nearest to each seed among all whose feature is stored, the seeds' own included."""
    features = stored.get_many([live[place] for place in seeds])
    if not features:
        return []
    queries = unit(np.stack([found.feature for found in features.values()]))
    scores = np.full((len(queries), HOOD), -np.inf)
    places = np.full((len(queries), HOOD), -1)
    for start in range(0, len(live), _CHUNK):
        some = live[start : start + _CHUNK]
        rows = stored.get_many(some)
        here = np.array([start + i for i, hash in enumerate(some) if hash in rows], np.int64)
        if not len(here):
            continue
        found = queries @ unit(np.stack([rows[live[place]].feature for place in here])).T  # (s, m)
        scores = np.hstack([scores, found])
        places = np.hstack([places, np.broadcast_to(here, found.shape)])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :HOOD]
        scores, places = np.take_along_axis(scores, best, 1), np.take_along_axis(places, best, 1)
    return [int(place) for place in places.ravel() if place >= 0]


# ---------------------------------------------------------------- the encoders


def measured(
    encoder: Encoder, meter: MemoryMeter, pixels: Pixels, batch_size: int, tell: Callable[[int], None]
) -> Measured:
    """Encode pixels (n, side, side, 3) in batches, which are halved where they do not fit.

    Args:
        encoder: In the precision to measure.
        meter: Made before the encoder.
        pixels: The sample.
        batch_size: To begin with.
        tell: Told how many are done.

    Raises:
        DeviceOutOfMemory, DeviceFailed: Not even one fits, or the device is lost.
    """
    meter.start()
    parts: list[Features] = []
    seconds: list[float] = []  # an image
    done = 0
    while done < len(pixels):
        some = pixels[done : done + batch_size]
        started = time.perf_counter()
        try:
            parts.append(encoder.encode_pixels(some))
        except DeviceOutOfMemory:
            if batch_size == 1:
                raise
            batch_size //= 2
            continue
        seconds.append((time.perf_counter() - started) / len(some))
        done += len(some)
        tell(done)
    rate = 1 / max(median(seconds), 1e-9)
    effort = Effort(encoder.space.precision, rate, meter.peak_bytes(), encoder.weights_bytes)
    return Measured(np.concatenate(parts), effort)


# ---------------------------------------------------------------- the comparison


def compared(reference: Measured, candidate: Measured, n_queries: int) -> tuple[Doubles, Doubles]:
    """Cosine of each image's two features (n,), and share of each query's `K` nearest that stay (n_queries,)."""
    full, cheap = unit(reference.features), unit(candidate.features)
    return (full * cheap).sum(axis=1), overlap(nearest(full, n_queries, K), nearest(cheap, n_queries, K))


def overlap(expected: Ids, found: Ids) -> Doubles:
    """For each row of ids (n, k) the share of those expected that are found, in whatever order: (n,)."""
    share: Doubles = (expected[:, :, None] == found[:, None, :]).any(axis=2).mean(axis=1)
    return share


def nearest(rows: Doubles, n_queries: int, k: int) -> Ids:
    """Places (n_queries, k) of the nearest others to each of the first rows (n, d) of unit length."""
    scores = rows[:n_queries] @ rows.T
    np.fill_diagonal(scores, -np.inf)
    places: Ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return places


def unit(features: Features) -> Doubles:
    """Rows of unit length in float64; zeros for what is zero or not finite, which is like nothing."""
    rows: Doubles = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    return np.where(usable, rows, 0) / np.where(usable, lengths, 1)


def summed_up(cosines: Doubles, overlaps: Doubles) -> tuple[float, float, float, float, float]:
    """Mean, first percentile and minimum of the cosines; mean of the overlaps, and its standard error."""
    n = len(overlaps)
    error = float(overlaps.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return (
        float(cosines.mean()), float(np.percentile(cosines, 1)), float(cosines.min()), float(overlaps.mean()), error,
    )  # fmt: skip


def shortfall(evaluation: Evaluation, least_overlap: float, least_cosine: float) -> str:
    """What keeps an evaluation from passing, in words; empty where it passes."""
    wrong = []
    if not evaluation.overlap >= least_overlap:
        wrong.append(f"top-{K} overlap {evaluation.overlap:.3f} is below {least_overlap:g}")
    if not evaluation.cosine_p1 >= least_cosine:
        wrong.append(f"p1 cosine {evaluation.cosine_p1:.4f} is below {least_cosine:g}")
    return ", ".join(wrong)


def index_shortfall(evaluation: IndexEvaluation, least_overlap: float) -> str:
    """What keeps an index of another kind from passing, in words; empty where it passes."""
    groups = [("images", evaluation.found), ("words", evaluation.words)]
    wrong = [
        f"top-{K} overlap of {name} {point.recall:.3f} is below {least_overlap:g}"
        for name, point in groups
        if point is not None and not point.recall >= least_overlap
    ]
    return ", ".join(wrong)
