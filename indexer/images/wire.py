"""What a child and its keeper say to each other. Pictures travel beside it, in shared memory.

A child has read strangers' files: nothing that comes from it is unpickled or believed, and a message that does not
parse counts as the child's end.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from indexer.images.limits import Limits
from indexer.types import Preprocess, Reason

N_SLOTS: Final = 2
"""Pieces of shared memory a child has: it works on one while the other is filled."""

MESSAGE_BYTES: Final = 16_384
HELLO: Final = b"hello"
"""A child's first words: its limits are set and it waits for work."""


class Request(NamedTuple):
    """Decode what lies in a slot, or make a thumbnail of it where `side_px` is given."""

    slot: int
    n_bytes: int
    side_px: int | None

    def pack(self) -> bytes:
        return json.dumps(self).encode()

    @classmethod
    def unpack(cls, message: bytes) -> Request:
        return cls(*json.loads(message))


class Reply(NamedTuple):
    """The result's length in the slot and what is known of the picture, or why it was refused.

    `retiring` announces that the child ends now: other requests must go to the next one.
    """

    slot: int
    n_bytes: int = 0
    format: str = ""
    width_px: int = 0
    height_px: int = 0
    reason: Reason | None = None
    detail: str = ""
    retiring: bool = False

    def pack(self) -> bytes:
        return json.dumps(self).encode()

    @classmethod
    def unpack(cls, message: bytes) -> Reply:
        """Raises `ValueError` for anything that is not a reply."""
        fields = json.loads(message)
        expected: tuple[Any, ...] = (int, int, str, int, int, (str, type(None)), str, bool)
        if not isinstance(fields, list) or len(fields) != len(expected):
            raise ValueError("not a reply")
        if not all(isinstance(field, kind) for field, kind in zip(fields, expected, strict=True)):
            raise ValueError("not a reply")
        if min(fields[0], fields[1], fields[3], fields[4]) < 0:
            raise ValueError("not a reply")
        reply = cls(*fields)
        return reply._replace(reason=None if reply.reason is None else Reason(reply.reason))


@dataclass(frozen=True, slots=True)
class Setup:
    """All that a nursery and its children need to know.

    Attributes:
        handler: Module with `prepare` and `ImageDecoder`, as `indexer.images.decode` has them.
        preprocess: Handed to it.
        limits: Handed to it.
        recycle_jobs: A child ends after so many.
        recycle_bytes: And when it has come to hold so much more memory than at its start.
    """

    handler: str
    preprocess: Preprocess
    limits: Limits
    recycle_jobs: int
    recycle_bytes: int

    @property
    def slot_bytes(self) -> int:
        """Size of a slot: the largest file, pixels, and any thumbnail in reason."""
        return max(self.limits.max_bytes, 3 * self.preprocess.side_px**2, 8 << 20)

    def pack(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def unpack(cls, text: str) -> Setup:
        fields: dict[str, Any] = json.loads(text)
        preprocess = fields["preprocess"]
        colours = {name: tuple(preprocess[name]) for name in ("mean", "std")}
        fields["preprocess"] = Preprocess(**{**preprocess, **colours})
        fields["limits"] = Limits(**fields["limits"])
        return cls(**fields)
