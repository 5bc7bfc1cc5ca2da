"""Encodings, counted for each content over all the children that share a log."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.torture.stub import SIDE_PX, StubEncoder
from indexer.types import Features, Pixels

KEY_BYTES = SIDE_PX * SIDE_PX * 3
_BEGUN, _DONE = b"b", b"d"


class Log:
    """Where an encoder notes what it begins and what it has done: what was noted outlives a kill."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def begin(self, keys: Sequence[bytes]) -> None:
        os.write(self._descriptor, b"".join(_BEGUN + key for key in keys))

    def end(self, keys: Sequence[bytes]) -> None:
        os.write(self._descriptor, b"".join(_DONE + key for key in keys))


class CountedEncoder(StubEncoder):
    """A stub that notes each picture, by its pixels.

    Args:
        log: Where it notes them.
        version: See `space_of`.
        image_s: How long a picture takes, so that batches form and kills fall into them.
    """

    def __init__(self, log: Path, version: int = 0, image_s: float = 0.0) -> None:
        super().__init__(version=version)
        self._log = Log(log)
        self._image_s = image_s

    def encode_pixels(self, pixels: Pixels) -> Features:
        keys = [picture.tobytes() for picture in pixels]
        self._log.begin(keys)
        time.sleep(self._image_s * len(pixels))
        features = super().encode_pixels(pixels)
        self._log.end(keys)
        return features


class Encodings:
    """Reads the log after each child.

    Attributes:
        n: Pictures encoded, or begun to be.
        begun_again: By the number of a child, contents that it had begun to encode and another had to begin again.
        redone: Those among them that it had done.
        n_twice: Contents that one child began twice.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read_to = 0
        self._begun: dict[bytes, int] = {}
        self._done: dict[bytes, int] = {}
        self.n = 0
        self.begun_again: Counter[int] = Counter()
        self.redone: Counter[int] = Counter()
        self.n_twice = 0

    def count(self, child: int) -> int:
        """Read what this child has added, now that it is dead or at rest; returns how many pictures it began."""
        n_before = self.n
        for note in self._notes():
            kind, key = note[:1], note[1:]
            if kind == _DONE:
                self._done[key] = child
                continue
            before = self._begun.get(key)
            if before == child:
                self.n_twice += 1
            elif before is not None:
                self.begun_again[before] += 1
                self.redone[before] += self._done.get(key) == before
            self._begun[key] = child
            self.n += 1
        return self.n - n_before

    @contextmanager
    def ignored(self, child: int) -> Iterator[None]:
        """Do not count what this child, which is at rest, encodes in the block: questions."""
        self.count(child)
        yield
        for _ in self._notes():
            pass

    def _notes(self) -> Iterator[bytes]:
        if not self._log.exists():
            return
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            while len(note := log.read(1 + KEY_BYTES)) == 1 + KEY_BYTES:
                self._read_to += len(note)
                yield note
