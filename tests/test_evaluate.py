"""The gate's arithmetic: which images are asked about, and what counts as the same answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import DeviceOutOfMemory, InputError
from indexer.evaluate import HOOD, K, Measured, chosen, compared, measured, nearest, overlap, shortfall, unit
from indexer.types import ContentHash, Effort, Features, ImageInfo, StoredFeature, content_hash
from tests.fakes.encoder import StubEncoder
from tests.fakes.engine import EVALUATION
from tests.fakes.features import MemoryFeatureCache

EFFORT = Effort("fp32", 1.0, 2, 3)


class Meter:
    """Memory that is what it is."""

    device_name, budget_bytes = "a device", 1 << 30

    def start(self) -> None: ...

    def peak_bytes(self) -> int:
        return 77


def rows_of(n: int, dim: int = 16, seed: int = 0) -> Features:
    return unit(np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float16)).astype(np.float16)


def stored(rows: Features) -> tuple[list[ContentHash], MemoryFeatureCache]:
    cache = MemoryFeatureCache(replace(StubEncoder().space, dim=rows.shape[1]))
    hashes = [content_hash(b"%d" % i) for i in range(len(rows))]
    info = ImageInfo(1, 1, "png", 1)
    cache.put_many({hash: StoredFeature(row, info) for hash, row in zip(hashes, rows, strict=True)})
    return hashes, cache


@given(st.integers(1, 20), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_overlap_is_the_share_of_each_rows_ids_that_stay_whatever_their_order(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = (np.stack([rng.permutation(30)[:k] for _ in range(n)]) for _ in range(2))
    expected = [len(set(a.tolist()) & set(b.tolist())) / k for a, b in zip(one, other, strict=True)]
    assert overlap(one, other).tolist() == pytest.approx(expected)
    assert overlap(one, one[:, ::-1]).tolist() == [1.0] * n


def test_an_image_is_no_neighbour_of_itself() -> None:
    rows = unit(rows_of(30))
    found = nearest(rows, 7, K)
    assert found.shape == (7, K)
    for query, ids in enumerate(found.tolist()):
        by_score = sorted((i for i in range(30) if i != query), key=lambda i: -float(rows[query] @ rows[i]))
        assert ids == by_score[:K]


def test_queries_come_with_their_true_neighbours_in_the_whole_index() -> None:
    rows = rows_of(5000)
    hashes, cache = stored(rows)
    found = chosen(hashes, cache, 200, np.random.default_rng(1))
    assert (len(found.hashes), len(set(found.hashes)), found.n_queries) == (200, 200, 200 // HOOD)
    place = {hash: i for i, hash in enumerate(hashes)}
    exact = unit(rows)
    for hash in found.hashes[: found.n_queries]:
        hood = np.argsort(-(exact @ exact[place[hash]]))[:HOOD]
        assert {hashes[i] for i in hood} <= set(found.hashes)


def test_a_small_index_is_encoded_whole_and_without_features_the_sample_is_random() -> None:
    hashes, cache = stored(rows_of(100))
    everything = chosen(hashes, cache, 500, np.random.default_rng(1))
    assert (set(everything.hashes), everything.n_queries) == (set(hashes), 100)
    for nothing in (None, MemoryFeatureCache(cache.space)):
        some = chosen(hashes, nothing, 40, np.random.default_rng(1))
        assert (len(set(some.hashes)), some.n_queries) == (40, 40)
        assert list(some.hashes) != hashes[:40]


@pytest.mark.parametrize("n_live", [0, 1, K])
def test_too_few_images_for_ten_neighbours_are_refused(n_live: int) -> None:
    with pytest.raises(InputError, match=f"{n_live} are indexed"):
        chosen([content_hash(b"%d" % i) for i in range(n_live)], None, 500, np.random.default_rng(1))


def test_a_batch_that_does_not_fit_is_halved_and_every_image_encoded_once() -> None:
    encoder = StubEncoder(side_px=2)
    encoder.fits = 3
    pixels = np.random.default_rng(0).integers(0, 255, (20, 2, 2, 3), np.uint8)
    told: list[int] = []
    found = measured(encoder, Meter(), pixels, 16, told.append)
    assert np.array_equal(found.features, np.stack([encoder.feature_of(each) for each in pixels]))
    assert told == [*range(2, 21, 2)]
    assert (found.effort.precision, found.effort.memory_bytes, found.effort.weights_bytes) == ("fp32", 77, 1000)
    encoder.fits = 0
    with pytest.raises(DeviceOutOfMemory):
        measured(encoder, Meter(), pixels, 16, told.append)


def test_features_that_are_not_finite_are_like_nothing() -> None:
    full = rows_of(40)
    broken = full.copy()
    broken[5] = np.nan
    cosines, overlaps = compared(Measured(full, EFFORT), Measured(broken, EFFORT), 40)
    assert cosines[5] == 0
    assert np.delete(cosines, 5) == pytest.approx(1)
    assert overlaps[5] < 0.9


def test_noise_is_told_by_both_figures() -> None:
    full = rows_of(300)
    cosines, overlaps = compared(Measured(full, EFFORT), Measured(full, EFFORT), 300)
    assert (cosines.min(), overlaps.min()) == (pytest.approx(1), 1.0)
    noisy = (full + 0.1 * rows_of(300, seed=1)).astype(np.float16)
    cosines, overlaps = compared(Measured(full, EFFORT), Measured(noisy, EFFORT), 300)
    assert np.mean(cosines) == pytest.approx(0.995, abs=0.002)
    assert 0.6 < np.mean(overlaps) < 0.95


@pytest.mark.parametrize(
    ("cosine", "share", "words"),
    [
        (0.99, 0.95, []),
        (0.9899, 0.95, ["p1 cosine"]),
        (1.0, 0.949, ["top-10 overlap"]),
        (0.0, 0.0, ["top-10 overlap", "p1 cosine"]),
        (float("nan"), float("nan"), ["top-10 overlap", "p1 cosine"]),
    ],
)
def test_both_floors_must_be_reached(cosine: float, share: float, words: list[str]) -> None:
    wrong = shortfall(replace(EVALUATION, cosine_p1=cosine, overlap=share), 0.95, 0.99)
    assert bool(wrong) == bool(words)
    assert all(word in wrong for word in words)
