"""Ways to open the store: to serve, to answer only, to mend, or just to look."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from indexer.catalogue.reader import CatalogueReader
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config
from indexer.engine.gate import require_gate
from indexer.engine.parts import (
    Model,
    open_index,
    open_inflow,
    open_model,
    open_parts,
    open_snapshots,
    require_folders,
    settings_of,
    watched_folders,
)
from indexer.engine.retuning import measure_batches
from indexer.engine.running import RunningEngine
from indexer.engine.spaces import SpaceRecord, all_records, read_projection, spaces_kept
from indexer.engine.verifying import META, report_of
from indexer.errors import StoreCorrupt, StoreError
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.geometry import Geometry
from indexer.restore import forget_unwatched, restore
from indexer.store.data_dir import DataDir, Holder
from indexer.types import FileRecord, Progress, Stats

logger = logging.getLogger(__name__)

OpenModel = Callable[[Config, DataDir, ExitStack], Model]


def open_engine(config: Config, *, watch: bool = True, model: OpenModel = open_model) -> RunningEngine:
    """Open the store to serve it: takes its lock, loads the model, restores the index, and begins to watch.

    Args:
        config: The settings.
        watch: False to look at no folder by itself; rebuilding still reads what it must.
        model: Opens decoders and encoder, and puts on the stack what closes them.

    Raises:
        ConfigError: A watched folder is not there, or model settings cannot be used, or a lossy precision has not
            passed the gate.
        StoreLocked: Another process serves this store.
        StoreError: The store cannot be opened.
        ModelError: The model cannot be had or does not fit.
    """
    with _as_store_error(config):
        try:
            return _open_engine(config, watch, model)
        except StoreCorrupt as e:
            logger.warning("%s; the store is opened again to mend it", e)  # the damage met is noted in the catalogue
            return _open_engine(config, watch, model)


def _open_engine(config: Config, watch: bool, model: OpenModel) -> RunningEngine:
    with ExitStack() as stack:
        data = DataDir(config.store_dir)
        stack.enter_context(data.lock())
        catalogue = SqliteCatalogue.open(data.catalogue)
        stack.callback(catalogue.close)
        if watch:
            require_folders(config, catalogue)
            forget_unwatched(catalogue, watched_folders(config))
        opened = model(config, data, stack)
        require_gate(config, data, opened.embedder.space, catalogue.counts().contents)
        cache = DiskFeatureCache(data.features, opened.embedder.space)
        stack.callback(cache.close)
        parts = open_parts(config, data, opened, catalogue, cache, stack, lists=True)
        inflow = open_inflow(config, parts, catalogue, cache, watching=watch)
        measure = partial(measure_batches, config, data, opened.embedder)
        engine = RunningEngine(parts, inflow, data.publish, (closing := ExitStack()).close, measure)
        closing.push(stack.pop_all())
    return engine.start()


@contextmanager
def _as_store_error(config: Config) -> Iterator[None]:
    """What the system refuses while the parts are opened, descriptors above all, is no riddle for people."""
    try:
        yield
    except OSError as e:
        what = e.filename or config.store_dir
        raise StoreError(f"the service cannot start: {what}: {e.strerror or e}") from e


def open_reader(config: Config, *, model: OpenModel = open_model) -> RunningEngine:
    """Open the store to answer questions only, beside a server or without one. Changes nothing that it has not made up.

    Raises:
        StoreError: There is no store yet, or it cannot be opened.
        ModelError: As for `open_engine`.
    """
    with ExitStack() as stack:
        data = DataDir(config.store_dir)
        catalogue = existing_catalogue(data)
        stack.callback(catalogue.close)
        opened = model(config, data, stack)
        cache = FeatureReader(data.features, opened.embedder.space)
        stack.callback(cache.close)
        parts = open_parts(config, data, opened, catalogue, cache, stack)
        engine = RunningEngine(parts, None, lambda _url: None, (closing := ExitStack()).close)
        closing.push(stack.pop_all())
    return engine.start()


def running_server(config: Config) -> Holder | None:
    """The process that serves this store now, if any."""
    return DataDir(config.store_dir).holder()


def offline_stats(config: Config) -> Stats:
    """What the store tells without a server and without loading a model."""
    data = DataDir(config.store_dir)
    catalogue = existing_catalogue(data)
    try:
        counts = catalogue.counts()
        verified = report_of(catalogue.meta_get(META))
    finally:
        catalogue.close()
    known = record_of(config, data)
    folder, space = (known[0].name, known[1].space) if known else ("", None)
    return Stats(
        model=space.model if space else config.model.name,
        fingerprint=space.fingerprint if space else "",
        precision=space.precision if space else config.model.precision,
        device="",
        started_at=0.0,
        files=counts.files,
        indexed=counts.contents,
        errors=sum(counts.refused.values()),
        errors_by_reason={reason.value: n for reason, n in counts.refused.items()},
        pending=0,
        oldest_pending_s=0.0,
        encoded_total=0,
        cache_hits_total=0,
        removed_total=0,
        generation=0,
        index_bytes=0,
        images_per_s=0.0,
        limited_by="stopped",
        progress=(),
        watching={},
        notices=(),
        spaces=spaces_kept(data.index, folder),
        verify=verified,
    )


def offline_refused(config: Config, limit: int, offset: int = 0) -> tuple[list[FileRecord], int]:
    """Refused files, the latest first, and how many there are; without loading a model."""
    catalogue = existing_catalogue(DataDir(config.store_dir))
    try:
        return catalogue.refused(limit, offset), sum(catalogue.counts().refused.values())
    finally:
        catalogue.close()


def rebuild_offline(
    config: Config, *, reencode: bool, on_progress: Callable[[Progress], None] = lambda _progress: None
) -> Progress:
    """Make the index anew without a server; the model is loaded only if something must be encoded.

    Raises:
        StoreLocked: A server runs; ask it instead.
        StoreError, ModelError: As for `open_engine`.
    """
    data = DataDir(config.store_dir)
    known = record_of(config, data)
    if known is not None and not reencode:
        try:
            progress = _restore_all(config, data, *known, on_progress)
        except StoreCorrupt as e:
            logger.warning("the model is needed: %s", e)
        else:
            if not progress.summary["missing"]:
                return progress
            logger.info("%d images have no feature and must be encoded", progress.summary["missing"])
    return _rebuild_with_model(config, reencode, on_progress)


def _restore_all(
    config: Config, data: DataDir, folder: Path, record: SpaceRecord, on_progress: Callable[[Progress], None]
) -> Progress:
    """Fill a new index from catalogue and cache, and save it as the next generation."""
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(data.lock())
        catalogue = SqliteCatalogue.open(data.catalogue)
        stack.callback(catalogue.close)
        cache = DiskFeatureCache(data.features, record.space)
        stack.callback(cache.close)
        geometry = Geometry(read_projection(folder), config.index.space, record.space.dim)
        index = open_index(geometry, "cpu")
        stack.callback(index.close)

        def report(n_done: int, n_total: int) -> None:
            rate = n_done / max(time.monotonic() - started, 1e-3)
            on_progress(Progress("rebuild", True, n_done, n_total, rate, (n_total - n_done) / rate if rate else None))

        done = restore(catalogue, cache, index, geometry, threading.Lock(), anew=True, on_progress=report)
        open_snapshots(folder, record.space, geometry).save(index)
    seconds = round(time.monotonic() - started, 3)
    counts = {"live": done.n_live, "restored": done.n_restored, "removed": done.n_removed, "encoded": 0}
    summary = {**counts, "missing": len(done.missing), "seconds": seconds}
    return Progress("rebuild", False, done.n_restored, done.n_live, done.n_restored / max(seconds, 1e-3), 0.0, summary)


def _rebuild_with_model(config: Config, reencode: bool, on_progress: Callable[[Progress], None]) -> Progress:
    with open_engine(config, watch=False) as engine:
        engine.rebuild(reencode=reencode)
        pause = threading.Event()
        while (progress := engine.rebuild_progress()) and progress.running:
            on_progress(progress)
            pause.wait(0.1)
    assert progress is not None
    return replace(progress, running=False)


def existing_catalogue(data: DataDir) -> CatalogueReader:
    """The catalogue for reading; raises `StoreError` when there is none."""
    if not data.catalogue.exists():
        raise StoreError(f"there is no index in {data.path} yet; run `indexer serve` or `indexer watch` first")
    return CatalogueReader.open_reader(data.catalogue)


def record_of(config: Config, data: DataDir) -> tuple[Path, SpaceRecord] | None:
    """The space, and the folder of its index, that these settings led to when they were last in force."""
    settings = settings_of(config)
    return next(((folder, record) for folder, record in all_records(data.index) if record.settings == settings), None)
