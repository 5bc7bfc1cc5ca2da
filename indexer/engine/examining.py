"""The engine's parts as those see them who verify the store and explain a path."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from indexer.catalogue.reader import CatalogueReader
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config
from indexer.engine.guard import RootGuard
from indexer.engine.verifying import Notes, Verifying
from indexer.errors import StoreError
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.files.reading import read_file
from indexer.ports import Scanner
from indexer.types import ContentHash, FilePath, Progress, Stamp, VerifyReport
from indexer.verify.check import Ground, Remedy
from indexer.verify.run import Subject, verify
from indexer.watch.accept import Exclude
from indexer.watch.looking import Look
from indexer.why import Witnesses

if TYPE_CHECKING:
    from indexer.engine.inflow import Inflow
    from indexer.engine.parts import Parts

# How long an event may be on its way, besides the time to settle; and a change in a folder that is polled, each 10 s.
_EVENT_S: Final = 2.0
_POLL_S: Final = 12.0
_SCAN_S: Final = 60.0

# So many waiting paths are a first scan or a flood: the queue may have dropped others, which a rescan brings back.
_FLOOD_PATHS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Premises:
    """The watched folders and the stores.

    Attributes:
        exclude, guard, scanner: The watched folders.
        catalogue, cache: The stores, as their one writer has them.
        config: The settings in force.
    """

    exclude: Exclude
    guard: RootGuard
    scanner: Scanner
    catalogue: SqliteCatalogue
    cache: DiskFeatureCache
    config: Config

    def look(self, path: FilePath) -> Stamp | None:
        """As `Look.stamp`."""
        return Look(self.exclude).stamp(path)

    def ground(self, on_its_way: Callable[[FilePath], bool] = lambda _path: False, patience_s: float = 0.0) -> Ground:
        """The files, as a verification sees them."""
        return Ground(
            folders=self.exclude.folders,
            look=self.look,
            exists=os.path.lexists,
            read=partial(read_file, max_bytes=self.config.decode.max_file_bytes),
            doubt=self.guard.doubt,
            on_its_way=on_its_way,
            patience_s=patience_s,
        )

    def checkups(self) -> Sequence[Callable[[], tuple[str, bool] | None]]:
        """Looks at both databases."""
        return partial(_check_catalogue, self.catalogue), partial(_check_cache, self.cache)


def subject_of(parts: Parts, inflow: Inflow, pause: Callable[[float], None]) -> Subject:
    """What a verification beside the running river compares; waits for a scan that is under way."""
    _await_scan(inflow, pause)
    polled = any(state.startswith("polling") for state in inflow.watcher.state().values())
    event_s = inflow.premises.config.watch.settle_s + (_POLL_S if polled else _EVENT_S)

    def changed(n_rows: int) -> None:
        inflow.committer.n_index_changes += n_rows  # the committer's lock is held

    return Subject(
        catalogue=parts.catalogue,
        cache=parts.cache,
        index=parts.index,
        geometry=parts.geometry,
        lock=inflow.committer.lock,
        scanner=inflow.premises.scanner,
        ground=inflow.premises.ground(
            on_its_way=lambda path: inflow.settle.state(path) is not None or len(inflow.settle) >= _FLOOD_PATHS,
            patience_s=event_s if inflow.watching else 0.0,
        ),
        model=(parts.decoder, parts.embedder),
        remedy=Remedy(inflow.settle.add, partial(inflow.bring, anew=True), inflow.at_rest),
        changed=changed,
        checkups=inflow.premises.checkups(),
    )


def verifying_of(parts: Parts, inflow: Inflow, alone: threading.Lock) -> Verifying:
    """Verifications beside the running river; `alone` is held while one runs."""
    premises = inflow.premises

    def run(
        sample: int, repair: bool, on_progress: Callable[[Progress], None], pause: Callable[[float], None]
    ) -> VerifyReport:
        subject = subject_of(parts, inflow, pause)
        return verify(subject, sample=sample, repair=repair, on_progress=on_progress, pause=pause)

    return Verifying(
        run,
        Notes(premises.catalogue.meta_get, premises.catalogue.meta_set),
        alone,
        every_s=3600 * premises.config.store.verify_every_h,
        sample=premises.config.store.verify_sample,
        at_rest=inflow.at_rest,
    )


def witnesses_of(parts: Parts, inflow: Inflow) -> Witnesses:
    """Who knows something of a path while the service runs."""
    premises = inflow.premises
    return Witnesses(
        folders=premises.exclude.folders,
        catalogue=parts.catalogue,
        rule=premises.exclude.rule,
        reachable=premises.guard.reachable,
        look=premises.look,
        has_feature=lambda content: content in parts.cache.get_many([content]),
        has_row=lambda vector_id: bool(parts.index.contains(np.array([vector_id], dtype=np.int64))[0]),
        waiting=lambda path: (inflow.settle.state(path), inflow.settle.age_s(path)),
        held=lambda: inflow.rescans.held,
        rescan_s=premises.config.watch.rescan_s if inflow.watching else None,
    )


def offline_witnesses(exclude: Exclude, catalogue: CatalogueReader, features: FeatureReader | None) -> Witnesses:
    """Who knows something of a path when no service runs: the store and the file system."""

    def has_feature(hash: ContentHash) -> bool | None:
        return None if features is None else hash in features.get_many([hash])

    return Witnesses(
        folders=exclude.folders,
        catalogue=catalogue,
        rule=exclude.rule,
        reachable=RootGuard(exclude.folders, catalogue).reachable,
        look=lambda path: Look(exclude).stamp(path),
        has_feature=has_feature,
    )


def _await_scan(inflow: Inflow, pause: Callable[[float], None]) -> None:
    """What a scan under way has not met yet differs, and is no finding."""
    waited_s = 0.0
    while inflow.watching and inflow.rescans.busy and waited_s < _SCAN_S:
        pause(0.1)
        waited_s += 0.1


def _check_catalogue(catalogue: SqliteCatalogue) -> tuple[str, bool] | None:
    found = catalogue.check()
    return None if found is None else (f"the catalogue's database: {found}; the next start mends it", False)


def _check_cache(cache: DiskFeatureCache) -> tuple[str, bool] | None:
    n_before = len(cache.notices)
    try:
        cache.check()
    except StoreError as e:
        return str(e), False
    mended = cache.notices[n_before:]
    return (mended[0], True) if mended else None
