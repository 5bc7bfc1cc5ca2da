"""What is recorded of files held against the file system."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from indexer.ports import CatalogueReading, Scanner
from indexer.types import ContentHash, FilePath, Finding, Flaw, Stamp, display_path, is_at_or_below
from indexer.verify.check import LOOK_AGAIN_S, Ground, Remedy, Tally


class FileCheck:
    """Every file in the watched folders is recorded as it is. What just changed, or is on its way, is no finding.

    Args:
        catalogue, scanner, ground: What is compared.
        tally: Counts what was looked at.
        pause: Waits so many seconds; raises to stop.
        remedy: Where files that differ go.
        notes: Gets what a person should know.
    """

    def __init__(
        self,
        catalogue: CatalogueReading,
        scanner: Scanner,
        ground: Ground,
        tally: Tally,
        pause: Callable[[float], None],
        remedy: Remedy | None,
        notes: list[str],
    ) -> None:
        self._catalogue = catalogue
        self._scanner = scanner
        self._ground = ground
        self._tally = tally
        self._pause = pause
        self._remedy = remedy
        self._notes = notes

    def look(self) -> Iterator[Finding]:
        suspects = dict.fromkeys(path for folder in self._ground.folders for path in self._scan(folder))
        found = self._differing(suspects)
        for _ in range(math.ceil(self._ground.patience_s / LOOK_AGAIN_S)):
            if not found:
                return
            self._pause(LOOK_AGAIN_S)
            found = self._differing(found)
        yield from (Finding(Flaw.STALE, what, path=path) for path, what in found.items())

    def remaining(self, findings: Sequence[Finding]) -> list[Finding]:
        # What is on its way is not mended yet.
        return [each for each in findings if each.path is not None and self._difference(each.path) is not None]

    def mend(self, findings: Sequence[Finding]) -> Sequence[ContentHash]:
        if self._remedy is None:
            return []
        missing: defaultdict[FilePath, list[FilePath]] = defaultdict(list)
        for path in [each.path for each in findings if each.path is not None]:
            if self._ground.exists(path):
                self._remedy.make_dirty(path)
            else:
                missing[self._folder_of(path)].append(path)
        for folder, paths in missing.items():
            doubt = self._ground.doubt(folder, len(paths), len(paths))
            if doubt:
                self._notes.append(f"{doubt}; if they are gone for good: indexer rescan --confirm-gone")
                continue
            for path in paths:
                self._remedy.make_dirty(path)
        return []

    # ------------------------------------------------------------ inside

    def _scan(self, folder: FilePath) -> Iterator[FilePath]:
        def known(folder: FilePath) -> Mapping[bytes, Stamp]:
            recorded = self._catalogue.folder(folder)
            self._tally.files += len(recorded)
            self._pause(0)
            return recorded

        try:
            yield from self._scanner.scan(folder, known, self._catalogue.folders_under)
        except OSError as e:
            self._notes.append(f"{display_path(folder)} cannot be listed, its files were not compared: {e.strerror}")

    def _differing(self, paths: Iterable[FilePath]) -> dict[FilePath, str]:
        """Those that differ, and how; without those that somebody knows of already."""
        found = {}
        for path in paths:
            what = self._difference(path)
            if what is not None and not self._ground.on_its_way(path):
                found[path] = what
        return found

    def _difference(self, path: FilePath) -> str | None:
        """How the file differs from what is recorded; None when it does not, or the file system does not tell."""
        record = self._catalogue.file(path)
        try:
            stamp = self._ground.look(path)
        except OSError:
            return None
        if stamp is None:
            return None if record is None else "the file is gone, but still recorded"
        if record is None:
            return "the file is not recorded"
        return None if record.stamp == stamp else "the file has changed since it was recorded"

    def _folder_of(self, path: FilePath) -> FilePath:
        return next(folder for folder in self._ground.folders if is_at_or_below(path, folder))
