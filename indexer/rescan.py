"""What events miss, comparing the folders with the catalogue finds: at the start, now and then, and when asked."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence, Set

from indexer.errors import CapacityError, StoreError, may_pass
from indexer.ports import CatalogueReading, Scanner, Settle
from indexer.types import MOVED_AWAY, FilePath, Stamp, display_path, is_at_or_below

logger = logging.getLogger(__name__)

_Kept = tuple[int, int, int, int]


class Rescans:
    """One thread that scans the folders it is asked for, one after another, and every folder once in `every_s`.

    Args:
        folders: The watched folders.
        scanner, catalogue: Truth and what is known of it.
        settle: Where differing paths go.
        doubt: Why missing files at or below a folder are not believed to be gone; None when they are. Called with the
            folder, how many are missing, and how many of these are not there under another name.
        accept: Called with each folder that was scanned without doubt: what stands there is what is recorded.
        unsearchable: Recorded paths below a watched folder whose content has no row: asked after each scan of it, for
            neither events nor stamps tell of them.
        every_s: Time between full scans, seconds.
        retry_s: Time after which a scan that failed for want of descriptors, or of the store, is tried again.
    """

    def __init__(
        self,
        folders: Sequence[FilePath],
        scanner: Scanner,
        catalogue: CatalogueReading,
        settle: Settle,
        doubt: Callable[[FilePath, int, int], str | None],
        accept: Callable[[FilePath], None],
        unsearchable: Callable[[FilePath], Iterable[FilePath]],
        every_s: float,
        retry_s: float = 2.0,
    ) -> None:
        self._folders = tuple(folders)
        self._scanner = scanner
        self._catalogue = catalogue
        self._settle = settle
        self._doubt = doubt
        self._accept = accept
        self._unsearchable = unsearchable
        self._every_s = every_s
        self._retry_s = retry_s
        self._wanted: dict[FilePath, str] = {}
        self._held: dict[FilePath, str] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._scanning = False
        self._confirmed: set[FilePath] = set()
        self._failed: dict[FilePath, tuple[str, str]] = {}  # what it was wanted for, and why it failed
        self._thread = threading.Thread(target=self._run, name="rescan", daemon=True)

    def start(self) -> None:
        """Scan every folder, then go on."""
        self.request_all("start")
        self._thread.start()

    def request(self, folder: FilePath, reason: str) -> None:
        """Scan this folder soon. Cheap, never blocks; asked twice before it happens, it happens once."""
        with self._changed:
            self._want(folder, reason)

    def request_all(self, reason: str, *, confirm: bool = False) -> None:
        """Scan every folder soon; with `confirm`, files that it misses are gone however many they are."""
        with self._changed:
            if confirm:
                self._confirmed.update(self._folders)
            for folder in self._folders:
                self._want(folder, reason)

    @property
    def busy(self) -> bool:
        """Whether a scan runs or waits."""
        with self._changed:
            return self._scanning or bool(self._wanted or self._failed)

    @property
    def trouble(self) -> str | None:
        """Why a folder cannot be scanned now though it is there; it is tried again soon."""
        with self._changed:
            return next((why for _, why in self._failed.values()), None)

    @property
    def held(self) -> dict[FilePath, str]:
        """Folders whose missing files are not believed to be gone, and why."""
        with self._changed:
            return dict(self._held)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _want(self, folder: FilePath, reason: str) -> None:
        if self._wanted.get(folder) != MOVED_AWAY:  # says more than any other
            self._wanted[folder] = reason
        self._changed.notify_all()

    def _run(self) -> None:
        next_full = time.monotonic() + self._every_s
        while True:
            with self._changed:
                self._scanning = False
                pause_s = max(0.0, next_full - time.monotonic())
                self._changed.wait_for(
                    lambda: self._closed or self._wanted, min(pause_s, self._retry_s) if self._failed else pause_s
                )
                if self._closed:
                    return
                for folder, (reason, _) in self._failed.items():
                    self._wanted.setdefault(folder, reason)
                wanted, self._wanted = self._wanted, {}
                confirmed, self._confirmed = self._confirmed, set()
                self._scanning = True
            if not wanted:
                wanted = dict.fromkeys(self._folders, "interval")
            if set(self._folders) <= wanted.keys():
                next_full = time.monotonic() + self._every_s
            for folder, reason in wanted.items():
                self._scan_safely(folder, reason, folder in confirmed)

    def _scan_safely(self, folder: FilePath, reason: str, confirmed: bool) -> None:
        failure = ""
        try:
            self._scan(folder, reason, confirmed)
        except (OSError, StoreError, CapacityError) as e:
            why = e.strerror if isinstance(e, OSError) else e
            if may_pass(e):
                failure = f"{display_path(folder)} cannot be scanned: {why}"
            logger.warning("%s cannot be listed, its files are kept as they are: %s", display_path(folder), why)
        except Exception:  # a worker's loop: the next interval tries again
            logger.exception("scan of %s failed", display_path(folder))
        with self._changed:
            self._failed.pop(folder, None)
            if failure:
                self._failed[folder] = reason, failure
                if confirmed:
                    self._confirmed.add(folder)

    def _scan(self, folder: FilePath, reason: str, confirmed: bool) -> None:
        started = time.monotonic()
        changed: set[_Kept] = set()
        missing: list[FilePath] = []
        for path in self._scanner.scan(folder, self._catalogue.folder, self._catalogue.folders_under):
            if self._closed:
                return
            try:
                status = os.lstat(path)
            except OSError:
                missing.append(path)
            else:
                changed.add(_kept_by_a_rename(Stamp.of(status)))
                self._settle.add(path)
        n_lost = 0 if reason == MOVED_AWAY else self._n_lost(missing, changed)
        self._believe(folder, missing, n_lost, confirmed)
        if folder in self._folders and folder not in self._held:
            for path in self._unsearchable(folder):
                self._settle.add(path)
        level = logging.INFO if changed or missing or reason == "start" else logging.DEBUG
        logger.log(
            level, "scanned %s (%s): %d new or changed, %d gone, %.2f s",
            display_path(folder), reason, len(changed), len(missing), time.monotonic() - started,
        )  # fmt: skip

    def _n_lost(self, missing: Sequence[FilePath], changed: Set[_Kept]) -> int:
        """How many missing files are not there under another name, just come up or known already."""
        records = list(self._catalogue.files(missing).values())
        gone = set(missing)
        images = self._catalogue.images([record.vector_id for record in records if record.vector_id is not None])
        alive = {i for i, image in images.items() if not gone.issuperset(image.paths)}
        return len(missing) - sum(r.vector_id in alive or _kept_by_a_rename(r.stamp) in changed for r in records)

    def _believe(self, folder: FilePath, missing: Sequence[FilePath], n_lost: int, confirmed: bool) -> None:
        """Missing files go on as dirty paths, unless so many at once are lost that a disk may be."""
        doubt = self._doubt(folder, len(missing), n_lost) if missing and not confirmed else None
        with self._changed:
            for held in [held for held in self._held if is_at_or_below(held, folder)]:
                del self._held[held]
            if doubt:
                self._held[folder] = doubt
        if doubt:
            logger.warning("%s: %s", display_path(folder), doubt)
            return
        self._accept(folder)
        for path in missing:
            self._settle.add(path)


def _kept_by_a_rename(stamp: Stamp) -> _Kept:
    """What a file still has under another name. Its inode alone would not do: another disk numbers its own alike."""
    return stamp[:4]
