"""A catalogue in dicts: the port's promises and nothing else. The real one is compared with it."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from indexer.types import (
    Committed,
    ContentHash,
    Counts,
    FilePath,
    FileRecord,
    Found,
    Gone,
    Ids,
    ImageInfo,
    ImageRecord,
    Outcome,
    Refused,
    Stamp,
)
from indexer.where import Filter


class MemoryCatalogue:
    """The port `Catalogue`. Vector ids count from 1; commit n is recorded at second n unless a clock is given."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._files: dict[FilePath, FileRecord] = {}
        self._contents: dict[ContentHash, tuple[int, ImageInfo]] = {}
        self._ids = itertools.count(1)
        self._seq = 0
        self._clock = clock or (lambda: float(self._seq))
        self._lock = threading.RLock()
        self._notes: dict[str, str] = {}

    def folder(self, folder: FilePath) -> dict[bytes, Stamp]:
        prefix = folder.rstrip(b"/") + b"/"
        with self._lock:
            below = [(path[len(prefix) :], r) for path, r in self._files.items() if path.startswith(prefix)]
        return {
            name: Stamp(0, 0, 0, 0, 0) if record.reason and record.reason.transient else record.stamp
            for name, record in below
            if b"/" not in name
        }

    def folders_under(self, root: FilePath) -> Iterator[FilePath]:
        prefix = root.rstrip(b"/") + b"/"
        with self._lock:
            folders = {path.rpartition(b"/")[0] + b"/" for path in self._files}
        return iter([FilePath(folder.rstrip(b"/") or b"/") for folder in folders if folder.startswith(prefix)])

    def files_under(self, path: FilePath) -> Iterator[FilePath]:
        plain = path.rstrip(b"/")
        with self._lock:
            return iter([file for file in self._files if file == plain or file.startswith(plain + b"/")])

    def file(self, path: FilePath) -> FileRecord | None:
        with self._lock:
            return self._files.get(path)

    def files(self, paths: Sequence[FilePath]) -> dict[FilePath, FileRecord]:
        with self._lock:
            return {path: self._files[path] for path in paths if path in self._files}

    def hashes_by_stamp(self, stamps: Sequence[Stamp]) -> dict[Stamp, ContentHash]:
        with self._lock:
            return {r.stamp: r.hash for r in self._files.values() if r.stamp in stamps and r.hash is not None}

    def ids_of(self, hashes: Sequence[ContentHash]) -> dict[ContentHash, int]:
        with self._lock:
            return {hash_: self._contents[hash_][0] for hash_ in hashes if hash_ in self._contents}

    def commit(self, outcomes: Sequence[Outcome]) -> Committed:
        folded = {outcome.path: outcome for outcome in outcomes}
        with self._lock:
            if not folded:
                return Committed(self._seq, {}, [])
            self._seq += 1
            now = self._clock()
            ids = {o.hash: self._learn(o) for o in folded.values() if isinstance(o, Found)}
            for outcome in folded.values():
                self._record(outcome, now)
            held = {record.hash for record in self._files.values()}
            removed = [vector_id for hash_, (vector_id, _) in self._contents.items() if hash_ not in held]
            self._contents = {hash_: kept for hash_, kept in self._contents.items() if hash_ in held}
            return Committed(self._seq, ids, removed)

    def _learn(self, found: Found) -> int:
        vector_id = self._contents[found.hash][0] if found.hash in self._contents else next(self._ids)
        self._contents[found.hash] = vector_id, found.info
        return vector_id

    def _record(self, outcome: Outcome, now: float) -> None:
        match outcome:
            case Gone(path):
                self._files.pop(path, None)
            case Found(path, stamp, hash_, _):
                self._files[path] = FileRecord(path, stamp, hash_, self._contents[hash_][0], None, "", now)
            case Refused(path, stamp, reason, detail):
                self._files[path] = FileRecord(path, stamp, None, None, reason, detail, now)

    def live(self) -> tuple[Ids, list[ContentHash]]:
        with self._lock:
            pairs = sorted((vector_id, hash_) for hash_, (vector_id, _) in self._contents.items())
        return np.array([vector_id for vector_id, _ in pairs], dtype=np.int64), [hash_ for _, hash_ in pairs]

    def images(self, ids: Sequence[int]) -> dict[int, ImageRecord]:
        with self._lock:
            holders: defaultdict[int, list[FileRecord]] = defaultdict(list)
            for record in self._files.values():
                if record.vector_id is not None:
                    holders[record.vector_id].append(record)
            contents = {vector_id: (hash_, info) for hash_, (vector_id, info) in self._contents.items()}
            return {
                int(vector_id): ImageRecord(
                    int(vector_id),
                    *contents[vector_id],
                    paths=tuple(sorted(record.path for record in holders[vector_id])),
                    modified_s=max(record.stamp.mtime_ns for record in holders[vector_id]) / 1e9,
                    mtimes_ns=tuple(r.stamp.mtime_ns for r in sorted(holders[vector_id], key=lambda r: r.path)),
                )
                for vector_id in ids
                if vector_id in contents
            }

    def matching(self, wanted: Filter) -> Ids:
        with self._lock:
            fit = {r.vector_id for r in self._files.values() if wanted.takes_file(r.path, r.stamp.mtime_ns)}
            contents = list(self._contents.values())
        return np.array(sorted(id for id, info in contents if id in fit and wanted.takes_picture(info)), dtype=np.int64)

    def copied(self) -> Ids:
        with self._lock:
            n_paths = Counter(record.vector_id for record in self._files.values() if record.vector_id is not None)
            wasted = {
                id: (n_paths[id] - 1) * info.size_bytes for id, info in self._contents.values() if n_paths[id] > 1
            }
        return np.array(sorted(wasted, key=lambda one: (-wasted[one], one)), dtype=np.int64)

    def paths_of(self, hashes: Sequence[ContentHash]) -> list[FilePath]:
        wanted = set(hashes)
        with self._lock:
            return [record.path for record in self._files.values() if record.hash in wanted]

    def refused(self, limit: int, offset: int = 0) -> list[FileRecord]:
        with self._lock:
            records = [record for record in self._files.values() if record.reason is not None]
        records.sort(key=lambda record: record.recorded_at, reverse=True)
        return records[offset : offset + limit]

    def counts(self) -> Counts:
        with self._lock:
            refused = Counter(record.reason for record in self._files.values() if record.reason is not None)
            return Counts(len(self._files) - refused.total(), len(self._contents), dict(refused))

    def meta_get(self, key: str) -> str | None:
        with self._lock:
            return self._notes.get(key)

    def meta_set(self, key: str, value: str) -> None:
        with self._lock:
            self._notes[key] = value

    def close(self) -> None:
        pass
