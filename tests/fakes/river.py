"""Fakes for the river's neighbours: files in a dict, settling without time, answers at once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FileChanged, ImageRefused
from indexer.types import (
    ContentHash,
    Decoded,
    EmbeddingSpace,
    FileContent,
    FilePath,
    ImageInfo,
    Pixels,
    Preprocess,
    QueueState,
    Reason,
    Settled,
    Stamp,
    content_hash,
)

SIDE = 8
SPACE = EmbeddingSpace("stub", "random-0", "fp32", 16, Preprocess(SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


class FakeFiles:
    """A file system in a dict; every write gives a fresh stamp, a rename keeps all of it but the ctime."""

    def __init__(self) -> None:
        self.files: dict[FilePath, tuple[Stamp, bytes]] = {}
        self.reads: list[FilePath] = []
        self.before_read: Callable[[FilePath], None] = lambda path: None
        self._tick = itertools.count(1)
        self._inode = itertools.count(100)

    def write(self, path: bytes, data: bytes) -> FilePath:
        now = next(self._tick)
        old = self.files.get(FilePath(path))
        inode = old[0].inode if old else next(self._inode)
        self.files[FilePath(path)] = (Stamp(1, inode, len(data), now, now), data)
        return FilePath(path)

    def rename(self, old: bytes, new: bytes) -> None:
        stamp, data = self.files.pop(FilePath(old))
        self.files[FilePath(new)] = (stamp._replace(ctime_ns=next(self._tick)), data)

    def delete(self, path: bytes) -> None:
        del self.files[FilePath(path)]

    def stamp(self, path: FilePath) -> Stamp | None:
        entry = self.files.get(path)
        return entry[0] if entry else None

    def read(self, path: FilePath, expected: Stamp) -> FileContent:
        self.before_read(path)
        self.reads.append(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        stamp, data = self.files[path]
        if stamp != expected:
            raise FileChanged
        return FileContent(stamp, content_hash(data), data)

    def truth(self) -> dict[FilePath, ContentHash]:
        """The oracle: path -> content hash of every file that is a picture."""
        return {path: content_hash(data) for path, (_, data) in self.files.items() if not data.startswith(b"bad")}


class FakeSettle:
    """Everything added is at rest at once; keeps the port's promises about what is in flight."""

    def __init__(self, stamp: Callable[[FilePath], Stamp | None]) -> None:
        self._stamp = stamp
        self._dirty: dict[FilePath, None] = {}
        self._in_flight: set[FilePath] = set()
        self._again: set[FilePath] = set()
        self._held: set[FilePath] = set()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, path: FilePath) -> None:
        with self._changed:
            if path in self._in_flight:
                self._again.add(path)
            else:
                self._dirty[path] = None
            self._changed.notify_all()

    def take(self, limit: int, timeout_s: float) -> list[Settled]:
        with self._changed:
            self._changed.wait_for(lambda: self._dirty.keys() - self._held or self._closed, timeout_s)
            if self._closed:
                return []
            free = [path for path in self._dirty if path not in self._held]
            taken = sorted(free[:limit], key=lambda path: self._stamp(path) is None)
            for path in taken:
                del self._dirty[path]
                self._in_flight.add(path)
            return [Settled(path, self._stamp(path)) for path in taken]

    def done(self, path: FilePath) -> None:
        with self._changed:
            self._in_flight.discard(path)
            if path in self._again:
                self._again.discard(path)
                self._dirty[path] = None
            self._changed.notify_all()

    def hold(self, path: FilePath) -> None:
        """Somebody has this path open for writing: it is not handed out."""
        self._held.add(path)

    def state(self, path: FilePath) -> str | None:
        with self._changed:
            if path in self._held:
                return "open for writing"
            return "in flight" if path in self._in_flight else "settling" if path in self._dirty else None

    def __len__(self) -> int:
        with self._changed:
            return len(self._dirty) + len(self._in_flight)

    @property
    def oldest_s(self) -> float:
        return 0.0

    def age_s(self, path: FilePath) -> float | None:
        return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float = 10.0) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._dirty and not self._in_flight, timeout_s)


def pixels_of(data: bytes) -> Pixels:
    """Pixels (SIDE, SIDE, 3) that depend on every byte."""
    seed = int.from_bytes(content_hash(data)[:8], "little")
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


class FakeDecoder:
    """Bytes that start with `bad` are refused; all else is a picture. `hold` keeps answers back until released."""

    def __init__(self) -> None:
        self.n_decoded = 0
        self.hold: threading.Event | None = None

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        future: Future[Decoded] = Future()
        self.n_decoded += 1
        if self.hold is None:
            self._answer(future, data)
        else:
            hold = self.hold
            threading.Thread(target=lambda: (hold.wait(10), self._answer(future, data)), daemon=True).start()
        return future

    def thumbnail(self, data: bytes, side_px: int) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_result(b"jpeg" + data[:4])
        return future

    def close(self) -> None:
        pass

    def _answer(self, future: Future[Decoded], data: bytes) -> None:
        if data.startswith(b"bad"):
            future.set_exception(ImageRefused(Reason.CORRUPT, "not a picture"))
        else:
            future.set_result(Decoded(pixels_of(data), ImageInfo("png", SIDE, SIDE, len(data))))


class FakeEmbedder:
    """Features are seeded by the pixels; a text's embedding by its words. Answers at once."""

    def __init__(self, space: EmbeddingSpace = SPACE, joint_dim: int = 6) -> None:
        self._space = space
        self._joint_dim = joint_dim
        self._projection = np.random.default_rng(7).normal(size=(space.dim, joint_dim)).astype(np.float32)
        self.encoded: list[bytes] = []

    @property
    def space(self) -> EmbeddingSpace:
        return self._space

    @property
    def projection(self) -> NDArray[np.float32]:
        return self._projection

    @property
    def has_text(self) -> bool:
        return True

    def feature_of(self, pixels: Pixels) -> NDArray[np.float16]:
        seed = int.from_bytes(content_hash(pixels.tobytes())[:8], "little")
        vector = np.random.default_rng(seed).normal(size=self._space.dim).astype(np.float32)
        return (vector / np.linalg.norm(vector)).astype(np.float16)

    def embed_image(self, pixels: Pixels, *, urgent: bool = False) -> Future[NDArray[np.float16]]:
        future: Future[NDArray[np.float16]] = Future()
        if not urgent:
            self.encoded.append(pixels.tobytes())
        future.set_result(self.feature_of(pixels))
        return future

    def embed_texts(self, texts: list[str]) -> Future[NDArray[np.float32]]:
        future: Future[NDArray[np.float32]] = Future()
        rows = np.stack(
            [
                np.random.default_rng(sum(text.encode())).normal(size=self._joint_dim).astype(np.float32)
                for text in texts
            ]
        )
        future.set_result(rows / np.linalg.norm(rows, axis=1, keepdims=True))
        return future

    def limit_batch(self, *largest: int) -> None:
        pass

    def try_batch(self, pixels: Pixels) -> Future[float]:
        future: Future[float] = Future()
        future.set_result(0.001 * len(pixels))
        return future

    @property
    def n_encoded(self) -> int:
        return len(self.encoded)

    @property
    def n_waiting(self) -> int:
        return 0

    @property
    def weights_bytes(self) -> int:
        return 1000

    @property
    def queue(self) -> QueueState:
        return QueueState(0, 0.0, 0.0, 1, 0, 0.0)

    @property
    def trouble(self) -> str | None:
        return None

    def close(self) -> None:
        pass
