"""A running engine: what the doors talk to."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from types import TracebackType

import numpy as np

from indexer.duplicates.find import Finder
from indexer.engine.duplicating import Duplicating
from indexer.engine.examining import verifying_of, witnesses_of
from indexer.engine.inflow import Inflow
from indexer.engine.keeper import Keeper
from indexer.engine.live import Live, Topic
from indexer.engine.memory import Memory
from indexer.engine.parts import Parts
from indexer.engine.rebuilding import Rebuilding
from indexer.engine.retuning import Retuning, Tried
from indexer.engine.spaces import spaces_kept
from indexer.engine.standing import Means, StandingQueries
from indexer.engine.verifying import notices_of
from indexer.engine.webhook import Webhooks, check_url
from indexer.errors import InputError, NotFound
from indexer.restore import Restored, restore
from indexer.search.search import Search
from indexer.standing.matching import Matching
from indexer.store.data_dir import DataDir
from indexer.thumbnails import Thumbnails
from indexer.types import (
    EVERYWHERE,
    PLAIN,
    ContentHash,
    DuplicatePage,
    EmbeddedImage,
    Embeddings,
    EmbeddingSpace,
    Event,
    Explanation,
    FilePath,
    FileRecord,
    GpuMemory,
    ImageRecord,
    IndexNews,
    MemoryHistory,
    Newest,
    Options,
    Progress,
    Query,
    QueueState,
    Readiness,
    Released,
    SearchResult,
    StandingQuery,
    Stats,
    Tier,
    Tuning,
    VerifyReport,
    Where,
    is_at_or_below,
)
from indexer.why import explain

logger = logging.getLogger(__name__)

CHANGES_S = 0.25
STATE_S = 1.0
NEVER_S = 3600.0  # what is told by itself is not looked for


class RunningEngine:
    """Implements `indexer.ports.Engine` over opened parts. Made by `open_engine` and `open_reader`, not by hand.

    Args:
        parts: What answers.
        inflow: What brings changes; None for a reader, which only answers.
        publish: Writes the server's address where other commands find it.
        close_parts: Ends the parts, in the right order; called once.
        measure: Measures batches; None for a reader.
    """

    def __init__(
        self,
        parts: Parts,
        inflow: Inflow | None,
        publish: Callable[[str], None],
        close_parts: Callable[[], None],
        measure: Callable[[Tried], Tuning] | None = None,
    ) -> None:
        self.parts = parts
        """What answers; for those who check it."""
        self._inflow = inflow
        self._close_parts = close_parts
        self._lock = inflow.committer.lock if inflow else threading.Lock()
        self.publish = publish
        self._started_at = time.time()
        self._closing = threading.Lock()
        self._closed = False
        self._keeper = Keeper(
            parts.index,
            parts.snapshots,
            n_changes=lambda: inflow.committer.n_index_changes if inflow else 0,
        )
        self._search = Search(
            parts.embedder,
            parts.decoder,
            parts.index,
            parts.catalogue,
            parts.geometry,
            generation=lambda: self._keeper.generation,
            folders=parts.folders,
        )
        self._thumbnails = Thumbnails(parts.decoder, parts.read)
        self._duplicating = Duplicating(
            parts.catalogue,
            Finder(parts.index, parts.catalogue, parts.decoder, parts.read).find,
            n_changes=lambda: inflow.committer.n_index_changes if inflow else 0,
        )
        self._alone = threading.Lock()
        self._refilling = threading.Thread(target=self._refill, name="refill", daemon=True)
        self._rebuilding = Rebuilding(
            parts.catalogue,
            self._restore_anew,
            self._bring,
            n_on_their_way=lambda: inflow.river.n_on_their_way if inflow else 0,
            n_failed=self._n_failed,
            finished=self._keeper.save_anew,
            alone=self._alone,
        )
        self._verifying = verifying_of(parts, inflow, self._alone) if inflow else None
        self._retuning = Retuning(parts, measure, parts.embedder.limit_batch)
        self._memory = Memory(parts, n_waiting=lambda: len(inflow.settle) if inflow else 0)
        self._told: IndexNews | None = None
        self._live = Live(
            {
                "index": Topic(CHANGES_S, self._index_now, self._index_news),
                "queue": Topic(STATE_S, self.queue),
                "gpu": Topic(STATE_S, self.gpu_memory),
                "match": Topic(NEVER_S, lambda: None),
            }
        )
        self._standing = self._open_standing(parts, inflow) if inflow else None

    def start(self) -> RunningEngine:
        """Bring the index up to the catalogue, then begin to watch. Closes everything if that fails."""
        try:
            self._restore()
            self._live.start()
            if self._inflow:
                self._memory.start()
                self._inflow.start()
                self._keeper.start()
                self._refilling.start()
            if self._standing:
                self._standing.start()
            if self._verifying and self._inflow and self._inflow.watching:
                self._verifying.keep_time()
        except BaseException:
            self.close()
            raise
        return self

    def __enter__(self) -> RunningEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ asking

    @property
    def space(self) -> EmbeddingSpace:
        return self.parts.embedder.space

    @property
    def dims(self) -> tuple[int, int | None]:
        return self.parts.geometry.dims

    def search(self, query: Query, limit: int, offset: int = 0, options: Options = PLAIN) -> SearchResult:
        with self._memory.request():
            return self._search.search(query, limit, offset, options)

    def duplicates(self, tier: Tier, limit: int, offset: int = 0) -> DuplicatePage:
        return self._duplicating.page(tier, limit, offset)

    def standing(self) -> list[StandingQuery]:
        return self._standing.all() if self._standing else []

    def stand(self, query: StandingQuery) -> StandingQuery:
        if self._standing is None or self._inflow is None:
            raise InputError("this engine only answers; run a server to have questions stand")
        if query.webhook is not None:
            check_url(query.webhook, plain=self._inflow.premises.config.api.plain_webhooks)
        return self._standing.add(query)

    def unstand(self, id: str) -> None:
        if self._standing is None:
            raise NotFound(f"no standing query has the id {id}")
        self._standing.drop(id)

    def embed_images(self, images: Sequence[bytes]) -> list[EmbeddedImage]:
        with self._memory.request():
            return self._search.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        with self._memory.request():
            return self._search.embed_texts(texts)

    def image(self, id: str) -> ImageRecord:
        return self._search.image(id)

    def newest(self, limit: int, before: int | None = None, where: Where = EVERYWHERE) -> Newest:
        return self._search.newest(limit, before, where)

    def thumbnail(self, id: str, side_px: int) -> bytes:
        return self._thumbnails.get(self._search.image(id), side_px)

    def refused(self, limit: int, offset: int = 0) -> tuple[list[FileRecord], int]:
        n_refused = sum(self.parts.catalogue.counts().refused.values())
        return self.parts.catalogue.refused(limit, offset), n_refused

    def gpu_memory(self) -> GpuMemory:
        return self._memory.latest()

    def memory_history(self, seconds: int) -> MemoryHistory:
        return self._memory.history(seconds)

    def readiness(self) -> Readiness:
        lost = self.parts.embedder.trouble
        troubles = _troubles(self.parts.embedder.queue)
        leaks = self._memory.leaks
        checks = {
            "encoder": f"fail: {lost}" if lost else f"warn: {troubles[0]}" if troubles else "ok",
            "memory": f"warn: {leaks[0].sentence}" if leaks else "ok",
        }
        if self._inflow:
            trouble = self._inflow.trouble
            checks["store"] = f"warn: ingest is paused: {trouble}" if trouble else "ok"
            wrong = [state for state in self._inflow.watcher.state().values() if state not in ("events", "polling")]
            checks["watch"] = f"warn: {wrong[0]}" if wrong else "ok"
        return Readiness(not (self._closed or lost), checks)

    def stats(self) -> Stats:
        parts, inflow = self.parts, self._inflow
        counts = parts.catalogue.counts()
        queue = self.queue()
        verifying = self._verifying.progress if self._verifying else None
        tasks = (self._rebuilding.progress, verifying, self._duplicating.progress, self._retuning.progress)
        return Stats(
            model=parts.embedder.space.model,
            fingerprint=parts.embedder.space.fingerprint,
            precision=parts.embedder.space.precision,
            device=parts.device,
            started_at=self._started_at,
            files=counts.files,
            indexed=len(parts.index),
            errors=sum(counts.refused.values()),
            errors_by_reason={reason.value: n for reason, n in counts.refused.items()},
            pending=len(inflow.settle) if inflow else 0,
            oldest_pending_s=inflow.settle.oldest_s if inflow else 0.0,
            encoded_total=parts.embedder.n_encoded,
            cache_hits_total=inflow.river.n_cache_hits if inflow else 0,
            removed_total=inflow.committer.n_removed if inflow else 0,
            generation=self._keeper.generation,
            index_bytes=parts.index.n_bytes,
            images_per_s=queue.images_per_s,
            limited_by=queue.limited_by,
            progress=tuple(filter(None, tasks)),
            watching=inflow.watcher.state() if inflow else {},
            notices=(
                *(inflow.notices() if inflow else ()),
                *_troubles(queue),
                *notices_of(self.verify_report()),
            ),
            spaces=spaces_kept(parts.index_dir.parent, parts.index_dir.name),
            verify=self.verify_report(),
            leaks=self._memory.leaks,
            batch_size=self._retuning.batch.size,
            batch_size_from=self._retuning.batch.source,
            point=parts.index.point,
            queue=queue,
        )

    def queue(self) -> QueueState:
        return replace(self.parts.embedder.queue, limited_by=self._inflow.limited_by() if self._inflow else "idle")

    def tuning(self) -> Tuning:
        return self._retuning.tuning

    def why(self, path: FilePath) -> Explanation:
        if self._inflow is None:
            raise InputError("this engine only answers; it does not know the folders")
        return explain(path, witnesses_of(self.parts, self._inflow))

    def listen(self, topics: Collection[str], tell: Callable[[Event], None]) -> Callable[[], None]:
        return self._live.listen(topics, tell)

    # ------------------------------------------------------------ doing

    def rescan(self, *, confirm_gone: bool = False) -> None:
        if self._inflow is None:
            raise InputError("this engine only answers; run a server to watch folders")
        self._inflow.rescans.request_all("asked for", confirm=confirm_gone)

    def retry(self, path: FilePath | None = None) -> int:
        if self._inflow is None:
            raise InputError("this engine only answers; it cannot read files")
        records, _ = self.refused(sys.maxsize)
        paths = [record.path for record in records if path is None or is_at_or_below(record.path, path)]
        self._inflow.river.retry(paths)
        return len(paths)

    def release_memory(self) -> Released:
        return self._memory.release()

    def rebuild(self, *, reencode: bool = False) -> Progress:
        if self._inflow is None:
            raise InputError("this engine only answers; it cannot rebuild")
        return self._rebuilding.start(reencode=reencode)

    def rebuild_progress(self) -> Progress | None:
        """The running or the last rebuild."""
        return self._rebuilding.progress

    def tune(self) -> Progress:
        return self._retuning.start()

    def verify(self, *, sample: int = 0, repair: bool = False) -> Progress:
        if self._verifying is None:
            raise InputError("this engine only answers; it cannot verify")
        return self._verifying.start(sample=sample, repair=repair)

    def verify_progress(self) -> Progress | None:
        """The running or the last verification."""
        return self._verifying.progress if self._verifying else None

    def verify_report(self) -> VerifyReport | None:
        """What the last verification found, also over restarts."""
        return self._verifying.report if self._verifying else None

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until nothing is dirty, on its way, or being scanned; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self._at_rest():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """Stop taking changes, commit what is on its way, save, and give everything back. Again is no error."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            try:
                self._drain()
            finally:
                self._close_parts()

    # ------------------------------------------------------------ inside

    def _drain(self) -> None:
        self._live.close()
        self._duplicating.close()
        if self._standing:
            self._standing.close()
        self._memory.close()
        if self._verifying:
            self._verifying.close()
        if self._refilling.ident is not None:
            self._refilling.join()
        self._rebuilding.close()
        self._retuning.close()
        if self._inflow:
            self._inflow.stop()
        self.parts.decoder.close()
        self.parts.embedder.close()
        if self._inflow:
            self._inflow.committer.close()
            self._keeper.close()

    def _open_standing(self, parts: Parts, inflow: Inflow) -> StandingQueries:
        def cut(query: StandingQuery) -> float | None:
            return self._search.search(query.query, 1, 0, Options(where=query.where)).cut_score

        means = Means(
            parts.index,
            parts.catalogue,
            Matching(parts.index, parts.catalogue, parts.geometry, parts.folders),
            aim=lambda query: self._search.aim(query).aim,
            cut=cut,
            publish=lambda match: self._live.publish("match", match),
        )
        kept = DataDir(inflow.premises.config.store_dir).standing
        queries = StandingQueries(kept, means, Webhooks())
        inflow.changes.also_tell = queries.note
        return queries

    def _restore(self) -> None:
        """Newest snapshot, mended by the catalogue; what has no feature goes back into the river."""
        started = time.monotonic()
        parts = self.parts
        generation = self._keeper.generation = parts.snapshots.load_into(parts.index)
        done = restore(parts.catalogue, parts.cache, parts.index, parts.geometry, self._lock)
        logger.info(
            "restored %d images (generation %d, %d from the feature cache, %d to encode) in %.2f s",
            len(parts.index), generation, done.n_restored, len(done.missing), time.monotonic() - started,
        )  # fmt: skip
        if self._inflow:
            self._inflow.committer.n_index_changes += done.n_restored + done.n_removed
            for path in parts.catalogue.paths_of(done.missing):
                self._inflow.settle.add(path)

    def _refill(self) -> None:
        """Beside the service: a feature that is lost costs nobody an answer, only encoding when it is next needed."""
        assert self._inflow
        try:
            to_encode = self._inflow.refill(lambda: not self._closed)
            while to_encode and not self._closed:
                if self._alone.acquire(timeout=0.2):  # not beside a rebuild, which would be cut short
                    self._bring(to_encode, True)
                    self._alone.release()
                    return
        except Exception:  # a worker's loop: the next start tries again
            logger.exception("lost features could not be given back")

    def _restore_anew(self, on_progress: Callable[[int, int], None]) -> Restored:
        parts = self.parts
        return restore(
            parts.catalogue, parts.cache, parts.index, parts.geometry, self._lock,
            anew=True, on_progress=on_progress,
        )  # fmt: skip

    def _bring(self, hashes: Sequence[ContentHash], anew: bool) -> None:
        assert self._inflow
        self._inflow.bring(hashes, anew=anew)

    def _n_failed(self, hashes: Sequence[ContentHash], anew: bool) -> int:
        assert self._inflow
        if anew:
            return self._inflow.river.end_anew()
        ids = np.fromiter(self.parts.catalogue.ids_of(hashes).values(), dtype=np.int64)
        return int(np.count_nonzero(~self.parts.index.contains(ids)))

    def _index_now(self) -> IndexNews:
        counts = self.parts.catalogue.counts()
        return IndexNews(
            indexed=len(self.parts.index),
            files=counts.files,
            pending=len(self._inflow.settle) if self._inflow else 0,
            errors=sum(counts.refused.values()),
            generation=self._keeper.generation,
        )

    def _index_news(self) -> IndexNews | None:
        """What has changed since the last call; None for nothing."""
        added, n_removed = self._inflow.changes.take() if self._inflow else ((), 0)
        now = self._index_now()
        if now == self._told and not (added or n_removed):
            return None
        self._told = now
        return replace(now, added=added, removed=n_removed)

    def _at_rest(self) -> bool:
        return self._inflow is None or (self._inflow.at_rest() and not self._refilling.is_alive())


def _troubles(queue: QueueState) -> list[str]:
    """What is wrong with encoders, each once."""
    return list(dict.fromkeys(load.trouble for load in queue.devices if load.trouble))
