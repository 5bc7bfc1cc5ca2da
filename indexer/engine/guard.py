"""Keeps an unmounted or vanished folder from looking like one whose files were all deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from indexer.catalogue.reader import CatalogueReader
from indexer.types import FilePath, is_at_or_below
from indexer.watch.roots import HELD_ABOVE_FILES, RootIdentity, identify, judge

_META = "roots"


class RootGuard:
    """Remembers what each watched folder was when its files were recorded, over restarts.

    Args:
        folders: The watched folders.
        catalogue: Where their identities are kept, and how many files are recorded below.
        keep: Keeps a note in the catalogue; None where nothing is to be changed.
    """

    def __init__(
        self,
        folders: Sequence[FilePath],
        catalogue: CatalogueReader,
        keep: Callable[[str, str], None] | None = None,
    ) -> None:
        self._folders = tuple(folders)
        self._catalogue = catalogue
        self._keep = keep
        kept = json.loads(catalogue.meta_get(_META) or "{}")
        self._remembered = {
            FilePath(bytes.fromhex(path)): RootIdentity(device, inode, FilePath(bytes.fromhex(mount)))
            for path, (device, inode, mount) in kept.items()
        }

    def knows(self, folder: FilePath) -> bool:
        """Whether this folder was watched before."""
        return folder in self._remembered

    def reachable(self, path: FilePath) -> bool:
        """Whether the watched folder of this path is there and on the file system where its files were recorded."""
        root = self._root_of(path)
        now = identify(root) if root else None
        if root is None or now is None:
            return root is None  # below no watched folder any more: nothing keeps it
        remembered = self._remembered.get(root)
        return remembered is None or (now.device, now.mount) == (remembered.device, remembered.mount)

    def doubt(self, folder: FilePath, n_missing: int, n_lost: int) -> str | None:
        """Why missing files at or below `folder` are not believed to be gone; None when they are.

        Args:
            folder: A watched folder, or one below it.
            n_missing: Files that are recorded and not there.
            n_lost: Those of them that are not there under another name either.
        """
        root = self._root_of(folder)
        if root is None:
            return None
        now, remembered = identify(root), self._remembered.get(root)
        n_recorded = self._n_recorded(root) if n_missing > HELD_ABOVE_FILES or now != remembered else n_missing + 1
        judgement = judge(root, now, remembered, n_recorded, n_missing, n_lost)
        if judgement.verdict == "ok":
            self.accept(root)
            return None
        return judgement.reason

    def accept(self, folder: FilePath) -> None:
        """What stands at the watched folder now is the one that its files are recorded from."""
        root = self._root_of(folder)
        now = identify(root) if root else None
        if root is None or now is None or self._remembered.get(root) == now:
            return
        self._remembered[root] = now
        kept = {path.hex(): (r.device, r.inode, r.mount.hex()) for path, r in self._remembered.items()}
        if self._keep is not None:
            self._keep(_META, json.dumps(kept))

    def _n_recorded(self, root: FilePath) -> int:
        return sum(1 for _ in self._catalogue.files_under(root))

    def _root_of(self, path: FilePath) -> FilePath | None:
        return next((root for root in self._folders if is_at_or_below(path, root)), None)
