"""What a running engine tells of itself: its figures, its checks and its news."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from indexer.engine.inflow import Inflow
from indexer.engine.keeper import Keeper
from indexer.engine.memory import Memory
from indexer.engine.parts import Parts
from indexer.engine.questions import Questions
from indexer.engine.spaces import spaces_kept
from indexer.engine.verifying import notices_of
from indexer.types import BatchLimit, IndexNews, Progress, QueueState, Readiness, Stats, VerifyReport


@dataclass(frozen=True, slots=True)
class Tasks:
    """What else is asked for the figures.

    Attributes:
        progress: Of every task that runs or has run.
        questions: What is being answered.
        report: The last verification's.
        batch: Pictures in a batch at most.
    """

    progress: Callable[[], Iterable[Progress | None]]
    questions: Questions
    report: Callable[[], VerifyReport | None]
    batch: Callable[[], BatchLimit]


class State:
    """Reads the parts when asked; it keeps nothing but when it began and what news it told last."""

    def __init__(self, parts: Parts, inflow: Inflow | None, keeper: Keeper, memory: Memory, tasks: Tasks) -> None:
        self._parts = parts
        self._inflow = inflow
        self._keeper = keeper
        self._memory = memory
        self._tasks = tasks
        self._started_at = time.time()
        self._told: IndexNews | None = None

    def readiness(self) -> Readiness:
        lost, index = self._parts.embedder.trouble, self._parts.index.trouble
        troubles = _troubles(self._parts.embedder.queue)
        overdue = self._tasks.questions.trouble
        leaks = self._memory.leaks
        checks = {
            "answers": f"fail: {overdue}" if overdue else "ok",
            "encoder": f"fail: {lost}" if lost else f"warn: {troubles[0]}" if troubles else "ok",
            "index": f"fail: {index}" if index else "ok",
            "memory": f"warn: {leaks[0].sentence}" if leaks else "ok",
        }
        if self._inflow:
            trouble = self._inflow.trouble
            checks["store"] = f"warn: ingest is paused: {trouble}" if trouble else "ok"
            wrong = [state for state in self._inflow.watcher.state().values() if state not in ("events", "polling")]
            checks["watch"] = f"warn: {wrong[0]}" if wrong else "ok"
        return Readiness(not (lost or index or overdue), checks)

    def stats(self) -> Stats:
        parts, inflow = self._parts, self._inflow
        counts = parts.catalogue.counts()
        queue = self.queue()
        report = self._tasks.report()
        batch = self._tasks.batch()
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
            progress=tuple(filter(None, self._tasks.progress())),
            watching=inflow.watcher.state() if inflow else {},
            notices=(*(inflow.notices() if inflow else ()), *_troubles(queue), *notices_of(report)),
            spaces=spaces_kept(parts.index_dir.parent, parts.index_dir.name),
            verify=report,
            leaks=self._memory.leaks,
            batch_size=batch.size,
            batch_size_from=batch.source,
            point=parts.index.point,
            queue=queue,
        )

    def queue(self) -> QueueState:
        return replace(self._parts.embedder.queue, limited_by=self._inflow.limited_by() if self._inflow else "idle")

    def index(self) -> IndexNews:
        """What can be found now."""
        counts = self._parts.catalogue.counts()
        return IndexNews(
            indexed=len(self._parts.index),
            files=counts.files,
            pending=len(self._inflow.settle) if self._inflow else 0,
            errors=sum(counts.refused.values()),
            generation=self._keeper.generation,
        )

    def index_news(self) -> IndexNews | None:
        """What has changed since the last call; None for nothing."""
        added, n_removed = self._inflow.changes.take() if self._inflow else ((), 0)
        now = self.index()
        if now == self._told and not (added or n_removed):
            return None
        self._told = now
        return replace(now, added=added, removed=n_removed)


def _troubles(queue: QueueState) -> list[str]:
    """What is wrong with encoders, each once."""
    return list(dict.fromkeys(load.trouble for load in queue.devices if load.trouble))
