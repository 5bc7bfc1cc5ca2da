"""Pixels against open_clip's own transform, before its normalisation."""

from __future__ import annotations

import dataclasses
import io
import math
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from indexer.images.decode import decode
from indexer.types import Preprocess

from .drawing import LIMITS, PREPROCESS, saved, scene, turned

Resize = Literal["shortest", "longest", "squash"]
sides = st.integers(1, 900)
# open_clip's transform makes the whole of a strip before it crops: keep that affordable.
sizes = st.tuples(sides, sides).filter(lambda size: max(size) <= 40 * min(size))


@cache
def transform(preprocess: Preprocess) -> Any:
    from open_clip.transform import image_transform
    from torchvision.transforms import Compose

    whole = image_transform(
        preprocess.side_px,
        is_train=False,
        resize_mode=preprocess.resize,
        interpolation=preprocess.interpolation,
        fill_color=preprocess.fill,
    )
    return Compose(whole.transforms[:-2])


def reference(data: bytes, preprocess: Preprocess) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(transform(preprocess)(ImageOps.exif_transpose(image).convert("RGB")))


def differences(data: bytes, preprocess: Preprocess) -> NDArray[np.int16]:
    return np.abs(decode(data, preprocess, LIMITS).pixels.astype(np.int16) - reference(data, preprocess))


def assert_exact(data: bytes, preprocess: Preprocess) -> None:
    off = differences(data, preprocess)
    # torch's 16-bit weights: a value or two of 150,000 may be 2 off where a picture is reduced 1.3 to 2.5 times.
    assert off.max() <= 2, off.max()
    assert np.count_nonzero(off > 1) <= 10, np.count_nonzero(off > 1)
    assert np.mean(off > 0) < 0.02


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


@settings(max_examples=60, deadline=None)
@given(size=sizes, resize=st.sampled_from(("shortest", "shortest", "longest", "squash")), seed=st.integers(0, 2))
@example(size=(500, 375), resize="shortest", seed=0)
@example(size=(375, 800), resize="shortest", seed=0)  # so tall that Pillow begins with the columns
@example(size=(900, 30), resize="shortest", seed=0)
@example(size=(30, 900), resize="shortest", seed=1)
@example(size=(1, 1), resize="shortest", seed=0)
@example(size=(1, 40), resize="shortest", seed=0)
@example(size=(224, 224), resize="shortest", seed=0)
@example(size=(225, 448), resize="longest", seed=2)
def test_any_size_is_within_a_level_of_the_transform(size: tuple[int, int], resize: Resize, seed: int) -> None:
    preprocess = dataclasses.replace(PREPROCESS, resize=resize, fill=17)
    data = saved(scene(*size, seed), "PNG", compress_level=1)
    assert_exact(data, preprocess)
    kept_px = max(size) if resize == "longest" else min(size)
    if kept_px < 1.3 * 224:
        assert differences(data, preprocess).max() <= 1


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(200, 1500), st.integers(200, 1500)),
    quality=st.integers(30, 97),
    sampling=st.integers(0, 2),
)
def test_jpegs_of_any_subsampling_are_within_a_level(size: tuple[int, int], quality: int, sampling: int) -> None:
    assert_exact(saved(scene(*size), "JPEG", quality=quality, subsampling=sampling), PREPROCESS)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(600, 401), (403, 611), (401, 1203), (1203, 401), (150, 90), (40, 900), (901, 40)])
def test_turned_pictures_equal_the_transform_of_the_upright_one(size: tuple[int, int], orientation: int) -> None:
    data = turned(scene(*size), "JPEG", orientation, quality=92)
    assert_exact(data, PREPROCESS)
    upright = (size[1], size[0]) if orientation >= 5 else size
    info = decode(data, PREPROCESS, LIMITS).info
    assert (info.width_px, info.height_px) == upright


def test_small_and_large_pictures_are_never_two_levels_off() -> None:
    for size in ((90, 60), (256, 256), (300, 320), (800, 600), (1000, 1400)):
        assert differences(saved(scene(*size), "PNG", compress_level=1), PREPROCESS).max() <= 1, size


@pytest.mark.parametrize("side", [64, 224, 336])
def test_other_sides_and_filters_follow_the_transform(side: int) -> None:
    for interpolation in ("bicubic", "bilinear"):
        preprocess = dataclasses.replace(PREPROCESS, side_px=side, interpolation=interpolation)
        assert_exact(saved(scene(701, 523), "JPEG", quality=90), preprocess)


@pytest.mark.parametrize("size", [(1600, 1200), (1601, 1203), (1203, 1599), (3001, 2003)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_stays_close_whatever_the_size(size: tuple[int, int], orientation: int) -> None:
    data = turned(scene(*size), "JPEG", orientation, quality=92)
    scaled = decode(data, dataclasses.replace(PREPROCESS, mode="scaled"), LIMITS).pixels
    assert psnr(scaled, reference(data, PREPROCESS)) > 42


def test_scaled_decoding_leaves_small_pictures_exact() -> None:
    data = saved(scene(890, 800), "JPEG", quality=92)
    exact = decode(data, PREPROCESS, LIMITS).pixels
    np.testing.assert_array_equal(decode(data, dataclasses.replace(PREPROCESS, mode="scaled"), LIMITS).pixels, exact)


def test_a_very_long_strip_costs_no_more_than_its_middle() -> None:
    strip = scene(1500, 3).resize((60_000, 3), Image.Resampling.BICUBIC)
    # Resized whole it would be 4,480,000 x 224 pixels.
    middle = decode(saved(strip, "PNG"), PREPROCESS, LIMITS).pixels
    centre = strip.crop((29_980, 0, 30_020, 3)).resize((40 * 224 // 3 + 1, 224), Image.Resampling.BICUBIC)
    left = (centre.width - 224) // 2
    assert psnr(middle, np.asarray(centre)[:, left : left + 224]) > 30
