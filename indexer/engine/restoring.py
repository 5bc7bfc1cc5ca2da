"""Rows for the index: from the newest snapshot, from the feature cache, and by encoding what neither has."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from indexer.engine.inflow import Inflow
from indexer.engine.keeper import Keeper
from indexer.engine.parts import Parts
from indexer.restore import Restored, restore
from indexer.types import ContentHash

logger = logging.getLogger(__name__)


class Restoring:
    """Brings the index up to the catalogue at the start, gives lost features back beside the service, and rebuilds.

    Args:
        parts: What answers.
        inflow: What encodes; None for a reader, which has only what is stored.
        keeper: Of the snapshots.
        going_on: Whether the service is to go on.
        alone: Held while lost features are encoded: not beside a rebuild, which would be cut short.
    """

    def __init__(
        self,
        parts: Parts,
        inflow: Inflow | None,
        keeper: Keeper,
        going_on: Callable[[], bool],
        alone: threading.Lock,
    ) -> None:
        self._parts = parts
        self._inflow = inflow
        self._keeper = keeper
        self._going_on = going_on
        self._alone = alone
        self._lock = inflow.committer.lock if inflow else threading.Lock()
        self._refilling = threading.Thread(target=self._refill, name="refill", daemon=True)

    def restore(self) -> None:
        """Newest snapshot, mended by the catalogue; what has no feature goes back into the river."""
        started = time.monotonic()
        parts = self._parts
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

    def restore_anew(self, on_progress: Callable[[int, int], None]) -> Restored:
        """Every row once more, from the feature cache."""
        parts = self._parts
        return restore(
            parts.catalogue, parts.cache, parts.index, parts.geometry, self._lock,
            anew=True, on_progress=on_progress,
        )  # fmt: skip

    def bring(self, hashes: Sequence[ContentHash], anew: bool) -> None:
        """Send contents through the river."""
        assert self._inflow
        self._inflow.bring(hashes, anew=anew)

    def n_failed(self, hashes: Sequence[ContentHash], anew: bool) -> int:
        """How many of the contents that were brought are as they were before."""
        assert self._inflow
        if anew:
            return self._inflow.river.end_anew()
        ids = np.fromiter(self._parts.catalogue.ids_of(hashes).values(), dtype=np.int64)
        return int(np.count_nonzero(~self._parts.index.contains(ids)))

    def start_refilling(self) -> None:
        """Look for lost features beside the service: one costs nobody an answer, only encoding when it is needed."""
        self._refilling.start()

    @property
    def refilling(self) -> bool:
        """Whether lost features are being looked for or encoded."""
        return self._refilling.is_alive()

    def close(self) -> None:
        if self._refilling.ident is not None:
            self._refilling.join()

    def _refill(self) -> None:
        assert self._inflow
        try:
            to_encode = self._inflow.refill(self._going_on)
            while to_encode and self._going_on():
                if self._alone.acquire(timeout=0.2):
                    self.bring(to_encode, True)
                    self._alone.release()
                    return
        except Exception:  # a worker's loop: the next start tries again
            logger.exception("lost features could not be given back")
