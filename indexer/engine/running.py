"""A running engine: what the doors talk to."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType

from indexer.duplicates.find import Finder
from indexer.engine.duplicating import Duplicating
from indexer.engine.examining import verifying_of, witnesses_of
from indexer.engine.inflow import Inflow
from indexer.engine.keeper import Keeper
from indexer.engine.live import Live, Topic
from indexer.engine.memory import Memory
from indexer.engine.pace import Pace
from indexer.engine.parts import Parts
from indexer.engine.questions import Questions
from indexer.engine.rebuilding import Rebuilding
from indexer.engine.restoring import Restoring
from indexer.engine.retuning import Retuning, Tried
from indexer.engine.standing import Means, StandingQueries
from indexer.engine.state import State, Tasks
from indexer.engine.webhook import Webhooks, check_url
from indexer.errors import InputError, NotFound
from indexer.search.search import Search
from indexer.standing.matching import Matching
from indexer.store.data_dir import DataDir
from indexer.thumbnails import Thumbnails
from indexer.types import (
    EVERYWHERE,
    PLAIN,
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
        self.publish = publish
        self._closing = threading.Lock()
        self._closed = False
        self._pace = (
            Pace(lambda: len(inflow.settle), lambda: inflow.committer.n_done, inflow.limited_by) if inflow else None
        )
        self._keeper = Keeper(
            parts.index,
            parts.snapshots,
            n_changes=lambda: inflow.committer.n_index_changes if inflow else 0,
            look=self._pace.look if self._pace else lambda: None,
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
            Finder(parts.index, parts.catalogue, parts.decoder, parts.read, parts.looks).find,
            n_changes=lambda: inflow.committer.n_index_changes if inflow else 0,
        )
        alone = threading.Lock()
        self._restoring = Restoring(parts, inflow, self._keeper, lambda: not self._closed, alone)
        self._rebuilding = Rebuilding(
            parts.catalogue,
            self._restoring.restore_anew,
            self._restoring.bring,
            n_on_their_way=lambda: inflow.river.n_on_their_way if inflow else 0,
            n_failed=self._restoring.n_failed,
            finished=self._keeper.save_anew,
            alone=alone,
        )
        self._verifying = verifying_of(parts, inflow, alone) if inflow else None
        self._retuning = Retuning(parts, measure, parts.embedder.limit_batch)
        self._questions = Questions()
        self._memory = Memory(
            parts,
            n_waiting=lambda: len(inflow.settle) if inflow else 0,
            at_task=lambda: self._restoring.refilling or any(each and each.running for each in self._tasks()),
        )
        self._state = State(
            parts,
            inflow,
            self._keeper,
            self._memory,
            Tasks(
                progress=self._tasks,
                questions=self._questions,
                report=self.verify_report,
                batch=lambda: self._retuning.batch,
            ),
        )
        self._live = Live(
            {
                "index": Topic(CHANGES_S, self._state.index, self._state.index_news),
                "queue": Topic(STATE_S, self._state.queue),
                "gpu": Topic(STATE_S, self.gpu_memory),
                "match": Topic(NEVER_S, lambda: None),
            }
        )
        self._standing = self._open_standing(parts, inflow) if inflow else None

    def start(self) -> RunningEngine:
        """Bring the index up to the catalogue, then begin to watch. Closes everything if that fails."""
        try:
            self._restoring.restore()
            self._live.start()
            if self._inflow:
                self._memory.start()
                self._inflow.start()
                self._keeper.start()
                self._restoring.start_refilling()
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
        with self._asked():
            return self._search.search(query, limit, offset, options)

    def duplicates(self, tier: Tier, limit: int, offset: int = 0) -> DuplicatePage:
        with self._asked():
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
        with self._asked():
            return self._search.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        with self._asked():
            return self._search.embed_texts(texts)

    def image(self, id: str) -> ImageRecord:
        return self._search.image(id)

    def newest(self, limit: int, before: int | None = None, where: Where = EVERYWHERE) -> Newest:
        with self._asked():
            return self._search.newest(limit, before, where)

    def thumbnail(self, id: str, side_px: int) -> bytes:
        with self._asked():
            return self._thumbnails.get(self._search.image(id), side_px)

    def refused(self, limit: int, offset: int = 0) -> tuple[list[FileRecord], int]:
        n_refused = sum(self.parts.catalogue.counts().refused.values())
        return self.parts.catalogue.refused(limit, offset), n_refused

    def gpu_memory(self) -> GpuMemory:
        return self._memory.latest()

    def memory_history(self, seconds: int) -> MemoryHistory:
        return self._memory.history(seconds)

    def readiness(self) -> Readiness:
        now = self._state.readiness()
        return replace(now, ready=now.ready and not self._closed)

    def stats(self) -> Stats:
        return self._state.stats()

    def queue(self) -> QueueState:
        return self._state.queue()

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

    def _tasks(self) -> tuple[Progress | None, ...]:
        pace = self._pace.progress if self._pace else None
        tasks = (pace, self._rebuilding.progress, self.verify_progress(), self._duplicating.progress)
        return (*tasks, self._retuning.progress)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        with self._questions.asked(), self._memory.request():
            yield

    def _drain(self) -> None:
        self._live.close()
        self._duplicating.close()
        if self._standing:
            self._standing.close()
        self._memory.close()
        if self._verifying:
            self._verifying.close()
        self._restoring.close()
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

    def _at_rest(self) -> bool:
        return self._inflow is None or (self._inflow.at_rest() and not self._restoring.refilling)
