"""What the port promises, on the fake and on diskcache."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from indexer.features.disk import DiskFeatureCache
from indexer.ports import FeatureCache
from indexer.types import ImageInfo, StoredFeature
from tests.fakes.features import MemoryFeatureCache
from tests.features.samples import DIM, SPACE, feature_of, hash_of, same, some


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path):
    cache = MemoryFeatureCache(SPACE) if request.param == "memory" else DiskFeatureCache(tmp_path / "features", SPACE)
    yield cache
    cache.close()


def test_an_empty_cache_has_nothing(cache: FeatureCache) -> None:
    assert cache.get_many([hash_of(1)]) == {}
    assert cache.get_many([]) == {}
    assert list(cache.hashes()) == []
    cache.put_many({})
    cache.drop_many([])


def test_what_was_put_comes_back_bit_for_bit(cache: FeatureCache) -> None:
    cache.put_many(some(1, 2, 3))
    found = cache.get_many([hash_of(n) for n in (3, 1, 9)])
    assert same(found, some(1, 3))
    assert found[hash_of(1)].feature.dtype == np.float16
    assert set(cache.hashes()) == {hash_of(1), hash_of(2), hash_of(3)}


def test_the_last_put_wins(cache: FeatureCache) -> None:
    cache.put_many(some(1))
    cache.put_many({hash_of(1): feature_of(2)})
    assert same(cache.get_many([hash_of(1)]), {hash_of(1): feature_of(2)})


def test_dropped_features_are_gone_and_absent_ones_no_error(cache: FeatureCache) -> None:
    cache.put_many(some(1, 2))
    cache.drop_many([hash_of(1), hash_of(7)])
    assert same(cache.get_many([hash_of(1), hash_of(2)]), some(2))
    assert list(cache.hashes()) == [hash_of(2)]
    cache.put_many(some(1))
    assert same(cache.get_many([hash_of(1)]), some(1))


def test_long_lists_are_answered_whole(cache: FeatureCache) -> None:
    features = some(*range(1500))
    cache.put_many(features)
    assert same(cache.get_many([*features, hash_of(5), hash_of(9999)]), features)
    assert sorted(cache.hashes()) == sorted(features)


@pytest.mark.parametrize(
    "feature",
    [
        np.zeros(DIM, np.float16),
        feature_of(1).feature * np.float16(1.05),
        np.full(DIM, np.nan, np.float16),
        np.where(np.arange(DIM) == 3, np.float16(np.inf), feature_of(1).feature),
        feature_of(1, DIM - 1).feature,
        feature_of(1).feature[None],
        feature_of(1).feature.astype(np.float32),
    ],
    ids=["zero", "too long", "nan", "inf", "other dim", "matrix", "float32"],
)
def test_what_is_no_feature_is_refused_with_all_its_batch(cache: FeatureCache, feature: np.ndarray) -> None:
    with pytest.raises(ValueError, match="feature"):
        cache.put_many({**some(2), hash_of(1): StoredFeature(feature, ImageInfo("JPEG", 1, 1, 1))})
    assert cache.get_many([hash_of(1), hash_of(2)]) == {}


def test_largest_measures_come_back(cache: FeatureCache) -> None:
    info = ImageInfo("A" * 16, 2**32 - 1, 0, 2**63 - 1)
    cache.put_many({hash_of(1): StoredFeature(feature_of(1).feature, info)})
    assert cache.get_many([hash_of(1)])[hash_of(1)].info == info


def test_threads_may_read_and_write_at_once(cache: FeatureCache) -> None:
    def write(first: int) -> None:
        for n in range(first, first + 100, 10):
            cache.put_many(some(*range(n, n + 10)))

    def read() -> None:
        while not finished.is_set():
            found = cache.get_many([hash_of(n) for n in range(0, 300, 7)])
            wrong.extend(key for key, stored in found.items() if not same({key: stored}, {key: expected[key]}))

    expected = some(*range(300))
    finished = threading.Event()
    wrong: list[object] = []
    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 100, 200)]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join(60)
    finished.set()
    for thread in readers:
        thread.join(60)
    assert wrong == []
    assert same(cache.get_many(list(expected)), expected)
