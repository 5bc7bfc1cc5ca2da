"""The concrete parts, opened in order. The only file that names all of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.config import Config
from indexer.duplicates.look import VERSION as LOOK_VERSION
from indexer.engine.devices import devices_of, machine_at, open_lane
from indexer.engine.examining import Premises
from indexer.engine.guard import RootGuard
from indexer.engine.inflow import Inflow
from indexer.engine.listing import beside_lists
from indexer.engine.live import Changes
from indexer.engine.spaces import SpaceRecord, write_record
from indexer.errors import ConfigError
from indexer.features.disk import DiskFeatureCache
from indexer.files.reading import read_file, stamp_of
from indexer.geometry import Geometry
from indexer.ingest.budget import Budget
from indexer.ingest.commit import Committer
from indexer.ingest.river import River, Sources
from indexer.ports import CatalogueReading, Decoder, Embedder, Encoder, FeatureReading, Snapshots, VectorIndex
from indexer.recommend import Machine, batch_size, decode_workers
from indexer.rescan import Rescans
from indexer.restore import refill, unsearchable
from indexer.store.data_dir import DataDir
from indexer.store.looks import KeptLooks
from indexer.store.tuned import read_tuning
from indexer.store.tuned_index import read_index_tuning
from indexer.types import BatchLimit, EmbeddingSpace, FileContent, FilePath, Preprocess, Tuning
from indexer.watch.accept import Exclude
from indexer.watch.scan import FolderScanner
from indexer.watch.settle import SettleQueue
from indexer.watch.watchdog_watcher import FolderWatcher

if TYPE_CHECKING:
    from indexer.encoder.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

# Pictures and bytes on their way at most: enough to keep the device busy while a commit waits for the disk, few
# enough that a crash repeats little.
IMAGES_ON_THEIR_WAY = {"cuda": 1024, "cpu": 128}
BYTES_ON_THEIR_WAY = 512 << 20


def images_on_their_way(device: str, n_devices: int) -> int:
    """As many as keep all devices busy; `device` is one of them."""
    return n_devices * IMAGES_ON_THEIR_WAY[device.partition(":")[0]]


@dataclass(frozen=True, slots=True)
class Model:
    """What makes features, and what they mean to the index."""

    decoder: Decoder
    embedder: Embedder
    device: str
    geometry: Geometry
    batch: BatchLimit
    tuning: Tuning | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What answers questions."""

    catalogue: CatalogueReading
    decoder: Decoder
    embedder: Embedder
    cache: FeatureReading
    index: VectorIndex
    snapshots: Snapshots
    geometry: Geometry
    index_dir: Path
    device: str
    batch: BatchLimit
    tuning: Tuning | None
    read: Callable[[FilePath], FileContent]
    folders: tuple[FilePath, ...]
    looks: KeptLooks


def open_model(config: Config, data: DataDir, stack: ExitStack) -> Model:
    """Open the decoders, which warm up in the background, and the encoders, which take longest."""
    checkpoint = checkpoint_of(config)
    devices = devices_of(config)
    decoder = open_decoder(config, checkpoint.preprocess, devices.names)
    stack.callback(decoder.close)
    index_on = devices.roomiest()
    embedder = open_lane(
        devices,
        partial(encoder_of, config, data, checkpoint),
        n_cores=n_cores(),
        max_bulk=images_on_their_way(index_on, len(devices.names)),
        idle_release_s=config.model.idle_release_s,
    )
    stack.callback(embedder.close)
    if embedder.projection is None and config.index.space == "joint":
        raise ConfigError('index.space: this model has no space shared with words; set it to "visual"')
    geometry = Geometry(embedder.projection, config.index.space, embedder.space.dim)
    machines = devices.machines(n_cores())
    tunings = [read_tuning(data.tuned, machine.name, embedder.space.fingerprint) for machine in machines]
    batches = [batch_limit(config, checkpoint, *each) for each in zip(machines, tunings, strict=True)]
    embedder.limit_batch(*(batch.size for batch in batches))
    for name, batch in dict(zip(map(str, (place.device for place in devices.places)), batches, strict=True)).items():
        logger.info("batches hold %d pictures at most on %s (%s)", batch.size, name, batch.source)
    return Model(decoder, embedder, index_on, geometry, batches[0], tunings[0])


def checkpoint_of(config: Config) -> Checkpoint:
    """The model that is meant. Raises `ConfigError`."""
    from indexer.encoder.checkpoint import resolve

    return resolve(config.model.name, config.model.pretrained, config.decode.mode)


def encoder_of(config: Config, data: DataDir, checkpoint: Checkpoint, device: str | None = None) -> Encoder:
    """Load the model, on the first of the configured devices or on another."""
    from indexer.encoder.openclip import OpenClipEncoder

    return OpenClipEncoder(
        checkpoint,
        device=device or config.model.devices[0],
        precision=config.model.precision,
        digests=data.path / "digests.json",
        compile=config.model.compile,
    )


def machine_of(config: Config) -> Machine:
    """The first of the configured devices. Raises `ConfigError`."""
    from indexer.encoder.device import place

    return machine_at(place(config.model.devices[0], config.model.precision), n_cores())


def batch_limit(config: Config, checkpoint: Checkpoint, machine: Machine, tuning: Tuning | None) -> BatchLimit:
    """The configured batch size, else the tuned one, else what suits a device of this size."""
    from indexer.encoder.sizing import size_of

    if config.model.batch_size != "auto":
        return BatchLimit(config.model.batch_size, "configured")
    if tuning is not None:
        return BatchLimit(tuning.size, "tuned")
    return BatchLimit(batch_size(size_of(checkpoint), machine), "recommended")


def open_parts(
    config: Config,
    data: DataDir,
    model: Model,
    catalogue: CatalogueReading,
    cache: FeatureReading,
    stack: ExitStack,
    *,
    lists: bool = False,
) -> Parts:
    """Open the index, still empty, beside what is open already; with `lists`, those are made when they pay."""
    space = model.embedder.space
    index = open_index(model.geometry, model.device)
    if lists:
        tuned = read_index_tuning(data.tuned_index, space.fingerprint)
        index = beside_lists(config, tuned, model.embedder, model.geometry, index, model.device)
    stack.callback(index.close)
    folder = space_folder(data.index, space, model.geometry)
    return Parts(
        catalogue=catalogue,
        decoder=model.decoder,
        embedder=model.embedder,
        cache=cache,
        index=index,
        snapshots=open_snapshots(folder, space, model.geometry),
        geometry=model.geometry,
        index_dir=folder,
        device=model.device,
        batch=model.batch,
        tuning=model.tuning,
        read=partial(read_file, max_bytes=config.decode.max_file_bytes),
        folders=tuple(watched_folders(config)),
        looks=KeptLooks(data.looks, space.preprocess, LOOK_VERSION),
    )


def open_inflow(
    config: Config, parts: Parts, catalogue: SqliteCatalogue, cache: DiskFeatureCache, *, watching: bool
) -> Inflow:
    """Put the way in together. Nothing runs yet."""
    record = SpaceRecord(parts.embedder.space, settings_of(config))
    write_record(parts.index_dir, record, parts.embedder.projection)
    folders = watched_folders(config)
    guard = RootGuard(folders, catalogue, catalogue.meta_set)
    exclude = Exclude(config.watch.exclude, folders)
    # What was dropped because too much was dirty, the scan asked for here brings back.
    settle = SettleQueue(
        config.watch.settle_s, exclude=exclude, on_overflow=lambda: rescans.request_all("too many changes at once")
    )
    scanner = FolderScanner(exclude)
    rescans = Rescans(
        folders, scanner, catalogue, settle, guard.doubt, guard.accept,
        partial(unsearchable, catalogue, parts.index), config.watch.rescan_s,
    )  # fmt: skip
    watcher = FolderWatcher(folders, exclude, settle.add, rescans.request, config.watch.polling)
    changes = Changes()
    committer = Committer(catalogue, cache, parts.index, parts.geometry, settle.add, announce=changes.note)
    n_devices = max(1, len({load.device for load in parts.embedder.queue.devices}))
    budget = Budget(images_on_their_way(parts.device, n_devices), BYTES_ON_THEIR_WAY)
    max_bytes = config.decode.max_file_bytes
    sources = Sources(
        lambda path, stamp: read_file(path, max_bytes, expected=stamp), max_bytes, stamp_of, guard.reachable
    )
    river = River(
        settle, sources, parts.decoder, parts.embedder, catalogue, cache, parts.index, committer, budget,
        n_readers=min(max(2, n_cores()), 8),
    )  # fmt: skip
    return Inflow(
        settle, watcher, rescans, river, committer, budget, parts.embedder,
        Premises(exclude, guard, scanner, catalogue, cache, config), changes, watching,
        mended=lambda: (*catalogue.notices, *cache.notices),
        refill=lambda go_on: refill(catalogue, cache, parts.index, parts.geometry, go_on=go_on),
    )  # fmt: skip


def open_decoder(config: Config, preprocess: Preprocess, devices: Sequence[str]) -> Decoder:
    """The children that decode for these devices, and the first of those itself; they warm up in the background.

    Raises:
        ConfigError: JPEGs are to be decoded on a GPU, and there is none, or they are to be exact.
    """
    from indexer.images.jobs import Bounds
    from indexer.images.limits import Limits
    from indexer.images.pool import DecodePool

    asked = config.decode
    limits = Limits(asked.max_pixels, asked.max_file_bytes)
    if asked.gpu_jpeg and asked.mode != "scaled":
        raise ConfigError('decode.gpu_jpeg: what a GPU decodes is not exact to the bit; set decode.mode = "scaled" too')
    if asked.gpu_jpeg and not devices[0].startswith("cuda"):
        raise ConfigError(f"decode.gpu_jpeg: the model runs on {devices[0]}, which decodes no JPEGs; set it to false")
    children = DecodePool(
        preprocess,
        limits,
        n_workers=decode_workers(n_cores()) if asked.workers == "auto" else asked.workers,
        timeout_s=asked.timeout_s,
        # The river's budget is the bound.
        bulk=Bounds(len(devices) * max(IMAGES_ON_THEIR_WAY.values()), 2 * BYTES_ON_THEIR_WAY),
    )
    if not asked.gpu_jpeg:
        return children
    from indexer.images.gpu_jpeg import GpuJpegs

    return GpuJpegs(children, preprocess, limits, devices[0])


def open_index(geometry: Geometry, device: str) -> VectorIndex:
    """The matrix, in a device's memory."""
    if device.startswith("cuda"):
        from indexer.index.gpu import TorchIndex

        return TorchIndex(geometry.row_dim, device=device, kernel="faiss")
    from indexer.index.cpu import CpuIndex

    return CpuIndex(geometry.row_dim)


def open_snapshots(folder: Path, space: EmbeddingSpace, geometry: Geometry) -> Snapshots:
    """The generations of one space's index."""
    from indexer.index.snapshot import SnapshotFolder

    return SnapshotFolder(folder, f"{space.fingerprint}-{geometry.space}", geometry.row_dim)


def space_folder(index_dir: Path, space: EmbeddingSpace, geometry: Geometry) -> Path:
    """Where an index is kept: by its space, and by what of it is indexed."""
    return index_dir / (space.fingerprint if geometry.space == "visual" else f"{space.fingerprint}-{geometry.space}")


def settings_of(config: Config) -> Mapping[str, str]:
    """The settings that decide the embedding space and what of it is indexed."""
    chosen = {
        "model.name": config.model.name,
        "model.pretrained": "" if config.model.name == "demo" else config.model.pretrained,
        "model.precision": config.model.precision,
        "model.device": ",".join(config.model.devices),
        "decode.mode": config.decode.mode,
        "index.space": config.index.space,
    }
    return {key: str(value) for key, value in chosen.items()}


def require_folders(config: Config, catalogue: SqliteCatalogue) -> None:
    """A folder beside the store is made; another must be there, or be known: then its disk may come back.

    Raises:
        ConfigError: A folder is not there and never was, or may not be entered.
    """
    guard = RootGuard(watched_folders(config), catalogue)
    for folder in config.folders:
        if not guard.knows(FilePath(os.fsencode(folder))):
            try:
                _require_folder(folder, make=folder.parent == config.store_dir.parent)
            except OSError as e:
                raise ConfigError(f"watch.folders: {folder}: {e.strerror}; let this user in, or name another") from e


def _require_folder(folder: Path, *, make: bool) -> None:
    if folder.is_dir():
        os.scandir(folder).close()
    elif folder.exists():
        raise ConfigError(f"watch.folders: {folder} is not a folder; name one")
    elif make:
        folder.mkdir()
    else:
        raise ConfigError(f"watch.folders: {folder} does not exist; make it, or name another folder")


def watched_folders(config: Config) -> list[FilePath]:
    """The watched folders as the file system spells them."""
    return [FilePath(os.fsencode(folder)) for folder in config.folders]


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
