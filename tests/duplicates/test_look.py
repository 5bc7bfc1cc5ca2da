"""The perceptual hash: the same for a picture encoded again, made smaller or cropped; another for others."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.photographs import draw
from indexer.duplicates.look import MOST_BITS, N_FRAMES, Look, look, n_differing

SIDE_PX = 64


def seen(image: Image.Image) -> Look:
    return look(np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)))


def encoded(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    return [draw(200, 200, seed) for seed in range(6)]


def test_pictures_encoded_again_or_smaller_look_the_same(images: list[Image.Image]) -> None:
    for image in images:
        for other in (encoded(image, 50), image.resize((100, 100))):
            assert n_differing(seen(image)[None], seen(other)[None])[0] <= MOST_BITS


@pytest.mark.parametrize("corner", [(0, 0), (20, 20), (10, 10), (3, 14)])
def test_a_crop_of_nine_tenths_looks_the_same_wherever_it_is(
    images: list[Image.Image], corner: tuple[int, int]
) -> None:
    x, y = corner
    for image in images:
        crop = seen(image.crop((x, y, x + 180, y + 180)))
        assert n_differing(seen(image)[None], crop[None])[0] <= MOST_BITS
        assert n_differing(crop[None], seen(image)[None])[0] <= MOST_BITS


def test_other_pictures_look_otherwise(images: list[Image.Image]) -> None:
    looks = [seen(image) for image in images]
    for i in range(len(looks)):
        for j in range(i):
            assert n_differing(looks[i][None], looks[j][None])[0] > MOST_BITS


def test_a_hash_has_the_same_length_for_any_side() -> None:
    for side in (32, 64, 224, 336):
        assert look(np.zeros((side, side, 3), np.uint8)).shape == (N_FRAMES, 3)


def test_the_same_shape_in_other_colours_is_another_picture() -> None:
    def ring(shape: str, ground: str) -> Image.Image:
        image = Image.new("RGB", (340, 340), ground)
        ImageDraw.Draw(image).ellipse((120, 120, 310, 310), outline=shape, width=50)
        return image

    one, other = seen(ring("#2a62c8", "#ff9c4a")), seen(ring("#6d4c34", "#8f57b0"))
    assert n_differing(one[None], one[None])[0] == 0
    assert n_differing(one[None], other[None])[0] > MOST_BITS
