"""Encodings, counted for each content over all the children that share a log."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.torture.stub import SIDE_PX, StubEncoder
from indexer.types import Pixels

_KEY_BYTES = SIDE_PX * SIDE_PX * 3


def counted_encoder(log: Path, version: int = 0, image_s: float = 0.0) -> StubEncoder:
    """A stub that notes each picture, by its pixels, before it encodes it: what was noted outlives a kill.

    Args:
        log: Where it notes them.
        version: See `space_of`.
        image_s: How long a picture takes, so that batches form and kills fall into them.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(pixels: Pixels) -> None:
        os.write(descriptor, pixels.tobytes())
        time.sleep(image_s * len(pixels))

    return StubEncoder(note, version)


class Encodings:
    """Reads the log after each child.

    Attributes:
        n: Pictures encoded.
        redone: By the number of a child, contents that it had encoded and that another had to encode again.
        n_twice: Contents that one child encoded twice.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read_to = 0
        self._by: dict[bytes, int] = {}
        self.n = 0
        self.redone: Counter[int] = Counter()
        self.n_twice = 0

    def count(self, child: int) -> int:
        """Read what this child has added, now that it is dead; returns how many pictures."""
        if not self._log.exists():
            return 0
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            noted = log.read()
        keys = [noted[i : i + _KEY_BYTES] for i in range(0, len(noted) - _KEY_BYTES + 1, _KEY_BYTES)]
        self._read_to += len(keys) * _KEY_BYTES
        for key in keys:
            before = self._by.get(key)
            if before == child:
                self.n_twice += 1
            elif before is not None:
                self.redone[before] += 1
            self._by[key] = child
        self.n += len(keys)
        return len(keys)

    @contextmanager
    def ignored(self, child: int) -> Iterator[None]:
        """Do not count what this child, which is at rest, encodes in the block: questions."""
        self.count(child)
        yield
        if self._log.exists():
            self._read_to = self._log.stat().st_size
