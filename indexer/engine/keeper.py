"""Housekeeping beside the river: snapshots now and then, and a look at how it goes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from indexer.errors import StoreError
from indexer.ports import Snapshots, VectorIndex

logger = logging.getLogger(__name__)

# A snapshot only spares the next start some reading, so it may take at most a twentieth of the time.
SNAPSHOT_S = 60.0
SNAPSHOT_SHARE = 20
LOOK_S = 1.0


class Keeper:
    """One thread that looks every `LOOK_S`.

    Args:
        index, snapshots: What is saved, and where.
        n_changes: Rows changed in the index since the start.
        look: Called each time; quick.
    """

    def __init__(
        self,
        index: VectorIndex,
        snapshots: Snapshots,
        n_changes: Callable[[], int],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._index = index
        self._snapshots = snapshots
        self._n_changes = n_changes
        self._look = look
        self.generation = 0
        """Number of the snapshot that was loaded or written last; 0 for none."""
        self._saved_at_change = 0
        self._next_save = time.monotonic() + SNAPSHOT_S
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def save(self) -> None:
        """Write a snapshot if the index has changed since the last; if that fails, the next start takes longer."""
        with self._lock:
            n_changes = self._n_changes()
            if n_changes == self._saved_at_change and self.generation:
                return
            self._write(n_changes)

    def save_anew(self) -> None:
        """Write a snapshot whatever has changed."""
        with self._lock:
            self._write(self._n_changes())

    def close(self) -> None:
        """End, and save once more."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.save()

    def _write(self, n_changes: int) -> None:
        started = time.monotonic()
        try:
            self.generation = self._snapshots.save(self._index)
        except StoreError as e:
            logger.warning("no snapshot: %s", e)
            return
        finally:
            took_s = time.monotonic() - started
            self._next_save = time.monotonic() + max(SNAPSHOT_S, SNAPSHOT_SHARE * took_s)
        self._saved_at_change = n_changes
        logger.info("saved generation %d, %d rows, in %.2f s", self.generation, len(self._index), took_s)

    def _run(self) -> None:
        while not self._closed.wait(LOOK_S):
            self._look()
            if time.monotonic() >= self._next_save:
                try:
                    self.save()
                except Exception:  # a worker's loop: the next minute tries again
                    logger.exception("the snapshot failed")
