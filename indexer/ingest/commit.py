"""The end of the river: features first, then the catalogue (the acknowledgement), then the index."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.errors import IndexerError, StoreCorrupt, StoreFull
from indexer.geometry import Geometry
from indexer.ports import Catalogue, FeatureCache, VectorIndex
from indexer.types import Committed, ContentHash, FilePath, Found, Gone, Outcome, Reason, Refused, StoredFeature

logger = logging.getLogger(__name__)

# One transaction costs an fsync whatever its size; more than this only delays the acknowledgement of the first.
MAX_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Result:
    """One path's outcome, and the feature if the encoder just made it; `finished` is called once it is committed."""

    outcome: Outcome
    finished: Callable[[], None]
    feature: StoredFeature | None = None


class Committer:
    """One thread that commits whatever has come in since it last did, in one transaction, and never waits for more.

    A full disk pauses it: the batch is kept and tried again, search goes on, nothing is lost. A batch that fails twice
    for another reason is taken apart: what cannot be stored even alone is refused, and the rest is stored.

    Args:
        catalogue, cache, index, geometry: Where results go.
        make_dirty: Called with paths whose feature was lost between the look and the commit.
        retry_s: Pause between tries while the store cannot be written.
        announce: Called with the contents that have just become searchable, and how many are so no more; cheap.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        cache: FeatureCache,
        index: VectorIndex,
        geometry: Geometry,
        make_dirty: Callable[[FilePath], None],
        retry_s: float = 2.0,
        announce: Callable[[Sequence[ContentHash], int], None] = lambda _added, _n_removed: None,
    ) -> None:
        self._announce = announce
        self._catalogue = catalogue
        self._cache = cache
        self._index = index
        self._geometry = geometry
        self._make_dirty = make_dirty
        self._retry_s = retry_s
        self._results: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self.lock = threading.Lock()
        """Held while a batch goes into the index; whoever compares index and catalogue holds it too."""
        self.n_done = 0
        """Outcomes committed since the start."""
        self.n_removed = 0
        self.n_index_changes = 0
        """Rows added, overwritten or removed since the start."""
        self.trouble: str | None = None
        """Why nothing can be committed now."""

    def start(self) -> None:
        self._thread.start()

    def offer(self, result: Result) -> None:
        """Queue one result. Never blocks: what is on its way is bounded at the river's head."""
        self._results.put(result)

    @property
    def n_waiting(self) -> int:
        return self._results.qsize()

    def close(self) -> None:
        """Commit what was offered (unless the store cannot be written), then end."""
        self._stopping.set()
        self._results.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            while not self._try_store(batch):
                if self._stopping.wait(self._retry_s):
                    logger.error("%d results could not be stored before the end: %s", len(batch), self.trouble)
                    return
            self.n_done += len(batch)
            for result in batch:
                result.finished()

    def _next_batch(self) -> list[Result]:
        """Everything that waits, at least one; empty when the end was reached."""
        first = self._results.get()
        batch = [first] if first is not None else []
        while first is not None and len(batch) < MAX_BATCH:
            try:
                following = self._results.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._results.put(None)  # the end comes after this batch
                break
            batch.append(following)
        return batch

    def _try_store(self, batch: Sequence[Result]) -> bool:
        error = self._failure(batch)
        again = self.trouble is not None or self._stopping.is_set()
        if error is not None and again and not _is_the_stores(error):
            error = self._store_apart(batch, error)
        if error is not None:
            if self.trouble is None:
                unknown = error if not isinstance(error, IndexerError) else None
                logger.error("ingest is paused: %s", error, exc_info=unknown)
            self.trouble = str(error) if isinstance(error, StoreFull) else f"{type(error).__name__}: {error}"
            return False
        if self.trouble is not None:
            logger.warning("ingest goes on")
            self.trouble = None
        return True

    def _failure(self, batch: Sequence[Result]) -> Exception | None:
        """Store the batch; why that was not possible."""
        try:
            self._store(batch)
        except Exception as e:  # noqa: BLE001  a worker's loop: one bad batch must not end it
            return e
        return None

    def _store_apart(self, batch: Sequence[Result], error: Exception) -> Exception | None:
        """Find what the failed batch cannot be stored for, in halves, and refuse it; why the store takes nothing."""
        if len(batch) == 1:
            return self._refuse(batch[0], error)
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            wrong = self._failure(half)
            if wrong is not None and not _is_the_stores(wrong):
                wrong = self._store_apart(half, wrong)
            if wrong is not None:
                return wrong
        return None

    def _refuse(self, result: Result, error: Exception) -> Exception | None:
        """Record a refusal in the place of an outcome. A store that does not take even that is itself to blame."""
        if isinstance(result.outcome, Gone):
            return error
        detail = f"{type(error).__name__}: {error}"
        refused = Refused(result.outcome.path, result.outcome.stamp, Reason.NOT_STORABLE, detail)
        wrong = self._failure([Result(refused, result.finished)])
        if wrong is None:
            logger.error("%r cannot be stored and is refused", refused.path, exc_info=error)
        return wrong

    def _store(self, batch: Sequence[Result]) -> None:
        fresh = {r.outcome.hash: r.feature for r in batch if isinstance(r.outcome, Found) and r.feature is not None}
        if fresh:
            self._cache.put_many(fresh)
        with self.lock:
            committed = self._catalogue.commit([result.outcome for result in batch])
            n_removed = self._remove(committed)
            added, lost = self._add(committed, fresh)
        if added or n_removed:
            self._announce(added, n_removed)
        self.n_removed += sum(isinstance(result.outcome, Gone) for result in batch)
        for result in batch:
            if isinstance(result.outcome, Found) and result.outcome.hash in lost:
                self._make_dirty(result.outcome.path)

    def _remove(self, committed: Committed) -> int:
        n_removed = self._index.remove(np.array(committed.removed, dtype=np.int64)) if committed.removed else 0
        self.n_index_changes += n_removed
        return n_removed

    def _add(
        self, committed: Committed, fresh: dict[ContentHash, StoredFeature]
    ) -> tuple[list[ContentHash], set[ContentHash]]:
        """Give every content of the batch its row; those that had none, and those whose feature is nowhere any more."""
        if not committed.ids:
            return [], set()
        hashes = list(committed.ids)
        present = self._index.contains(np.array([committed.ids[h] for h in hashes], dtype=np.int64))
        rowless = [h for h, there in zip(hashes, present, strict=True) if not there]
        absent = [h for h in rowless if h not in fresh]
        features = fresh | self._cache.get_many(absent) if absent else fresh
        upsert(self._index, self._geometry, [(committed.ids[h], f) for h, f in features.items() if h in committed.ids])
        self.n_index_changes += len(features)
        return [h for h in rowless if h in features], {h for h in absent if h not in features}


def _is_the_stores(error: Exception) -> bool:
    """Whether no outcome is to blame, so that the whole batch waits. Damage may be met by one path only."""
    return isinstance(error, IndexerError | OSError | MemoryError) and not isinstance(error, StoreCorrupt)


def upsert(index: VectorIndex, geometry: Geometry, features: Iterable[tuple[int, StoredFeature]]) -> None:
    """Put features under their ids into the index."""
    pairs = list(features)
    if not pairs:
        return
    rows, norms = geometry.rows(np.stack([stored.feature for _, stored in pairs]))
    index.upsert(np.array([vector_id for vector_id, _ in pairs], dtype=np.int64), rows, norms)
