"""A feature as bytes: self-describing, with a checksum, so that it can be trusted wherever it is found.

    crc32      4   of everything behind it
    magic      4
    space      8   fingerprint of the embedding space
    hash      32   content hash
    width, height, dim   4 each
    size_bytes 8
    format    16   ASCII, padded with zeros
    feature    2 * dim   float16

All little-endian. The key is inside, so that a value under another key fails; and a damaged database can be searched
for values by their magic alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from indexer.types import ContentHash, ImageInfo, StoredFeature

_MAGIC = b"LKF1"
_HEADER = struct.Struct("<I4s8s32sIIIQ16s4x")
HIGHEST_DIM = 65_536
LONGEST_BYTES = _HEADER.size + 2 * HIGHEST_DIM
_FLOAT16 = np.dtype("<f2")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A value found in a damaged database, whole: of which space and content, and its bytes."""

    fingerprint: str
    hash: ContentHash
    value: bytes


def pack(fingerprint: bytes, hash: ContentHash, stored: StoredFeature) -> bytes:
    """The bytes to keep; the fingerprint is 8 bytes."""
    info = stored.info
    header = _HEADER.pack(
        0,
        _MAGIC,
        fingerprint,
        hash,
        info.width_px,
        info.height_px,
        len(stored.feature),
        info.size_bytes,
        info.format.encode("ascii"),
    )
    body = header[4:] + stored.feature.astype(_FLOAT16, copy=False).tobytes()
    return crc32(body).to_bytes(4, "little") + body


def unpack(value: bytes, fingerprint: bytes, dim: int) -> tuple[ContentHash, StoredFeature] | None:
    """Whose feature the bytes hold, and the feature (a read-only view); None when they fail their check.

    Args:
        value: As `pack` gave it.
        fingerprint: The space that it must be of, 8 bytes.
        dim: The length that its features have.
    """
    if len(value) != _HEADER.size + 2 * dim:
        return None
    expected, magic, space, hash_, width_px, height_px, n, size_bytes, kind = _HEADER.unpack_from(value)
    if crc32(memoryview(value)[4:]) != expected or (magic, space, n) != (_MAGIC, fingerprint, dim):
        return None
    feature = np.frombuffer(value, _FLOAT16, dim, _HEADER.size)
    info = ImageInfo(kind.rstrip(b"\0").decode("ascii"), width_px, height_px, size_bytes)
    return hash_, StoredFeature(feature, info)


def check(features: Mapping[ContentHash, StoredFeature], dim: int) -> None:
    """Raise ValueError unless every feature is (dim,) float16 and of unit length to 1e-2, with measures that fit."""
    for hash_, (feature, info) in features.items():
        if feature.shape != (dim,) or feature.dtype != np.float16:
            raise ValueError(f"a feature of {hash_.hex()} is {feature.dtype} {feature.shape}, not float16 ({dim},)")
        if not info.format.isascii() or len(info.format) > 16:
            raise ValueError(f"{info.format!r} cannot be kept as a format")
        if min(info[1:]) < 0 or max(info.width_px, info.height_px) >= 2**32:
            raise ValueError(f"the measures of {hash_.hex()} cannot be kept: {info}")
    if features:
        lengths = _lengths(np.stack([stored.feature for stored in features.values()]))
        if not (np.abs(lengths - 1) <= 1e-2).all():  # not a number: fails too
            raise ValueError(f"features must have unit length; these have {lengths.min():.4g} to {lengths.max():.4g}")


def salvage(data: bytes) -> Iterator[Salvaged]:
    """Every whole value in a piece of a file, whatever became of the tables around it."""
    place = data.find(_MAGIC)
    while place != -1:
        start = place - 4
        if start >= 0 and start + _HEADER.size <= len(data):
            expected, _, space, hash_, *_, n, _, _ = _HEADER.unpack_from(data, start)
            value = data[start : start + _HEADER.size + 2 * n] if n <= HIGHEST_DIM else b""
            if len(value) == _HEADER.size + 2 * n and crc32(memoryview(value)[4:]) == expected:
                yield Salvaged(space.hex(), ContentHash(hash_), value)
        place = data.find(_MAGIC, place + 1)


def _lengths(features: NDArray[np.float16]) -> NDArray[np.float32]:
    """(n, d) -> (n,), in float32."""
    wide = features.astype(np.float32)
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    return lengths
