"""What a file is, by its first bytes. Names and extensions are never asked."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from indexer.errors import ImageRefused
from indexer.types import Reason

Format: TypeAlias = Literal["jpeg", "png", "gif", "webp", "bmp", "tiff", "avif"]

_SIGNATURES: Final[tuple[tuple[bytes, Format], ...]] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
)

# What people keep beside their pictures; naming it tells them why a file is not searchable.
_OTHERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\x00\x00\x01\x00", "an icon"),
    (b"icns", "an icon"),
    (b"IIRO", "a raw photograph"),
    (b"IIU\x00", "a raw photograph"),
    (b"FUJIFILMCCD-RAW", "a raw photograph"),
    (b"gimp xcf", "a GIMP document"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance picture"),
    (b"DDS ", "a DirectDraw surface"),
    (b"qoif", "a QOI picture"),
    (b"\x8aMNG", "an MNG animation"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (b"\x00\x00\x01\xba", "an MPEG video"),
    (b"\x00\x00\x01\xb3", "an MPEG video"),
    (b"FLV\x01", "a Flash video"),
    (b"ID3", "an audio file"),
    (b"fLaC", "an audio file"),
    (b"OggS", "an Ogg file"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)

_RIFF: Final = {b"AVI ": "an AVI video", b"WAVE": "an audio file"}
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})


def sniff(data: bytes) -> Format:
    """The format of a whole file, one of seven.

    Raises:
        ImageRefused: `EMPTY` for no bytes at all, else `UNSUPPORTED`; the detail says what the file looks like.
    """
    if not data:
        raise ImageRefused(Reason.EMPTY, "the file holds no bytes")
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp" and _brands(data) & _AVIF_BRANDS:
        return "avif"
    raise ImageRefused(Reason.UNSUPPORTED, f"looks like {_looks_like(data)}")


def _brands(data: bytes) -> frozenset[bytes]:
    """Major and compatible brands of an ISO base media file (ISO/IEC 14496-12, box `ftyp`)."""
    # A real box holds a dozen brands; the length field is the file's own claim.
    end = min(int.from_bytes(data[:4], "big"), len(data), 256)
    return frozenset({data[8:12], *(data[i : i + 4] for i in range(16, end - 3, 4))})


def _looks_like(data: bytes) -> str:
    for signature, description in _OTHERS:
        if data.startswith(signature):
            return description
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "a RIFF file")
    if data[4:8] == b"ftyp":
        return "a HEIC picture" if _brands(data) & _HEIC_BRANDS else "an MP4 or QuickTime video"
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<svg", b"<?xml")):
        return "an SVG drawing" if b"<svg" in head else "an XML document"
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return f"no known picture: it starts with {data[:8].hex(' ')}"
