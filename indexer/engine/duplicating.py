"""Duplicates, searched for in the background, and kept until the index changes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from indexer.duplicates.find import Duplicates
from indexer.duplicates.groups import Group
from indexer.errors import Stopped, StoreError
from indexer.ports import CatalogueReading
from indexer.types import DuplicateGroup, DuplicatePage, ImageRecord, Progress, Tier

logger = logging.getLogger(__name__)

Report = Callable[[int, int], None]

PATIENCE_S: Final = 1.0
"""How long an answer waits for a search to end; a small index takes less."""


@dataclass(frozen=True, slots=True)
class _Kept:
    n_changes: int
    found: Duplicates


class Duplicating:
    """Runs one search at a time in a thread of its own, when somebody asks and the index has changed.

    Args:
        catalogue: Names the pictures.
        find: Finds all groups; reports how far it is.
        n_changes: Rows changed in the index since the start.
        patience_s: See `PATIENCE_S`.
    """

    def __init__(
        self,
        catalogue: CatalogueReading,
        find: Callable[[Report], Duplicates],
        n_changes: Callable[[], int],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._catalogue = catalogue
        self._find = find
        self._n_changes = n_changes
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._kept: _Kept | None = None
        self._progress: Progress | None = None

    @property
    def progress(self) -> Progress | None:
        """The running or the last search."""
        return self._progress

    def page(self, tier: Tier, limit: int, offset: int = 0) -> DuplicatePage:
        """As `indexer.ports.Engine.duplicates`; raises `StoreError` if the first search has failed."""
        started = time.perf_counter()
        if tier is Tier.SAME:
            ids = self._catalogue.copied().tolist()
            groups = [Group(1.0, (id,)) for id in ids]
            return self._page(groups, limit, offset, None, True, started)
        progress = self._refreshed()
        kept = self._kept
        if kept is None and progress is not None and not progress.running:
            raise StoreError(f"duplicates could not be searched for: {progress.error}")
        found = kept.found if kept else Duplicates((), ())
        of_tier = found.variants if tier is Tier.VARIANT else found.similar
        return self._page(of_tier, limit, offset, progress, kept is not None, started)

    def close(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _refreshed(self) -> Progress | None:
        """Search unless what is kept is the newest; the search that has not ended yet, or has failed."""
        with self._lock:
            if self._kept is not None and self._kept.n_changes == self._n_changes():
                return None
            if self._progress is None or not self._progress.running:
                if self._stopping.is_set():
                    raise Stopped("the service is going down")
                self._ended.clear()
                self._progress = Progress("duplicates", True, 0, 0, 0.0, None)
                self._thread = threading.Thread(target=self._run, name="duplicates", daemon=True)
                self._thread.start()
        self._ended.wait(self._patience_s)
        progress = self._progress
        return progress if progress.running or progress.error else None

    def _run(self) -> None:
        started = time.monotonic()
        error = ""
        summary: dict[str, int | float] = {}
        try:
            n_changes = self._n_changes()
            found = self._find(lambda n_done, n_total: self._report(started, n_done, n_total))
            self._kept = _Kept(n_changes, found)
            summary = {"variants": len(found.variants), "similar": len(found.similar)}
        except Stopped as e:
            error = str(e)
        except Exception as e:  # a worker's loop: the reason goes to whoever asks, the next question tries again
            logger.exception("the search for duplicates failed")
            error = str(e) or type(e).__name__
        summary["seconds"] = round(time.monotonic() - started, 3)
        assert self._progress is not None
        self._progress = replace(self._progress, running=False, eta_s=0.0, summary=summary, error=error)
        self._ended.set()

    def _report(self, started: float, n_done: int, n_total: int) -> None:
        if self._stopping.is_set():
            raise Stopped("the service is going down")
        rate = n_done / max(time.monotonic() - started, 1e-3)
        eta_s = (n_total - n_done) / rate if rate > 0 else None
        self._progress = Progress("duplicates", True, n_done, n_total, rate, eta_s)

    def _page(
        self,
        groups: Sequence[Group],
        limit: int,
        offset: int,
        progress: Progress | None,
        known: bool,
        started: float,
    ) -> DuplicatePage:
        some = groups[offset : offset + limit]
        records = self._catalogue.images([id for group in some for id in group.ids])
        shown = []
        for group in some:
            images = sorted((records[id] for id in group.ids if id in records), key=_by_size)
            if len(images) > 1 or any(len(image.paths) > 1 for image in images):  # the others have gone since
                shown.append(DuplicateGroup(group.score, tuple(images)))
        total_ms = (time.perf_counter() - started) * 1e3
        return DuplicatePage(tuple(shown), len(groups), progress, known, total_ms)


def _by_size(record: ImageRecord) -> tuple[int, int, int]:
    return -record.info.width_px * record.info.height_px, -record.info.size_bytes, record.vector_id
