"""A picture that the command line names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import ImageRefused, InputError
from indexer.types import Reason

STDIN = "-"


def read_picture(name: str, max_bytes: int) -> bytes:
    """The whole file; `-` is stdin.

    Raises:
        InputError: It cannot be read.
        ImageRefused: It is empty or too large.
    """
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with Path(name).open("rb") as stream:
                data = stream.read(max_bytes + 1)
    except (OSError, ValueError) as e:  # ValueError: a name with NUL
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e)
        raise InputError(f"{name}: cannot be read: {reason[0].lower()}{reason[1:]}") from e
    if not data:
        raise ImageRefused(Reason.EMPTY, f"{name} has no bytes")
    if len(data) > max_bytes:
        raise ImageRefused(Reason.TOO_MANY_BYTES, f"{name} has more than {max_bytes:,} bytes (decode.max_file_bytes)")
    return data


@contextmanager
def named(name: str) -> Iterator[None]:
    """Refusals inside the block say which picture they speak of."""
    try:
        yield
    except ImageRefused as e:
        raise ImageRefused(e.reason, f"{name}: {e.detail}") from e
