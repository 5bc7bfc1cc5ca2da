"""One way in: dirty path -> read once -> known? -> cached? -> decode -> encode -> commit."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from indexer.errors import FileChanged, ImageRefused, Stopped, may_pass
from indexer.ingest.budget import Budget
from indexer.ingest.commit import Committer, Result
from indexer.ports import Catalogue, Decoder, Embedder, FeatureCache, Settle, VectorIndex
from indexer.types import (
    ContentHash,
    Decoded,
    FileContent,
    FilePath,
    FileRecord,
    Found,
    Gone,
    ImageInfo,
    Reason,
    Refused,
    Settled,
    Stamp,
    StoredFeature,
)

logger = logging.getLogger(__name__)

# How many settled paths a reader takes at once: enough to spare the lock, few enough to share the work evenly.
TAKE = 16


@dataclass(frozen=True, slots=True)
class Sources:
    """What the river takes from outside."""

    read: Callable[[FilePath, Stamp], FileContent]
    """The file with this stamp. Raises `FileChanged`, `FileNotFoundError`, `ImageRefused`."""
    max_bytes: int
    """Larger files are refused unread."""
    stamp: Callable[[FilePath], Stamp | None]
    """What stands at a path now; None where no file does."""
    reachable: Callable[[FilePath], bool]
    """Whether the path's watched folder is there: nothing below an unmounted one is gone."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """A path that waits for a content's feature."""

    path: FilePath
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class _Memory:
    """What was known of a settled path when it was taken."""

    path: FilePath
    stamp: Stamp | None
    record: FileRecord | None
    hash: ContentHash | None
    """What the file holds if it is the recorded one, under this name or another."""
    is_searchable: bool
    """Whether the content recorded for the path has its row."""


class _Abandoned(Exception):
    """Its cause may pass, and the path has been made dirty again."""


def _nothing() -> None:
    """No budget was taken."""


class River:
    """Reads settled paths in a few threads and leads each to its outcome, exactly once per change.

    A content is encoded once however many paths bring it at the same time. What is on its way is bounded by `budget`.

    Args:
        settle: Where dirty paths come from.
        sources: Access to the files.
        decoder, embedder: Bytes to pixels to features.
        catalogue, cache, index: What is known already.
        committer: Where outcomes go.
        budget: Bound of pictures and bytes on their way; the decoder's and embedder's bulk queues hold as many.
        n_readers: Reading threads.
        retry_s: A reader's pause when the machine or the store has not what it takes to look at a file.
    """

    def __init__(
        self,
        settle: Settle,
        sources: Sources,
        decoder: Decoder,
        embedder: Embedder,
        catalogue: Catalogue,
        cache: FeatureCache,
        index: VectorIndex,
        committer: Committer,
        budget: Budget,
        n_readers: int = 2,
        retry_s: float = 2.0,
    ) -> None:
        self._settle = settle
        self._sources = sources
        self._decoder = decoder
        self._embedder = embedder
        self._catalogue = catalogue
        self._cache = cache
        self._index = index
        self._committer = committer
        self._budget = budget
        self._retry_s = retry_s
        self._readers = [threading.Thread(target=self._run, name=f"reader-{i}", daemon=True) for i in range(n_readers)]
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._claims: dict[ContentHash, list[_Claim]] = {}
        self._uncommitted: dict[ContentHash, StoredFeature] = {}
        self._anew: set[ContentHash] = set()
        self._brought: set[FilePath] = set()
        self._retried: set[FilePath] = set()
        self.n_cache_hits = 0
        """Paths whose content needed no encoding."""
        self.n_decoding = 0
        self.trouble: str | None = None
        """Why files cannot be read now."""

    def start(self) -> None:
        for reader in self._readers:
            reader.start()

    def close(self) -> None:
        """Take nothing new. What is on its way ends when decoder, embedder and committer are closed, in this order."""
        self._stopping.set()
        self._settle.close()
        self._budget.close()
        for reader in self._readers:
            if reader.ident is not None:
                reader.join()

    def bring(self, contents: Mapping[ContentHash, Sequence[FilePath]], *, anew: bool) -> None:
        """Send contents through once more; with `anew` they are encoded though their features are known.

        Each keeps its row until it has another. Paths whose file is not as it was recorded are left to the ordinary
        way: their content is another by now.
        """
        named = [path for paths in contents.values() for path in paths]
        records = self._catalogue.files(named)
        paths = [path for path in named if path in records and self._sources.stamp(path) == records[path].stamp]
        with self._lock:
            self._anew = set(contents) if anew else set()
            self._brought = set(paths)
        for path in paths:
            self._settle.add(path)

    def retry(self, paths: Sequence[FilePath]) -> None:
        """Look at these again though they were refused and have not changed."""
        with self._lock:
            self._retried.update(paths)
        for path in paths:
            self._settle.add(path)

    @property
    def n_on_their_way(self) -> int:
        """Paths of the last `bring` that will have an outcome and have had none yet."""
        with self._lock:
            while (path := next(iter(self._brought), None)) is not None:
                if self._settle.state(path) in ("settling", "queued", "in flight"):
                    break
                self._brought.discard(path)  # nothing is known of it any more, or somebody is writing it
            return len(self._brought)

    def end_anew(self) -> int:
        """Encode nothing anew any more; how many contents of the last `bring` have not been, and stay as they are."""
        with self._lock:
            n_left = len(self._anew)
            self._anew = set()
            return n_left

    # ------------------------------------------------------------ reading

    def _run(self) -> None:
        while not self._stopping.is_set():
            taken = self._settle.take(TAKE, timeout_s=60.0)
            try:
                memories = self._recall(taken)
            except Exception as e:  # noqa: BLE001  a worker's loop
                self._give_up([path for path, _ in taken], e)
                continue
            for memory in memories:
                try:
                    self._look(memory)
                    self.trouble = None
                except _Abandoned as e:
                    self._pause(e.__cause__)
                except Exception as e:  # noqa: BLE001  a worker's loop: one path must not end it
                    self._give_up([memory.path], e)

    def _give_up(self, paths: Sequence[FilePath], error: Exception) -> None:
        """Paths that could not be dealt with are tried again after a pause if that helps, else with the next scan."""
        again = may_pass(error)
        for path in paths:
            if again:
                self._settle.add(path)
            self._done(path)
        if again:
            self._pause(error)
        else:
            logger.error("could not deal with %r", paths, exc_info=error)

    def _pause(self, error: BaseException | None) -> None:
        """What is not the file's fault is waited out; its path stays dirty."""
        if self.trouble is None:
            logger.error("reading is paused: %s", error)
        self.trouble = str(error)
        self._stopping.wait(self._retry_s)

    def _recall(self, taken: Sequence[Settled]) -> list[_Memory]:
        """What is known of the paths, asked for together: a question costs more than its answer."""
        records = self._catalogue.files([path for path, _ in taken])
        same = {stamp: records[path].hash for path, stamp in taken if path in records and records[path].stamp == stamp}
        searchable = self._searchable([hash for hash in same.values() if hash is not None])
        renamed = self._catalogue.hashes_by_stamp([stamp for _, stamp in taken if stamp and same.get(stamp) is None])
        memories = []
        for path, stamp in taken:
            record = records.get(path)
            hash = None if stamp is None else same.get(stamp) or renamed.get(stamp)
            memories.append(_Memory(path, stamp, record, hash, record is not None and record.hash in searchable))
        return memories

    def _look(self, memory: _Memory) -> None:
        path, stamp, record = memory.path, memory.stamp, memory.record
        if stamp is None:
            if record is None or not self._sources.reachable(path):
                self._done(path)
            else:
                self._finish(Gone(path))
            return
        if record is not None and record.stamp == stamp:
            refused = record.reason is not None and not (self._is_retried(path) or record.reason.transient)
            if refused or (memory.is_searchable and record.hash not in self._anew):
                self._done(path)
                return
        if memory.hash is None or not self._attach(path, stamp, memory.hash):
            self._read(path, stamp)

    def _is_retried(self, path: FilePath) -> bool:
        """Whether its refusal is to be forgotten, once."""
        with self._lock:
            was_asked_for = path in self._retried
            self._retried.discard(path)
        return was_asked_for

    def _searchable(self, hashes: Sequence[ContentHash]) -> set[ContentHash]:
        """Those of the contents that have their rows."""
        ids = self._catalogue.ids_of(hashes) if hashes else {}
        there = self._index.contains(np.array(list(ids.values()), dtype=np.int64))
        return {hash for hash, is_there in zip(ids, there, strict=True) if is_there}

    def _attach(self, path: FilePath, stamp: Stamp, hash: ContentHash) -> bool:
        """Finish the path without encoding if its content's feature is known."""
        if hash in self._anew:
            return False
        stored = self._cache.get_many([hash]).get(hash)
        if stored is None:
            return False
        self.n_cache_hits += 1
        self._finish(Found(path, stamp, hash, stored.info))
        return True

    def _read(self, path: FilePath, stamp: Stamp) -> None:
        # What is refused unread for its size holds nobody up.
        size_bytes = stamp.size_bytes if stamp.size_bytes <= self._sources.max_bytes else 0
        if not self._budget.acquire(size_bytes):
            return  # going down; the path is still dirty on disk and comes back with the next start's scan
        release = partial(self._budget.release, size_bytes)
        try:
            content = self._sources.read(path, stamp)
        except ImageRefused as e:
            if e.reason is Reason.UNREADABLE and not self._sources.reachable(path):
                release()  # an unplugged disk says nothing of its files; the scan after it is back does
                self._done(path)
            else:
                self._finish(Refused(path, stamp, e.reason, e.detail), release)
        except (FileChanged, FileNotFoundError):
            release()
            self._settle.add(path)  # while in flight: dirty again as soon as it is done
            self._done(path)
        except BaseException:
            release()
            raise
        else:
            self._know(_Claim(path, stamp), content, release)

    def _know(self, claim: _Claim, content: FileContent, release: Callable[[], None]) -> None:
        hash = content.hash
        with self._lock:
            waiting = self._claims.get(hash)
            fresh = self._uncommitted.get(hash)
            if waiting is not None:  # the same content is on its way already
                waiting.append(claim)
            elif fresh is None:
                self._claims[hash] = [claim]
        if waiting is not None:
            release()
            return
        if fresh is not None:  # encoded already, and in the committer's hands
            self._finish(Found(claim.path, claim.stamp, hash, fresh.info), release, fresh)
            return
        try:
            known = None if hash in self._anew else self._cache.get_many([hash]).get(hash)
            if known is not None:
                n_paths = len(self._resolve(hash, known.info, None, release))
                self.n_cache_hits += n_paths
                return
            self.n_decoding += 1
            self._decoder.decode(content.data).add_done_callback(partial(self._decoded, hash, release))
        except Exception as e:
            self._abandon(hash, release, again=may_pass(e))
            if may_pass(e):
                raise _Abandoned from e
            logger.exception("could not deal with %r", claim.path)  # the next rescan brings them back

    # ------------------------------------------------------------ decoding and encoding (called by their threads)

    def _decoded(self, hash: ContentHash, release: Callable[[], None], future: Future[Decoded]) -> None:
        self.n_decoding -= 1
        try:
            decoded = future.result()
            encoding = self._embedder.embed_image(decoded.pixels)
        except Exception as e:  # noqa: BLE001  whatever it is, it is this picture's outcome
            self._failed(hash, release, e)
        else:
            encoding.add_done_callback(partial(self._encoded, hash, decoded.info, release))

    def _encoded(
        self, hash: ContentHash, info: ImageInfo, release: Callable[[], None], future: Future[NDArray[np.float16]]
    ) -> None:
        try:
            stored = StoredFeature(future.result(), info)
        except Exception as e:  # noqa: BLE001  as above
            self._failed(hash, release, e)
        else:
            self._resolve(hash, info, stored, release)

    def _failed(self, hash: ContentHash, release: Callable[[], None], error: Exception) -> None:
        """A picture that cannot be used is an outcome.

        The end of the service is none, the path comes back with the next scan; nor is a failure that may pass, where
        there is a feature from before.
        """
        if not isinstance(error, ImageRefused | Stopped):
            logger.error("a picture could not be encoded", exc_info=error)
            error = ImageRefused(Reason.DEVICE_FAILED, f"{type(error).__name__}: {error}")
        if isinstance(error, Stopped) or (hash in self._anew and error.reason.transient):
            self._abandon(hash, release)
            return
        for claim, done in self._take_claims(hash, release):
            self._finish(Refused(claim.path, claim.stamp, error.reason, error.detail), done)

    def _resolve(
        self, hash: ContentHash, info: ImageInfo, fresh: StoredFeature | None, release: Callable[[], None]
    ) -> list[_Claim]:
        """Every path that waited for this content has its outcome; until it is committed, `fresh` serves who comes."""

        def committed() -> None:
            release()
            with self._lock:
                self._uncommitted.pop(hash, None)

        claims = self._take_claims(hash, committed, fresh)
        for claim, done in claims:
            self._finish(Found(claim.path, claim.stamp, hash, info), done, fresh)
        return [claim for claim, _ in claims]

    def _abandon(self, hash: ContentHash, release: Callable[[], None], *, again: bool = False) -> None:
        for claim, done in self._take_claims(hash, release):
            done()
            if again:
                self._settle.add(claim.path)
            self._done(claim.path)

    def _take_claims(
        self, hash: ContentHash, release: Callable[[], None], fresh: StoredFeature | None = None
    ) -> list[tuple[_Claim, Callable[[], None]]]:
        """The waiting paths; the first one carries the picture's share of the budget."""
        with self._lock:
            claims = self._claims.pop(hash)
            if fresh is not None:
                self._anew.discard(hash)
                self._uncommitted[hash] = fresh
        return [(claim, release if i == 0 else _nothing) for i, claim in enumerate(claims)]

    def _finish(
        self,
        outcome: Found | Refused | Gone,
        release: Callable[[], None] = _nothing,
        fresh: StoredFeature | None = None,
    ) -> None:
        def finished() -> None:
            release()
            self._done(outcome.path)

        self._committer.offer(Result(outcome, finished, fresh))

    def _done(self, path: FilePath) -> None:
        self._settle.done(path)
        if path in self._brought and self._settle.state(path) is None:  # else it was added again meanwhile
            with self._lock:
                self._brought.discard(path)
