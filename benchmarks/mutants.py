"""Hostile picture files: whole ones of every kind, and what can be done to them. Seeded."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

Rng: TypeAlias = np.random.Generator

_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
_MAGICS = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\xff\x00\x00WEBPVP8 ",
    b"RIFF\xff\xff\x00\x00WEBPVP8X",
    b"BM",
    b"II*\x00\x08\x00\x00\x00",
    b"MM\x00*\x00\x00\x00\x08",
    b"II+\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1",
)


def good_files(n: int, seed: int = 0) -> Iterator[bytes]:
    """`n` valid pictures, no two alike, in turn of every kind."""
    rng = np.random.default_rng(seed)
    savers = _savers()
    for i in range(n):
        yield savers[i % len(savers)](_picture(rng))


def hostile_files(n: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`n` files that are damaged, lying or no pictures at all, each with what was done to it."""
    rng = np.random.default_rng([seed, 1])
    whole = list(good_files(3 * len(_savers()), seed + 1))
    for i in range(n):
        damage = _DAMAGES[i % len(_DAMAGES)]
        data = bytearray(whole[rng.integers(len(whole))])
        yield damage.__name__.strip("_"), bytes(damage(data, rng))


def _picture(rng: Rng) -> Image.Image:
    width, height = (int(side) for side in rng.integers(24, 160, 2))
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, r = (int(v) for v in rng.integers(0, 160, 3))
        pen.ellipse((x - r // 3, y - r // 3, x + r // 3, y + r // 3), fill=tuple(map(int, rng.integers(0, 256, 3))))
    return image


def _saved(format: str, mode: str = "RGB", **options: object) -> Callable[[Image.Image], bytes]:
    def save(image: Image.Image) -> bytes:
        out = io.BytesIO()
        image.convert(mode).save(out, format, **options)
        return out.getvalue()

    return save


def _animated(format: str) -> Callable[[Image.Image], bytes]:
    def save(image: Image.Image) -> bytes:
        out = io.BytesIO()
        frames = [image.transpose(turn) for turn in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180)]
        image.save(out, format, save_all=True, append_images=frames)
        return out.getvalue()

    return save


def _turned(format: str) -> Callable[[Image.Image], bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(format, exif=exif.tobytes())


def _sixteen_bit(format: str) -> Callable[[Image.Image], bytes]:
    def save(image: Image.Image) -> bytes:
        out = io.BytesIO()
        Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257).save(out, format)
        return out.getvalue()

    return save


def _savers() -> list[Callable[[Image.Image], bytes]]:
    return [
        _saved("JPEG", quality=90),
        _saved("JPEG", progressive=True),
        _saved("JPEG", "L"),
        _saved("JPEG", "CMYK"),
        _turned("JPEG"),
        _saved("PNG"),
        _saved("PNG", "RGBA"),
        _saved("PNG", "P"),
        _saved("PNG", "1"),
        _saved("PNG", "LA"),
        _turned("PNG"),
        _sixteen_bit("PNG"),
        _saved("GIF", "P"),
        _animated("GIF"),
        _saved("WEBP"),
        _saved("WEBP", "RGBA", lossless=True),
        _animated("WEBP"),
        _saved("BMP"),
        _saved("BMP", "P"),
        _saved("TIFF"),
        _saved("TIFF", "CMYK"),
        _saved("TIFF", compression="tiff_lzw"),
        _saved("TIFF", compression="tiff_adobe_deflate"),
        _saved("TIFF", compression="jpeg"),
        _saved("TIFF", "1", compression="group4"),
        _saved("TIFF", big_tiff=True),
        _sixteen_bit("TIFF"),
        _saved("AVIF", speed=10),
        _saved("AVIF", "RGBA", speed=10),
    ]


# ---------------------------------------------------------------- damage


def _flipped_bits(data: bytearray, rng: Rng) -> bytearray:
    for _ in range(int(2 ** rng.uniform(0, 7))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return data


def _flipped_header(data: bytearray, rng: Rng) -> bytearray:
    for _ in range(int(rng.integers(1, 6))):
        data[rng.integers(min(len(data), 200))] ^= 1 << int(rng.integers(8))
    return data


def _cut_short(data: bytearray, rng: Rng) -> bytearray:
    return data[: rng.integers(len(data))]


def _zeroed_tail(data: bytearray, rng: Rng) -> bytearray:
    start = int(rng.integers(len(data)))
    return data[:start] + bytes(len(data) - start)


def _hole(data: bytearray, rng: Rng) -> bytearray:
    start, stop = sorted(int(v) for v in rng.integers(len(data), size=2))
    data[start:stop] = bytes(stop - start)
    return data


def _moved_piece(data: bytearray, rng: Rng) -> bytearray:
    start, stop, where = (int(v) for v in rng.integers(len(data), size=3))
    data[where:where] = data[min(start, stop) : max(start, stop)]
    return data


def _extreme_field(data: bytearray, rng: Rng) -> bytearray:
    """A number somewhere in the header becomes a boundary value."""
    value = int(rng.choice(_EXTREMES))
    width = int(rng.choice((1, 2, 4)))
    where = int(rng.integers(min(len(data), 300)))
    data[where : where + width] = (value & (256**width - 1)).to_bytes(width, "big" if rng.random() < 0.5 else "little")
    return data


def _magic_and_noise(data: bytearray, rng: Rng) -> bytearray:
    return bytearray(_MAGICS[rng.integers(len(_MAGICS))] + rng.bytes(int(rng.integers(0, 3000))))


def _noise(data: bytearray, rng: Rng) -> bytearray:
    return bytearray(rng.bytes(int(rng.integers(0, 3000))))


def _glued(data: bytearray, rng: Rng) -> bytearray:
    cut = int(rng.integers(len(data)))
    return data[:cut] + bytearray(_MAGICS[rng.integers(len(_MAGICS))]) + data[cut:]


def _huge(data: bytearray, rng: Rng) -> bytearray:
    """A tiny file that declares a huge picture."""
    side = int(rng.choice((9_000, 20_000, 65_500)))
    return bytearray(_HUGE[rng.integers(len(_HUGE))](side))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _huge_png(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(99_999)))


def _text_bomb(side: int) -> bytes:
    bomb = b"Comment\x00\x00" + zlib.compress(bytes(side * 2000))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"zTXt", bomb), (b"IDAT", zlib.compress(bytes(72))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _huge_gif(side: int) -> bytes:
    screen = struct.pack("<HHBBB", side, side, 0xF0, 0, 0) + bytes(6)
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\x00;"


def _huge_bmp(side: int) -> bytes:
    header = struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, side, -side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + header + bytes(900)


def _huge_jpeg(side: int) -> bytes:
    small = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(small, "JPEG")
    data = bytearray(small.getvalue())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def _huge_webp(side: int) -> bytes:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (side - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(canvas) + 4) + b"WEBP" + canvas


def _huge_tiff(side: int) -> bytes:
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 0xFFFFFFFF)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 8)  # the next folder is this one


_HUGE: tuple[Callable[[int], bytes], ...] = (
    _huge_png,
    _text_bomb,
    _huge_gif,
    _huge_bmp,
    _huge_jpeg,
    _huge_webp,
    _huge_tiff,
)
_DAMAGES: tuple[Callable[[bytearray, Rng], bytearray], ...] = (
    _flipped_bits,
    _flipped_header,
    _cut_short,
    _zeroed_tail,
    _hole,
    _moved_piece,
    _extreme_field,
    _magic_and_noise,
    _noise,
    _glued,
    _huge,
)
