"""What every `Decoder` keeps, the fake of the other rooms' tests included."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from indexer.errors import ImageRefused
from indexer.images.gpu_jpeg import GpuJpegs
from indexer.images.pool import DecodePool
from indexer.ports import Decoder
from indexer.types import Decoded, Reason
from tests.fakes.river import SIDE, FakeDecoder

from .drawing import LIMITS, SMALL, saved, scene

WAIT_S = 100


@pytest.fixture(params=["fake", "pool", "beside a GPU"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    pool: DecodePool = request.getfixturevalue("real_pool")
    if request.param == "beside a GPU":
        monkeypatch.setattr(pool, "close", lambda: None)  # others use it after this one
        with closing(GpuJpegs(pool, replace(SMALL, mode="scaled"), LIMITS, "cpu")) as gpu:
            yield gpu
    else:
        yield FakeDecoder() if request.param == "fake" else pool


@pytest.fixture
def side(decoder: Decoder) -> int:
    return SIDE if isinstance(decoder, FakeDecoder) else SMALL.side_px


def picture(seed: int = 0) -> bytes:
    return saved(scene(40 + seed, 30), "PNG")


@pytest.mark.parametrize("urgent", [False, True])
def test_a_picture_becomes_pixels_of_the_model_s_side(decoder: Decoder, side: int, urgent: bool) -> None:
    data = picture()
    decoded = decoder.decode(data, urgent=urgent).result(WAIT_S)
    assert decoded.pixels.shape == (side, side, 3)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.writeable
    assert decoded.info.format == "png"
    assert decoded.info.size_bytes == len(data)
    assert min(decoded.info.width_px, decoded.info.height_px) > 0


def test_the_same_bytes_give_the_same_pixels(decoder: Decoder) -> None:
    first, second = (decoder.decode(picture()).result(WAIT_S) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.info == second.info


def test_each_future_gets_its_own_picture(decoder: Decoder) -> None:
    files = [picture(seed) for seed in range(6)]
    futures: list[Future[Decoded]] = [decoder.decode(data) for data in files]
    for data, future in zip(files, futures, strict=True):
        assert future.result(WAIT_S).info.size_bytes == len(data)


def test_no_picture_is_refused_in_the_future_with_reason_and_detail(decoder: Decoder) -> None:
    future = decoder.decode(b"bad" + bytes(60))
    error = future.exception(WAIT_S)
    assert isinstance(error, ImageRefused)
    assert error.reason in (Reason.UNSUPPORTED, Reason.CORRUPT)
    assert error.detail


def test_a_thumbnail_is_bytes(decoder: Decoder) -> None:
    assert isinstance(decoder.thumbnail(picture(), 16).result(WAIT_S), bytes)
