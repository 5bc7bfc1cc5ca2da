"""Large photographs on a GPU, here over a device that is none: whose turn it is, how exact, and what if it fails."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.errors import ImageRefused, Stopped
from indexer.images.decode import decode
from indexer.images.gpu_jpeg import BATCH, GIVE_UP_AFTER, N_BATCHES, GpuJpegs
from indexer.types import Decoded, Preprocess, Reason

from .drawing import LIMITS, PREPROCESS, SMALL, saved, scene, turned

WAIT_S = 60
SCALED = dataclasses.replace(SMALL, mode="scaled")
LARGE = (400, 300)
"""Reduced more than nine times by `SMALL`."""


class Children:
    """Decode in this process, and remember what they were given."""

    def __init__(self, preprocess: Preprocess = SCALED) -> None:
        self.given: list[bytes] = []
        self._preprocess = preprocess
        self.pids = (1, 2)
        self.closed = False

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        if self.closed:
            raise Stopped("closed")
        self.given.append(data)
        future: Future[Decoded] = Future()
        try:
            future.set_result(decode(data, self._preprocess, LIMITS))
        except ImageRefused as error:
            future.set_exception(error)
        return future

    def thumbnail(self, data: bytes, side_px: int) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_result(b"small")
        return future

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def children() -> Children:
    return Children()


@pytest.fixture
def opened(children: Children) -> Iterator[Callable[..., GpuJpegs]]:
    all_opened: list[GpuJpegs] = []

    def open_one(preprocess: Preprocess = SCALED) -> GpuJpegs:
        all_opened.append(GpuJpegs(children, preprocess, LIMITS, "cpu"))
        return all_opened[-1]

    yield open_one
    for each in all_opened:
        each.close()
    assert children.closed == bool(all_opened)


def photograph(seed: int = 0, size: tuple[int, int] = LARGE) -> bytes:
    return saved(scene(*size, seed), "JPEG", quality=90) + b"%d" % seed


def psnr(a: Any, b: Any) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
def test_it_is_nearer_to_exact_than_a_decode_at_a_fraction_of_the_size(
    opened: Callable[..., GpuJpegs], children: Children, resize: Any, orientation: int
) -> None:
    preprocess = dataclasses.replace(PREPROCESS, side_px=64, mode="scaled", resize=resize, fill=7)
    data = turned(scene(820, 530), "JPEG", orientation, quality=90)
    got = opened(preprocess).decode(data).result(WAIT_S)
    assert children.given == []
    exact = decode(data, dataclasses.replace(preprocess, mode="exact"), LIMITS)
    assert got.info == exact.info
    assert got.pixels.shape == exact.pixels.shape
    assert got.pixels.dtype == np.uint8
    assert got.pixels.flags.writeable
    assert psnr(got.pixels, exact.pixels) >= 54


@pytest.mark.parametrize(
    "data",
    [
        saved(scene(120, 90), "JPEG"),  # reduced less than four times
        saved(scene(*LARGE), "PNG"),
        saved(scene(*LARGE).convert("L"), "JPEG"),
        saved(scene(*LARGE).convert("CMYK"), "JPEG"),
        saved(scene(1500, 40), "JPEG"),  # a strip
        b"\xff\xd8\xff\xe0 is no JPEG",
        b"",
    ],
    ids=["small", "png", "grey", "cmyk", "strip", "broken", "empty"],
)
def test_all_else_is_for_the_children(opened: Callable[..., GpuJpegs], children: Children, data: bytes) -> None:
    wait([opened().decode(data)], WAIT_S)
    assert children.given == [data]


def test_nobody_who_waits_for_one_picture_waits_for_a_batch(
    opened: Callable[..., GpuJpegs], children: Children
) -> None:
    opened().decode(photograph(), urgent=True).result(WAIT_S)
    assert len(children.given) == 1


def test_what_the_gpu_has_no_room_for_goes_to_the_children_meanwhile(
    opened: Callable[..., GpuJpegs], children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = opened()
    at_work, go_on = threading.Event(), threading.Event()
    decoded = gpu._decoded

    def held(files: Any) -> Any:
        at_work.set()
        assert go_on.wait(WAIT_S)
        return decoded(files)

    monkeypatch.setattr(gpu, "_decoded", held)
    files = [photograph(seed) for seed in range(1 + N_BATCHES * BATCH + 5)]
    futures = [gpu.decode(files[0])]
    assert at_work.wait(WAIT_S)
    futures += [gpu.decode(data) for data in files[1:]]
    assert children.given == files[-5:]
    go_on.set()
    for data, future in zip(files, futures, strict=True):
        expected = decode(data, dataclasses.replace(SCALED, mode="exact"), LIMITS)
        assert psnr(future.result(WAIT_S).pixels, expected.pixels) >= 40, "each gets its own"
    assert gpu.n_decoded == len(files) - 5


def test_a_damaged_file_costs_neither_its_neighbours_nor_its_reason(
    opened: Callable[..., GpuJpegs], children: Children
) -> None:
    gpu = opened()
    bad = b"\xff\xd8" + photograph()[2:700]
    future = gpu.decode(bad)
    with pytest.raises(ImageRefused) as refused:
        future.result(WAIT_S)
    assert refused.value.reason is Reason.CORRUPT
    assert gpu.decode(photograph(1)).result(WAIT_S).pixels.shape == (32, 32, 3)


def test_a_gpu_that_fails_again_and_again_is_left_alone_and_nobody_notices(
    opened: Callable[..., GpuJpegs],
    children: Children,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gpu = opened()
    n_tried = 0

    def fail(files: Any) -> Any:
        nonlocal n_tried
        n_tried += 1
        raise RuntimeError("nvjpeg: device unplugged\nat 0x00")

    monkeypatch.setattr(gpu, "_decoded", fail)
    files = [photograph(seed) for seed in range(GIVE_UP_AFTER + 4)]
    for data in files:
        expected = decode(data, SCALED, LIMITS)
        assert np.array_equal(gpu.decode(data).result(WAIT_S).pixels, expected.pixels)
    assert children.given == files
    assert n_tried == GIVE_UP_AFTER
    assert "device unplugged" in caplog.text
    assert caplog.text.count("decoded by the processor from now on") == 1


def test_a_success_in_between_forgives(
    opened: Callable[..., GpuJpegs], children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = opened()
    decoded = gpu._decoded
    fails = iter([True, True, False] * 3)

    def flaky(files: Any) -> Any:
        if next(fails):
            raise RuntimeError("busy")
        return decoded(files)

    monkeypatch.setattr(gpu, "_decoded", flaky)
    for seed in range(9):
        gpu.decode(photograph(seed)).result(WAIT_S)
    assert gpu.n_decoded == 3
    assert len(children.given) == 6


def test_at_the_end_who_waits_is_told_and_the_children_go_too(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = GpuJpegs(children, SCALED, LIMITS, "cpu")
    at_work, go_on = threading.Event(), threading.Event()
    decoded = gpu._decoded

    def held(files: Any) -> Any:
        at_work.set()
        assert go_on.wait(WAIT_S)
        return decoded(files)

    monkeypatch.setattr(gpu, "_decoded", held)
    first = gpu.decode(photograph())
    assert at_work.wait(WAIT_S)
    second, third = gpu.decode(photograph(1)), gpu.decode(photograph(2))
    assert third.cancel()
    closing = threading.Thread(target=gpu.close)
    closing.start()
    with pytest.raises(Stopped):
        second.result(WAIT_S)
    go_on.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert first.result(0).pixels.shape == (32, 32, 3)
    assert children.closed
    with pytest.raises(Stopped):
        gpu.decode(photograph(3))


@pytest.mark.gpu
def test_a_real_gpu_is_within_the_tolerance_of_the_mode() -> None:
    children = Children(dataclasses.replace(PREPROCESS, mode="scaled"))
    gpu = GpuJpegs(children, dataclasses.replace(PREPROCESS, mode="scaled"), LIMITS, "cuda")
    for subsampling in (0, 1, 2):
        for seed in range(3):
            image: Image.Image = scene(1600, 1200, seed)
            data = saved(image, "JPEG", quality=90, subsampling=subsampling)
            exact = decode(data, PREPROCESS, LIMITS)
            assert psnr(gpu.decode(data).result(WAIT_S).pixels, exact.pixels) >= 50
    assert children.given == []
    gpu.close()
