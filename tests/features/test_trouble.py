"""No room, no permission, and kill -9."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from indexer.errors import StoreFull
from indexer.features.disk import DiskFeatureCache
from tests.features.samples import SPACE, hash_of, same, some


@contextmanager
def files_no_longer_than(n_bytes: int) -> Iterator[None]:
    """Writes beyond this offset fail for the whole process, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [0, 4096, 50_000, 150_000])
def test_a_full_disk_keeps_nothing_of_a_batch_and_hurts_nothing(tmp_path: Path, n_bytes: int) -> None:
    cache = DiskFeatureCache(tmp_path, SPACE)
    cache.put_many(some(*range(20)))
    many = some(*range(100, 900))
    with files_no_longer_than(n_bytes):
        for _ in range(2):
            with pytest.raises(StoreFull):
                cache.put_many(many)
        assert same(cache.get_many([hash_of(n) for n in range(20)]), some(*range(20)))
        assert cache.get_many(list(many)) == {}
    cache.put_many(many)
    assert same(cache.get_many(list(many)), many)
    assert cache.notices == ()
    cache.close()


def test_a_database_at_its_largest_is_full(tmp_path: Path) -> None:
    cache = DiskFeatureCache(tmp_path, SPACE)
    cache.put_many(some(*range(20)))
    writer = cache._writer
    limit = writer._do(lambda: writer._cache._con.execute("PRAGMA max_page_count = 12").fetchone())
    assert limit == (12,)
    for _ in range(2):
        writer._do(lambda: writer._cache._con.execute("PRAGMA max_page_count = 12").fetchone())
        with pytest.raises(StoreFull):
            cache.put_many(some(*range(100, 900)))
    assert same(cache.get_many([hash_of(n) for n in range(900)]), some(*range(20)))
    cache.put_many(some(30))
    assert cache.notices == ()
    cache.close()


def test_a_cache_that_may_not_be_written_still_answers(tmp_path: Path) -> None:
    cache = DiskFeatureCache(tmp_path, SPACE)
    cache.put_many(some(1))
    writer = cache._writer
    writer._do(lambda: writer._cache._con.execute("PRAGMA query_only = ON").fetchone())
    with pytest.raises(StoreFull):
        cache.put_many(some(2))
    assert same(cache.get_many([hash_of(1), hash_of(2)]), some(1))
    cache.close()


def test_no_room_to_open_is_said(tmp_path: Path) -> None:
    with files_no_longer_than(0), pytest.raises(StoreFull):
        DiskFeatureCache(tmp_path / "features", SPACE)
    DiskFeatureCache(tmp_path / "features", SPACE).close()


def test_a_place_that_cannot_hold_a_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreFull):
        DiskFeatureCache(tmp_path / "file" / "features", SPACE)


WRITER = """
import os, sys
from pathlib import Path
from indexer.features.disk import DiskFeatureCache
from tests.features.samples import SPACE, some
cache = DiskFeatureCache(Path(sys.argv[1]), SPACE)
for n in range(int(sys.argv[2]), 10**6, 7):
    cache.put_many(some(*range(n, n + 7)))
    os.write(1, b"%d\\n" % (n + 7))
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(3)
    n_kept = 0
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(n_kept)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(rng.randint(1, 20)):
                n_kept = int(child.stdout.readline())
            child.kill()
            n_kept = max([n_kept, *map(int, child.stdout.read().split(b"\n")[:-1])])
        cache = DiskFeatureCache(tmp_path, SPACE)
        assert same(cache.get_many([hash_of(n) for n in range(n_kept)]), some(*range(n_kept)))
        extra = cache.get_many([hash_of(n) for n in range(n_kept, n_kept + 20)])
        assert len(extra) in (0, 7), "a batch is kept whole or not at all"
        assert cache.notices == ()
        cache.close()
