"""A watched folder under load that remembers every state each of its paths ever had."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.torture.daemon import Ack
from benchmarks.torture.stub import BAD, is_good
from indexer.types import content_hash

N_PATHS = 60


class Shelf:
    """Files that are added, changed, renamed, copied, spoiled and deleted by chance.

    Attributes:
        contents: Every good content that was ever there, by its hash in hex.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder, self._rng = folder, rng
        self._now: dict[str, bytes] = {}
        self._states: defaultdict[bytes, list[str | None]] = defaultdict(lambda: [None])
        self._n_written = 0
        self.contents: dict[str, bytes] = {}

    def disturb(self, n: int) -> None:
        """Do `n` things to the files."""
        for _ in range(n):
            names = sorted(self._now)
            if len(names) < N_PATHS // 2:
                self.write(self._name())
                continue
            deed = self._rng.choice(["write", "write", "change", "change", "copy", "rename", "delete", "spoil"])
            old = self._rng.choice(names)
            if deed == "change":
                self.write(old)
            elif deed == "copy":
                self._put(self._name(), self._now[old])
            elif deed == "rename":
                self._rename(old, self._name())
            elif deed == "delete":
                self._remove(old)
            else:
                self.write(self._name(), BAD if deed == "spoil" else b"")

    def write(self, name: str, prefix: bytes = b"") -> None:
        """Give a path a content that was never there."""
        self._n_written += 1
        self._put(name, prefix + b"%d " % self._n_written + self._rng.randbytes(self._rng.randrange(1, 400)))

    def lost(self, recorded: Mapping[bytes, str | None], acks: Iterable[Ack]) -> list[bytes]:
        """Paths of which less is recorded than was acknowledged; a refused file and none are the same."""
        reached: defaultdict[bytes, int] = defaultdict(int)
        for ack in acks:
            for path, state in ack.paths.items():
                states, place = self._states[bytes.fromhex(path)], reached[bytes.fromhex(path)]
                if state in states[place:]:
                    reached[bytes.fromhex(path)] = states.index(state, place)
        known = self._states.keys() | recorded.keys()
        return [path for path in sorted(known) if recorded.get(path) not in self._states[path][reached[path] :]]

    def _name(self) -> str:
        return f"{self._rng.randrange(N_PATHS):02d}.jpg"

    def _put(self, name: str, data: bytes) -> None:
        """In one step: nobody sees half of it."""
        beside = self._folder.with_name("unfinished")
        beside.write_bytes(data)
        self._remember(name, data)
        os.replace(beside, self._folder / name)

    def _rename(self, old: str, new: str) -> None:
        if old != new:
            self._remember(new, self._now[old])
            self._remember(old, None)
            os.replace(self._folder / old, self._folder / new)

    def _remove(self, name: str) -> None:
        self._remember(name, None)
        os.unlink(self._folder / name)

    def _remember(self, name: str, data: bytes | None) -> None:
        state = None
        if data is None:
            del self._now[name]
        else:
            self._now[name] = data
        if data is not None and is_good(data):
            state = content_hash(data).hex()
            self.contents[state] = data
        self._states[os.fsencode(self._folder / name)].append(state)
