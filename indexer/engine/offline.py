"""Verifying a store and explaining a path without a server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config
from indexer.engine.examining import Premises, offline_witnesses
from indexer.engine.guard import RootGuard
from indexer.engine.opening import OpenModel, existing_catalogue, open_engine, record_of
from indexer.engine.parts import open_index, open_model, open_snapshots, space_folder, watched_folders
from indexer.engine.spaces import SpaceRecord, read_projection
from indexer.engine.verifying import META, json_of
from indexer.errors import StoreError
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.geometry import Geometry
from indexer.restore import Restored, restore
from indexer.store.data_dir import DataDir
from indexer.types import Explanation, FilePath, Flaw, Progress, VerifyReport
from indexer.verify.run import Subject, examples_of, verify
from indexer.watch.accept import Exclude
from indexer.watch.scan import FolderScanner
from indexer.why import explain

logger = logging.getLogger(__name__)

OnProgress = Callable[[Progress], None]


def verify_offline(
    config: Config,
    *,
    sample: int,
    repair: bool,
    on_progress: OnProgress = lambda _progress: None,
    model: OpenModel = open_model,
) -> VerifyReport:
    """Verify the store without a server; `model` is opened for a sample, and for what only encoding mends.

    Raises:
        StoreLocked: A server runs; ask it instead.
        StoreError, ModelError: As for `open_engine`; there is no store yet.
    """
    data = DataDir(config.store_dir)
    existing_catalogue(data).close()
    known = record_of(config, data)
    if known is None:
        return _verify_with_engine(config, sample, repair, on_progress, model)
    report = _verify_stored(config, data, *known, sample, repair, on_progress, model)
    if repair and not report.ok:
        logger.info("%d findings can only be mended by reading or encoding files", report.n_left)
        report = joined(report, _verify_with_engine(config, 0, True, on_progress, model))
        with data.lock():
            _keep(data, report)
    return report


def why_offline(config: Config, path: FilePath) -> Explanation:
    """What the store and the file system tell of a path without a server.

    Raises:
        InputError: The path is not absolute.
        StoreError: There is no store yet, or it cannot be read.
    """
    data = DataDir(config.store_dir)
    with ExitStack() as stack:
        catalogue = existing_catalogue(data)
        stack.callback(catalogue.close)
        known = record_of(config, data)
        features = FeatureReader(data.features, known[1].space) if known and data.features.exists() else None
        if features is not None:
            stack.callback(features.close)
        exclude = Exclude(config.watch.exclude, watched_folders(config))
        return explain(path, offline_witnesses(exclude, catalogue, features))


def _verify_stored(
    config: Config,
    data: DataDir,
    folder: Path,
    record: SpaceRecord,
    sample: int,
    repair: bool,
    on_progress: OnProgress,
    open_it: OpenModel,
) -> VerifyReport:
    """As a start would find it: the newest snapshot, brought up to the catalogue."""
    with ExitStack() as stack:
        stack.enter_context(data.lock())
        catalogue = SqliteCatalogue.open(data.catalogue)
        stack.callback(catalogue.close)
        model = open_it(config, data, stack) if sample else None
        space = model.embedder.space if model else record.space
        cache = DiskFeatureCache(data.features, space)
        stack.callback(cache.close)
        geometry = model.geometry if model else Geometry(read_projection(folder), config.index.space, space.dim)
        index = open_index(geometry, "cpu")
        stack.callback(index.close)
        snapshots = open_snapshots(space_folder(data.index, space, geometry) if model else folder, space, geometry)
        snapshots.load_into(index)
        lock = threading.Lock()
        brought = restore(catalogue, cache, index, geometry, lock)
        written: list[int] = []
        folders = watched_folders(config)
        exclude = Exclude(config.watch.exclude, folders)
        guard = RootGuard(folders, catalogue)
        premises = Premises(exclude, guard, FolderScanner(exclude), catalogue, cache, config)
        subject = Subject(
            catalogue, cache, index, geometry, lock, premises.scanner, premises.ground(),
            model=(model.decoder, model.embedder) if model else None,
            changed=written.append,
            checkups=premises.checkups(),
        )  # fmt: skip
        report = verify(subject, sample=sample, repair=repair, on_progress=on_progress)
        report = replace(report, notes=(*catalogue.notices, *_behind(brought), *report.notes))
        if repair and (written or brought.n_restored or brought.n_removed):
            snapshots.save(index)
        _note(catalogue, report)
        return report


def _verify_with_engine(
    config: Config, sample: int, repair: bool, on_progress: OnProgress, model: OpenModel
) -> VerifyReport:
    with open_engine(config, watch=False, model=model) as engine:
        engine.verify(sample=sample, repair=repair)
        pause = threading.Event()
        while (progress := engine.verify_progress()) and progress.running:
            on_progress(progress)
            pause.wait(0.1)
        report = engine.verify_report()
    if report is None or (progress and progress.error):
        raise StoreError(f"the verification failed: {progress.error if progress else 'the log tells why'}")
    return report


def joined(first: VerifyReport, second: VerifyReport) -> VerifyReport:
    """One report of a verification, and of a second one that mended what the first had left."""
    left = {flaw: second.found.get(flaw, 0) - second.mended.get(flaw, 0) for flaw in Flaw}
    found = {
        flaw: max(first.found.get(flaw, 0), first.mended.get(flaw, 0) + second.found.get(flaw, 0)) for flaw in Flaw
    }
    unmended = [each for each in second.examples if not each.mended]
    names = {(each.flaw, each.hash, each.vector_id, each.path) for each in unmended}
    mended = [
        replace(each, mended=True)
        for each in first.examples
        if (each.flaw, each.hash, each.vector_id, each.path) not in names
    ]
    return replace(
        first,
        seconds=round(time.time() - first.started_at, 3),
        found={flaw: n for flaw, n in found.items() if n},
        mended={flaw: n - left[flaw] for flaw, n in found.items() if n > left[flaw]},
        examples=examples_of([*unmended, *mended]),
        notes=tuple(dict.fromkeys((*first.notes, *second.notes))),
    )


def _behind(brought: Restored) -> tuple[str, ...]:
    """The index is derived: a snapshot that is behind is no flaw, every start mends that."""
    if not brought.n_restored and not brought.n_removed:
        return ()
    lacks, holds = f"lacks {brought.n_restored:,} rows", f"holds {brought.n_removed:,} too many"
    return (f"the newest snapshot {lacks} and {holds}, as after a sudden end; a start brings it up to date",)


def _keep(data: DataDir, report: VerifyReport) -> None:
    catalogue = SqliteCatalogue.open(data.catalogue)
    try:
        _note(catalogue, report)
    finally:
        catalogue.close()


def _note(catalogue: SqliteCatalogue, report: VerifyReport) -> None:
    try:
        catalogue.meta_set(META, json_of(report))
    except StoreError as e:
        logger.warning("the report could not be kept: %s", e)
