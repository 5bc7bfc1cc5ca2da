"""Duplicates, searched for in the background, and kept until the index changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from indexer.duplicates.find import Duplicates
from indexer.duplicates.groups import Group
from indexer.engine.task import Summary, Task
from indexer.errors import StoreError
from indexer.ports import CatalogueReading
from indexer.types import DuplicateGroup, DuplicatePage, ImageRecord, Progress, Tier

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
        self._task = Task("duplicates", "the search for duplicates failed")
        self._kept: _Kept | None = None

    @property
    def progress(self) -> Progress | None:
        """The running or the last search."""
        return self._task.progress

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
        self._task.close()

    def _refreshed(self) -> Progress | None:
        """Search unless what is kept is the newest; the search that has not ended yet, or has failed."""
        if self._kept is not None and self._kept.n_changes == self._n_changes():
            return None
        progress = self._task.progress
        if progress is None or not progress.running:
            self._task.start("duplicates", self._run)
        self._task.wait(self._patience_s)
        progress = self._task.progress
        return progress if progress is not None and (progress.running or progress.error) else None

    def _run(self) -> Summary:
        n_changes = self._n_changes()
        found = self._find(self._task.report)
        self._kept = _Kept(n_changes, found)
        return {"variants": len(found.variants), "similar": len(found.similar)}

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
