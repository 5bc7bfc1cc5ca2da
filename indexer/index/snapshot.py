"""Generations of an index on disk: written whole or not at all, checked before a byte is believed."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from indexer.errors import SHORTAGE, StoreCorrupt, StoreError, StoreFull, StoreTooNew
from indexer.index.manifest import Chunk, Manifest, chunk_digest
from indexer.ports import VectorIndex
from indexer.types import Features, Ids, Matrix

T = TypeVar("T")
_Parts = tuple[Ids, Matrix, Features]

logger = logging.getLogger(__name__)

_NAME = re.compile(r"gen-(\d+)\.(rows|json)(\.tmp|\.bad)?")
_KEPT = 2  # generations, and damaged generations
_CHUNK_BYTES = 8 << 20
_AHEAD = 4  # chunks read or written but not yet checked or loaded
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class SnapshotFolder:
    """`Snapshots` in one folder: `gen-000123.rows` holds ids, norms and rows, `gen-000123.json` what they must be.

    A generation exists once its .json does. A damaged one is renamed to *.bad for people to look at, the newest two of
    them are kept; one of a later format is left alone.

    Args:
        folder: Made when first written to.
        fingerprint: Of the embedding space and the way of indexing; another's snapshot is never loaded.
        dim: Length of a row.
    """

    def __init__(self, folder: Path, fingerprint: str, dim: int) -> None:
        self._folder = os.fspath(folder)
        self._fingerprint = fingerprint
        self._dim = dim
        self._chunk_rows = max(1, _CHUNK_BYTES // (2 * dim))
        self._busy = threading.Lock()

    def save(self, index: VectorIndex) -> int:
        with self._busy, _as_store_errors(self._folder):
            self._make_folder()
            self._sweep()
            generation = max((number for number, *_ in self._files()), default=0) + 1
            try:
                chunks = self._write(generation, "rows", lambda file: self._write_rows(file, index))
                manifest = Manifest(generation, self._fingerprint, self._dim, chunks, time.time())
                self._write(generation, "json", lambda file: _write_manifest(file, manifest))
            except BaseException:
                self._drop(generation)
                raise
            for old in self._generations()[_KEPT:]:
                self._drop(old)
            return generation

    def load_into(self, index: VectorIndex) -> int:
        if len(index):
            raise ValueError("a snapshot is loaded into an empty index only")
        with self._busy, _as_store_errors(self._folder, "loaded from"):
            for generation in self._generations():
                try:
                    self._load(generation, index)
                    return generation
                except StoreTooNew as e:
                    logger.warning("snapshot %d is left alone, it was written by a later version: %s", generation, e)
                except (StoreCorrupt, OSError, ValueError) as e:
                    if isinstance(e, OSError) and e.errno in SHORTAGE:
                        raise  # nothing is wrong with it
                    logger.warning("snapshot %d is damaged and set aside: %s", generation, e)
                    index.remove(index.ids())
                    self._set_aside(generation)
            return 0

    def _write_rows(self, file: BinaryIO, index: VectorIndex) -> tuple[Chunk, ...]:
        ids = index.ids()

        def checks() -> Iterator[Callable[[], Chunk]]:
            for start in range(0, len(ids), self._chunk_rows):
                parts = _parts(index, ids[start : start + self._chunk_rows])
                yield partial(_chunk, parts)
                for part in parts:
                    file.write(_bytes(part))

        return tuple(_ahead(checks()))

    def _load(self, generation: int, index: VectorIndex) -> None:
        with open(self._path(_name(generation, "json")), "rb") as file:
            manifest = Manifest.from_json(file.read())
        if (manifest.generation, manifest.fingerprint, manifest.dim) != (generation, self._fingerprint, self._dim):
            raise StoreCorrupt(
                f"it is generation {manifest.generation} of {manifest.fingerprint}, dimension {manifest.dim}"
            )
        with open(self._path(_name(generation, "rows")), "rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes != manifest.size_bytes:
                raise StoreCorrupt(f"{size_bytes} bytes instead of {manifest.size_bytes}")
            last = 0
            reads = (partial(_read, file.fileno(), manifest, *place) for place in manifest.placed())
            with contextlib.closing(_ahead(reads)) as parts:
                for ids, norms, rows in parts:
                    if len(ids) and (ids[0] <= last or (np.diff(ids) <= 0).any()):
                        raise StoreCorrupt("an id comes twice, or out of order")
                    index.upsert(ids, rows, norms)
                    last = int(ids.max(initial=last))

    def _write(self, generation: int, kind: str, fill: Callable[[BinaryIO], T]) -> T:
        """A file that is whole and durable before it has its name."""
        path = self._path(_name(generation, kind))
        with open(path + ".tmp", "wb") as file:
            result = fill(file)
            file.flush()
            os.fsync(file.fileno())
            if os.fstat(file.fileno()).st_size != file.tell():
                raise OSError(errno.ENOSPC, "the file is shorter than what was written", path)
        os.replace(path + ".tmp", path)
        self._sync_folder()
        return result

    def _make_folder(self) -> None:
        """A new folder's own name must last as long as what is in it."""
        if not os.path.isdir(self._folder) or not self._generations():
            os.makedirs(self._folder, exist_ok=True)
            self._sync_folder(os.path.dirname(self._folder))

    def _sync_folder(self, folder: str | None = None) -> None:
        handle = os.open(folder or self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _files(self) -> list[tuple[int, str, str, str]]:
        """(generation, kind, suffix, name) of every file of ours."""
        with contextlib.suppress(FileNotFoundError):
            found = (_NAME.fullmatch(name) for name in os.listdir(self._folder))
            return [(int(m[1]), m[2], m[3] or "", m[0]) for m in found if m]
        return []

    def _generations(self) -> list[int]:
        """Numbers of the generations, newest first."""
        return sorted((n for n, kind, suffix, _ in self._files() if (kind, suffix) == ("json", "")), reverse=True)

    def _sweep(self) -> None:
        """Remove what an interrupted save has left."""
        whole = set(self._generations())
        for number, _, suffix, name in self._files():
            if suffix == ".tmp" or (suffix == "" and number not in whole):
                os.unlink(self._path(name))

    def _drop(self, generation: int) -> None:
        """Remove a generation; its .json first, so that it never seems to be there."""
        for name in (_name(generation, kind) + suffix for kind in ("json", "rows") for suffix in ("", ".tmp")):
            with contextlib.suppress(OSError):
                os.unlink(self._path(name))

    def _set_aside(self, generation: int) -> None:
        for kind in ("json", "rows"):
            path = self._path(_name(generation, kind))
            with contextlib.suppress(OSError):
                os.replace(path, path + ".bad")
        bad = sorted({number for number, _, suffix, _ in self._files() if suffix == ".bad"}, reverse=True)
        for number, _, suffix, name in self._files():
            if suffix == ".bad" and number in bad[_KEPT:]:
                with contextlib.suppress(OSError):
                    os.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)


def _name(generation: int, kind: str) -> str:
    return f"gen-{generation:06d}.{kind}"


def _parts(index: VectorIndex, ids: Ids) -> _Parts:
    rows, norms = index.rows(ids), index.norms(ids)
    there = ~np.isnan(norms)  # asked last: what has been removed in between is missing here at any rate
    return (ids, norms, rows) if there.all() else (ids[there], norms[there], rows[there])


def _chunk(parts: _Parts) -> Chunk:
    return Chunk(len(parts[0]), chunk_digest(*(_bytes(part) for part in parts)))


def _read(handle: int, manifest: Manifest, number: int, offset: int, chunk: Chunk) -> _Parts:
    """A chunk's ids, norms and rows, proved; raises StoreCorrupt."""
    data = np.empty(chunk.size_bytes(manifest.dim), np.uint8)
    done = 0
    while done < len(data):
        n_bytes = os.preadv(handle, [data[done:].data], offset + done)
        if not n_bytes:
            raise StoreCorrupt("the file ends too early")
        done += n_bytes
    if chunk_digest(data.data) != chunk.digest:
        raise StoreCorrupt(f"chunk {number} fails its check")
    ids, norms, rows = np.split(data, [8 * chunk.n, 12 * chunk.n])
    return ids.view("<i8"), norms.view("<f4"), rows.view("<f2").reshape(chunk.n, manifest.dim)


def _write_manifest(file: BinaryIO, manifest: Manifest) -> None:
    file.write(manifest.to_json())


def _bytes(part: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(part).reshape(-1).view(np.uint8).data


def _ahead(calls: Iterable[Callable[[], T]]) -> Generator[T, None, None]:
    """Results of calls in order, a few of which run ahead in threads of their own."""
    with ThreadPoolExecutor(_AHEAD, "snapshot") as pool:
        pending: deque[Future[T]] = deque()
        for call in calls:
            pending.append(pool.submit(call))
            if len(pending) >= _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


@contextlib.contextmanager
def _as_store_errors(folder: str, deed: str = "saved in") -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in _NO_ROOM:
            raise StoreFull(f"the index cannot be {deed} {folder}: {e.strerror}; make room or give write access") from e
        raise StoreError(f"the index cannot be {deed} {folder}: {e}") from e
