"""Encodings, counted for each content over all the children that share a log."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.torture.stub import SIDE_PX, StubEncoder
from indexer.types import Pixels

_KEY_BYTES = SIDE_PX * SIDE_PX * 3


class Log:
    """Where an encoder notes each picture before it encodes it: what was noted outlives a kill."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, keys: Sequence[bytes]) -> None:
        """A key is what tells a picture from all others, in 48 bytes."""
        os.write(self._descriptor, b"".join(keys))


class CountedEncoder(StubEncoder):
    """A stub that notes each picture, by its pixels.

    Args:
        log: Where it notes them.
        version: See `space_of`.
        image_s: How long a picture takes, so that batches form and kills fall into them.
    """

    def __init__(self, log: Path, version: int = 0, image_s: float = 0.0) -> None:
        noted = Log(log)

        def before(pixels: Pixels) -> None:
            noted.note([picture.tobytes() for picture in pixels])
            time.sleep(image_s * len(pixels))

        super().__init__(before, version)


class Encodings:
    """Reads the log after each child.

    Attributes:
        n: Pictures encoded, or begun to be.
        redone: By the number of a child, contents that it had begun to encode and another had to encode again.
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
        """Read what this child has added, now that it is dead or at rest; returns how many pictures."""
        n_before = self.n
        for key in self._keys():
            before = self._by.get(key)
            if before == child:
                self.n_twice += 1
            elif before is not None:
                self.redone[before] += 1
            self._by[key] = child
            self.n += 1
        return self.n - n_before

    @contextmanager
    def ignored(self, child: int) -> Iterator[None]:
        """Do not count what this child, which is at rest, encodes in the block: questions."""
        self.count(child)
        yield
        for _ in self._keys():
            pass

    def _keys(self) -> Iterator[bytes]:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            while len(key := log.read(_KEY_BYTES)) == _KEY_BYTES:
                self._read_to += _KEY_BYTES
                yield key
