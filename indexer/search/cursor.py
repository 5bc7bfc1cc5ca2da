"""Where an answer ended, so that the next one can go on there, whatever is added or removed meanwhile."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import struct
from typing import NamedTuple

from indexer.errors import InputError

_LAYOUT = struct.Struct("<B8sfqIf")
_VERSION = 1
_DIGEST_BYTES = 8


class Cursor(NamedTuple):
    """The last hit that was answered, by score and vector id, how many were answered up to it, and the answer's cut."""

    score: float
    id: int
    n_before: int
    cut: float | None = None

    def precedes(self, score: float, id: int) -> bool:
        """Whether a row with this score (as float32 holds it) and id comes after this place."""
        return score < self.score or (score == self.score and id > self.id)


def encode(cursor: Cursor, question: str) -> str:
    """The cursor as text; `question` is all that decides the order of its answer."""
    cut = math.nan if cursor.cut is None else cursor.cut
    packed = _LAYOUT.pack(_VERSION, _digest(question), cursor.score, cursor.id, min(cursor.n_before, 2**32 - 1), cut)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(text: str, question: str) -> Cursor:
    """The place that a text stands for; raises `InputError` unless it was made by `encode` for this question."""
    try:
        packed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        version, digest, score, id, n_before, cut = _LAYOUT.unpack(packed)
    except (binascii.Error, ValueError, struct.error) as e:
        raise InputError("cursor: this is none; give back the one of the answer before, unchanged") from e
    if version != _VERSION or digest != _digest(question) or math.isnan(score):
        raise InputError("cursor: it belongs to another question; ask the same again, or leave the cursor out")
    return Cursor(score, id, n_before, None if math.isnan(cut) else cut)


def _digest(question: str) -> bytes:
    return hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).digest()
