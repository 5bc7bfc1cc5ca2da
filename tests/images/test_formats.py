from __future__ import annotations

import pytest

from indexer.errors import ImageRefused
from indexer.images.formats import sniff
from indexer.types import Reason

from .drawing import saved, scene


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
def test_pictures_are_known_by_their_first_bytes(format: str) -> None:
    assert sniff(saved(scene(20, 20), format)) == format.lower()


def test_big_tiff_and_either_byte_order_are_tiff() -> None:
    assert {sniff(head + bytes(20)) for head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")} == {"tiff"}


def test_an_avif_may_come_under_a_general_brand() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(40)) == "avif"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg xmlns="', "SVG"),
        (b"<svg width='1'>", "SVG"),
        (b"RIFF\0\0\0\0AVI LIST", "video"),
        (b"\x1a\x45\xdf\xa3", "WebM"),
        (b"PK\3\4", "ZIP"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"hello world", "68 65 6c 6c 6f"),
        (b"\xff\xd8", "ff d8"),
    ],
)
def test_other_files_are_refused_by_what_they_look_like(head: bytes, name: str) -> None:
    with pytest.raises(ImageRefused, match=name) as refused:
        sniff(head)
    assert refused.value.reason is Reason.UNSUPPORTED


def test_no_bytes_are_empty() -> None:
    with pytest.raises(ImageRefused) as refused:
        sniff(b"")
    assert refused.value.reason is Reason.EMPTY
