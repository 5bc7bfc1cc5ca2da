"""Changes to a folder, seeded: files added, modified, deleted, renamed and copied, and every content remembered."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.torture.stub import BAD, is_good
from indexer.types import content_hash

_FEWEST, _MOST = 40, 200
_FOLDERS = 8
_BURST = 48


class Pictures:
    """A folder of files that are changed from here alone, and all that they ever held.

    What is about to happen is noted before it does: whoever looks in between knows what may be there.

    Args:
        folder: Is made if need be.

    Attributes:
        files: What each file holds now.
        contents: Every good content ever written, by its hash in hex.
        held: By path in hex, the hash of every good content that it ever held.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._staging = folder.parent / "staging"
        self._staging.mkdir(parents=True, exist_ok=True)
        self.files: dict[Path, bytes] = {}
        self.contents: dict[str, bytes] = {}
        self.held: defaultdict[str, set[str]] = defaultdict(set)

    def write(self, path: Path, data: bytes) -> None:
        """Write in place."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._note(path, data)
        path.write_bytes(data)

    def replace(self, path: Path, data: bytes) -> None:
        """Put another file in its place, whole at once."""
        staged = self._staging / "replacement"
        staged.write_bytes(data)
        self._note(path, data)
        staged.replace(path)

    def rename(self, path: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._note(target, self.files.pop(path))
        path.replace(target)

    def remove(self, path: Path) -> None:
        del self.files[path]
        path.unlink()

    def rename_folder(self, folder: Path, target: Path) -> None:
        for path in self._below(folder):
            self._note(target / path.name, self.files.pop(path))
        folder.rename(target)

    def remove_folder(self, folder: Path) -> None:
        for path in self._below(folder):
            del self.files[path]
        shutil.rmtree(folder)

    def wanted(self) -> dict[str, str | None]:
        """What must be acknowledged of every path that ever held a picture: its content's hash, or None. In hex."""
        now = {os.fsencode(path).hex(): data for path, data in self.files.items()}
        return {path: _hash(now[path]) if path in now else None for path in self.held.keys() | now.keys()}

    def _below(self, folder: Path) -> list[Path]:
        return [path for path in self.files if path.parent == folder]

    def _note(self, path: Path, data: bytes) -> None:
        self.files[path] = data
        hash = _hash(data)
        if hash is not None:
            self.contents[hash] = data
            self.held[os.fsencode(path).hex()].add(hash)


class Load(Pictures):
    """Changes its folder at random, one operation at a time, or in a thread until it is told to stop.

    Args:
        folder: Is made if need be.
        seed: Of everything.

    Attributes:
        n_changes: Operations so far.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder)
        self._rng = random.Random(seed)
        self._number = 0
        self._lock = threading.Lock()
        self.n_changes = 0

    @contextmanager
    def running(self, per_s: float) -> Iterator[None]:
        """Change something so many times a second on average, while the block lasts."""
        ended = threading.Event()
        trouble: list[Exception] = []

        def run() -> None:
            try:
                while not ended.wait(self._rng.expovariate(per_s)):
                    self.change()
            except Exception as e:
                trouble.append(e)

        thread = threading.Thread(target=run, name="load")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if trouble:
            raise trouble[0]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Change nothing while the block lasts."""
        with self._lock:
            yield

    def change(self) -> None:
        """One operation."""
        with self._lock:
            self.n_changes += 1
            few, many = len(self.files) < _FEWEST, len(self.files) > _MOST
            weights = {
                self._add: 10 if many else 40, self._modify: 20, self._delete: 2 if few else 40 if many else 18,
                self._move: 14, self._copy: 2 if many else 10, self._burst: 0 if many else 1,
                self._move_folder: 2, self._delete_folder: 0 if few else 1,
            }  # fmt: skip
            if not self.files:
                self._add()
            else:
                self._rng.choices(list(weights), list(weights.values()))[0]()

    # ------------------------------------------------------------ operations

    def _add(self) -> None:
        self.write(self._new_path(), self._content())

    def _burst(self) -> None:
        for _ in range(_BURST):
            self._add()

    def _modify(self) -> None:
        change = self.write if self._rng.random() < 0.5 else self.replace
        change(self._some(), self._content())

    def _delete(self) -> None:
        self.remove(self._some())

    def _move(self) -> None:
        path = self._some()
        target = self._some() if self._rng.random() < 0.1 else self._new_path()
        if target != path:
            self.rename(path, target)

    def _copy(self) -> None:
        self.write(self._new_path(), self.files[self._some()])

    def _move_folder(self) -> None:
        self._number += 1
        if (folder := self._some_folder()) is not None:
            self.rename_folder(folder, self.folder / f"folder-{self._number}")

    def _delete_folder(self) -> None:
        if (folder := self._some_folder()) is not None:
            self.remove_folder(folder)

    # ------------------------------------------------------------ material

    def _content(self) -> bytes:
        """Mostly a new picture; now and then one that is there already, one that is refused, or nothing."""
        luck = self._rng.random()
        if luck < 0.05 and self.files:
            return self.files[self._some()]
        if luck < 0.08:
            return BAD + self._rng.randbytes(8)
        return b"" if luck < 0.10 else b"good" + self._rng.randbytes(self._rng.randrange(12, 4000))

    def _new_path(self) -> Path:
        self._number += 1
        where = self._rng.randrange(_FOLDERS + 1)
        return self.folder / (f"d{where}" if where < _FOLDERS else "") / f"{self._number}.png"

    def _some(self) -> Path:
        return self._rng.choice(list(self.files))

    def _some_folder(self) -> Path | None:
        """A folder below the top one; None where the file that luck chose is in none."""
        folder = self._some().parent
        return folder if folder != self.folder else None


def _hash(data: bytes) -> str | None:
    """In hex; None for what becomes no picture."""
    return content_hash(data).hex() if is_good(data) else None
