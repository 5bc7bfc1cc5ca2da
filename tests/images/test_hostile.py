"""The real decoder behind the pool on damaged, lying and foreign files; in full: `python -m benchmarks.hostile`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.mutants import good_files, hostile_files
from indexer.errors import ImageRefused
from indexer.images.decode import decode
from indexer.images.pool import DecodePool
from indexer.types import Decoded, Reason

from .drawing import LIMITS, SMALL, saved, scene

WAIT_S = 100


def test_children_see_what_this_process_sees(real_pool: DecodePool) -> None:
    files = [saved(scene(300, 200), format) for format in ("JPEG", "PNG", "TIFF", "WEBP")]
    for data, future in zip(files, [real_pool.decode(data) for data in files], strict=True):
        here, there = decode(data, SMALL, LIMITS), future.result(WAIT_S)
        assert there.info == here.info
        np.testing.assert_array_equal(there.pixels, here.pixels)


def test_hostile_files_are_refused_with_a_reason_and_good_ones_decode(real_pool: DecodePool) -> None:
    good = list(good_files(58, seed=3))
    hostile = [data for _, data in hostile_files(330, seed=3)]
    rng = np.random.default_rng(3)
    order = rng.permutation(len(good) + len(hostile))
    futures = {i: real_pool.decode((good + hostile)[i]) for i in order}
    reasons: Counter[Reason] = Counter()
    for i, future in futures.items():
        error = future.exception(WAIT_S)
        if i < len(good):
            assert error is None, i
        if error is None:
            result = future.result()
            assert isinstance(result, Decoded)
            assert result.pixels.shape == (32, 32, 3)
            assert result.info.width_px > 0
        else:
            assert isinstance(error, ImageRefused), error
            assert error.detail
            reasons[error.reason] += 1
    assert {Reason.CORRUPT, Reason.UNSUPPORTED, Reason.TOO_MANY_PIXELS} <= reasons.keys()
    assert not reasons.keys() & {Reason.DECODER_CRASHED, Reason.DECODER_TIMEOUT}
    assert reasons.total() > 150


def test_the_nursery_forks_from_one_thread(real_pool: DecodePool) -> None:
    real_pool.decode(saved(scene(20, 20), "PNG")).result(WAIT_S)
    # A fork of a process with more threads may start its life with a lock that nobody will release.
    assert "Threads:\t1\n" in Path(f"/proc/{real_pool._nursery._process.pid}/status").read_text()
