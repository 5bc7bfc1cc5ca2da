from __future__ import annotations

import dataclasses
import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from indexer.errors import ImageRefused
from indexer.images.decode import ImageDecoder, decode
from indexer.images.limits import Limits
from indexer.images.picture import refusals
from indexer.types import ImageInfo, Reason

from .drawing import LIMITS, PREPROCESS, SMALL, saved, scene, soft, turned

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


def refusal(data: bytes, limits: Limits = LIMITS) -> ImageRefused:
    with pytest.raises(ImageRefused) as refused:
        decode(data, SMALL, limits)
    assert refused.value.detail
    return refused.value


def thumbnail(data: bytes, side_px: int) -> bytes:
    return ImageDecoder(SMALL, LIMITS).thumbnail(data, side_px)


def colour_of(data: bytes) -> tuple[int, ...]:
    """The one colour of a plain picture."""
    pixels = decode(data, SMALL, LIMITS).pixels
    assert np.ptp(pixels.reshape(-1, 3), axis=0).max() <= 2
    return tuple(int(level) for level in pixels[16, 16])


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_picture(format: str) -> None:
    image = soft(400, 300)
    decoded = decode(saved(image, format), PREPROCESS, LIMITS)
    exact = decode(saved(image, "PNG"), PREPROCESS, LIMITS)
    assert decoded.info[:3] == (format.lower(), 400, 300)
    assert decoded.pixels.shape == (224, 224, 3)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.flags.c_contiguous
    mean_error = np.abs(decoded.pixels.astype(int) - exact.pixels).mean()
    assert mean_error < (12 if format == "GIF" else 4)


def test_the_file_size_is_told() -> None:
    data = saved(scene(50, 40), "PNG")
    assert decode(data, SMALL, LIMITS).info == ImageInfo("png", 50, 40, len(data))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_every_format_that_can_be_turned_is(format: str, orientation: int) -> None:
    image = Image.new("RGB", (120, 80), "blue")
    image.paste("red", (0, 0, 60, 80))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(turned(image, format, orientation))))
    decoded = decode(turned(image, format, orientation), SMALL, LIMITS)
    assert (decoded.info.width_px, decoded.info.height_px) == upright.size
    red_first = decoded.pixels[2, 2, 0] > 128
    assert red_first == (upright.convert("RGB").getpixel((2, 2))[0] > 128)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_of_several_frames_counts(format: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    red, green, blue = colour_of(data)
    assert red > 245
    assert max(green, blue) < 10


def test_pixels_are_not_touched_by_the_next_picture() -> None:
    decoder = ImageDecoder(SMALL, LIMITS)
    files = [saved(scene(300, 200, seed), "JPEG") for seed in range(3)] + [saved(scene(32, 32), "JPEG")]
    first = [decoder.decode(data).pixels for data in files]
    for data, pixels in zip(files, first, strict=True):
        np.testing.assert_array_equal(pixels, decode(data, SMALL, LIMITS).pixels)


# ---------------------------------------------------------------- colours


@pytest.mark.parametrize(
    ("mode", "format"),
    [("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("P", "GIF"), ("P", "BMP"), ("LA", "PNG"),
     ("RGBA", "PNG"), ("RGBA", "WEBP"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("YCbCr", "TIFF")],
)  # fmt: skip
def test_every_mode_shows_its_colour(mode: str, format: str) -> None:
    grey = mode in ("L", "LA", "1")
    colour = (255, 255, 255) if grey else (200, 30, 90)
    image = Image.new("RGB", (48, 36), colour)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    options = {"lossless": True} if format == "WEBP" else {"quality": 98} if format == "JPEG" else {}
    np.testing.assert_allclose(colour_of(saved(image, format, **options)), colour, atol=3)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(format: str) -> None:
    image = Image.fromarray(np.full((40, 40), 0x7F80, np.uint16))
    assert colour_of(saved(image, format)) == (0x7F,) * 3


def test_sixteen_bit_colour_is_read() -> None:
    row = b"\0" + struct.pack(">HHH", 0xC880, 0x1E10, 0x5AFF) * 40
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(row * 40)) + chunk(b"IEND", b"")
    assert colour_of(data) == (0xC8, 0x1E, 0x5A)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_levels_without_a_range_are_stretched(dtype: type) -> None:
    levels = np.linspace(-3000, 9000, 64 * 64).reshape(64, 64).astype(dtype)
    pixels = decode(saved(Image.fromarray(levels), "TIFF"), SMALL, LIMITS).pixels
    assert pixels.min() < 8
    assert pixels.max() > 247
    assert np.all(np.diff(pixels[:, 16, 0].astype(int)) >= 0)


def test_a_picture_without_a_finite_level_is_black() -> None:
    levels = np.full((20, 20), np.nan, np.float32)
    assert colour_of(saved(Image.fromarray(levels), "TIFF")) == (0, 0, 0)


# ---------------------------------------------------------------- transparency


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparent_parts_are_white(format: str) -> None:
    image = Image.new("RGBA", (60, 60), (10, 20, 200, 0))
    options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "AVIF" else {}
    np.testing.assert_allclose(colour_of(saved(image, format, **options)), (255, 255, 255), atol=1)


def test_half_transparent_parts_are_mixed_with_white() -> None:
    image = Image.new("RGBA", (60, 60), (0, 100, 200, 128))
    np.testing.assert_allclose(colour_of(saved(image, "PNG")), (127, 177, 227), atol=1)


def test_grey_with_alpha_is_mixed_with_white() -> None:
    np.testing.assert_allclose(colour_of(saved(Image.new("LA", (60, 60), (0, 64)), "PNG")), (191,) * 3, atol=1)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_palette_colour_is_white(format: str) -> None:
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 250, 0, 0])
    assert colour_of(saved(image, format, transparency=1)) == (255, 255, 255)
    assert colour_of(saved(image, format, transparency=0)) == (250, 0, 0)


def test_a_transparent_colour_of_an_rgb_picture_is_white() -> None:
    image = Image.new("RGB", (40, 40), (9, 8, 7))
    assert colour_of(saved(image, "PNG", transparency=(9, 8, 7))) == (255, 255, 255)
    assert colour_of(saved(image, "PNG", transparency=(1, 1, 1))) == (9, 8, 7)


# ---------------------------------------------------------------- refusals


def test_more_pixels_than_allowed_are_refused_before_decoding() -> None:
    limits = dataclasses.replace(LIMITS, max_pixels=100 * 100)
    decode(saved(scene(100, 100), "PNG"), SMALL, limits)
    for format in FORMATS:
        # Cut to the header: had it been decoded, it would be corrupt.
        refused = refusal(saved(scene(101, 100), format)[:700], limits)
        assert refused.reason in (Reason.TOO_MANY_PIXELS, Reason.CORRUPT), format
    assert refusal(saved(scene(101, 100), "PNG")[:300], limits).reason is Reason.TOO_MANY_PIXELS


def test_the_detail_names_the_size_and_the_limit() -> None:
    detail = refusal(saved(scene(101, 100), "PNG"), dataclasses.replace(LIMITS, max_pixels=10_000)).detail
    assert detail == "101 x 100 pixels, more than the 10,000 allowed"


def test_more_bytes_than_allowed_are_refused() -> None:
    data = saved(scene(20, 20), "PNG")
    decode(data, SMALL, dataclasses.replace(LIMITS, max_bytes=len(data)))
    assert refusal(data, dataclasses.replace(LIMITS, max_bytes=len(data) - 1)).reason is Reason.TOO_MANY_BYTES


def test_no_bytes_are_empty_and_other_files_unsupported() -> None:
    assert refusal(b"").reason is Reason.EMPTY
    assert refusal(b"%PDF-1.4").reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_files_are_corrupt(format: str, share: float) -> None:
    data = saved(scene(200, 150), format)
    assert refusal(data[: int(len(data) * share)]).reason is Reason.CORRUPT


def test_a_jpeg_with_rubbish_in_it_is_read_as_pillow_reads_it() -> None:
    image = scene(300, 200)
    data = saved(image, "JPEG", quality=90)
    assert data.endswith(b"\xff\xd9")
    rubbish = data[:-2] + b"rubbish" + data[-2:]
    np.testing.assert_array_equal(decode(rubbish, PREPROCESS, LIMITS).pixels, decode(data, PREPROCESS, LIMITS).pixels)


@pytest.mark.filterwarnings("ignore")  # as `prepare` has it in the children
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_costs_nothing(format: str) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12" + bytes(range(60))
    decoded = decode(saved(scene(60, 40), format, exif=exif), SMALL, LIMITS)
    assert (decoded.info.width_px, decoded.info.height_px) == (60, 40)


@pytest.mark.parametrize("orientation", [0, 9, 200])
def test_an_orientation_that_does_not_exist_is_none(orientation: int) -> None:
    info = decode(turned(scene(60, 40), "JPEG", orientation), SMALL, LIMITS).info
    assert (info.width_px, info.height_px) == (60, 40)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), Reason.DECODER_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Reason.DECODER_MEMORY),
        (OSError("out of memory when reading image file"), Reason.DECODER_MEMORY),
        (Image.DecompressionBombError("too big"), Reason.TOO_MANY_PIXELS),
        (Image.DecompressionBombWarning("too big"), Reason.TOO_MANY_PIXELS),
        (SyntaxError("not a PNG file"), Reason.CORRUPT),
        (NotImplementedError(), Reason.CORRUPT),
        (struct.error("unpack requires"), Reason.CORRUPT),
        (ImageRefused(Reason.UNSUPPORTED, "as it was"), Reason.UNSUPPORTED),
    ],
)
def test_whatever_a_library_raises_becomes_a_refusal_with_a_detail(error: Exception, reason: Reason) -> None:
    with pytest.raises(ImageRefused) as refused, refusals("png"):
        raise error
    assert refused.value.reason is reason
    assert refused.value.detail


# ---------------------------------------------------------------- thumbnails


@pytest.mark.parametrize("format", FORMATS)
def test_thumbnails_fit_and_keep_the_shape(format: str) -> None:
    made = Image.open(io.BytesIO(thumbnail(saved(scene(400, 300), format), 128)))
    assert made.format == "JPEG"
    assert made.mode == "RGB"
    assert made.size == (128, 96)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_stand_upright_without_metadata(orientation: int) -> None:
    image = soft(1200, 800)
    data = turned(image, "JPEG", orientation, quality=95)
    made = Image.open(io.BytesIO(thumbnail(data, 200)))
    with Image.open(io.BytesIO(data)) as stored:
        upright = ImageOps.exif_transpose(stored)
    assert made.size == ((133, 200) if orientation >= 5 else (200, 133))
    expected = np.asarray(upright.resize(made.size, Image.Resampling.BICUBIC), int)
    assert np.abs(np.asarray(made, int) - expected).mean() < 2
    assert not made.getexif()


def test_thumbnails_are_never_enlarged() -> None:
    assert Image.open(io.BytesIO(thumbnail(saved(scene(30, 20), "PNG"), 128))).size == (30, 20)


def test_a_thumbnail_of_a_strip_has_at_least_one_row() -> None:
    assert Image.open(io.BytesIO(thumbnail(saved(scene(1500, 2), "PNG"), 64))).size == (64, 1)


def test_a_thumbnail_of_a_transparent_picture_is_white() -> None:
    made = Image.open(io.BytesIO(thumbnail(saved(Image.new("RGBA", (90, 90)), "PNG"), 64)))
    assert made.getpixel((30, 30)) == (255, 255, 255)


def test_thumbnails_are_refused_as_pictures_are() -> None:
    with pytest.raises(ImageRefused) as refused:
        thumbnail(b"BM nothing", 64)
    assert refused.value.reason is Reason.CORRUPT
