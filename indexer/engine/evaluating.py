"""The gate on this store: images encoded in FP32 and in another precision, or searched exactly and through lists."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from indexer.config import Config
from indexer.engine.devices import devices_of
from indexer.engine.listing import compare_lists, exactly, words
from indexer.engine.opening import OpenModel, existing_catalogue, open_reader
from indexer.engine.parts import checkpoint_of, encoder_of, machine_of, open_decoder, open_model
from indexer.engine.spaces import all_records
from indexer.errors import CapacityError, ConfigError, FileChanged, ImageRefused, InputError
from indexer.evaluate import K, Measured, chosen, compared, measured, summed_up
from indexer.features.disk import FeatureReader
from indexer.files.reading import read_file
from indexer.ports import CatalogueReading, Decoder, Encoder, MemoryMeter
from indexer.store.data_dir import DataDir
from indexer.store.gated import keep_evaluation
from indexer.types import (
    ContentHash,
    EmbeddingSpace,
    Evaluation,
    ImageRecord,
    IndexEvaluation,
    Pixels,
    Progress,
)

if TYPE_CHECKING:
    from indexer.encoder.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

OpenEncoder = Callable[[Config, DataDir, "Checkpoint"], Encoder]

BATCH: Final = {"cuda": 64, "cpu": 8}
"""Pictures at a time: enough to saturate the device."""

_WINDOW: Final = 64
"""Files that are read and not yet decoded."""


def evaluate_precision(
    config: Config,
    precision: str,
    sample: int,
    *,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    open_encoder: OpenEncoder = encoder_of,
    seed: int | None = None,
) -> Evaluation:
    """Measure a precision against FP32 on up to `sample` indexed images, and keep the result for `serve`.

    Only reads the store, so that it works beside a running service too, which then shares the device with it.

    Args:
        config: The settings; the precision in them has no part in this.
        precision: The one in question.
        sample: Images, at most.
        on_progress: Told of every batch.
        open_encoder: Loads the model as the settings given to it say.
        seed: Chooses the images; None: others each time.

    Raises:
        ConfigError: The device cannot do the precision, or it is FP32 itself.
        InputError: Too few images are indexed, or can still be read.
        StoreError: There is no store yet, or the result cannot be kept.
        ModelError, DeviceOutOfMemory, DeviceFailed: The model cannot be opened, or does not fit.
    """
    data = DataDir(config.store_dir)
    full, cheap = _in_precision(config, "fp32"), _in_precision(config, precision)
    machine = machine_of(cheap)  # a precision that cannot be had is refused before anything is loaded
    if machine.precision == "fp32":
        raise ConfigError(f"--precision: {precision} is FP32 here, which is the reference; name another")
    checkpoint = checkpoint_of(config)
    steps = _Steps(on_progress)
    with closing(existing_catalogue(data)) as catalogue:
        with _opened(full, data, checkpoint, open_encoder) as (encoder, meter):
            _, live = catalogue.live()
            with closing(_Features(data, encoder.space)) as features:
                subject = chosen(live, features.reader, sample, np.random.default_rng(seed))
            with closing(open_decoder(config, checkpoint.preprocess, devices_of(config).names)) as decoder:
                pixels, kept = _pixels_of(subject.hashes, catalogue, decoder, config.decode.max_file_bytes)
            n_queries = int(kept[: subject.n_queries].sum()) or len(pixels)  # of a small sample all may be lost
            if len(pixels) <= K:
                raise InputError(f"only {len(pixels)} of {len(kept)} images could be read; see `indexer status`")
            steps.n_total = 2 * len(pixels)
            reference = measured(encoder, meter, pixels, BATCH[machine.kind], steps.done)
        with _opened(cheap, data, checkpoint, open_encoder) as (encoder, meter):
            candidate = measured(encoder, meter, pixels, BATCH[machine.kind], lambda n: steps.done(len(pixels) + n))
            space = encoder.space
    evaluation = _evaluation(space, machine.name, len(live), n_queries, reference, candidate)
    keep_evaluation(data.gated, evaluation)
    return evaluation


def evaluate_index(config: Config, sample: int, *, model: OpenModel = open_model) -> IndexEvaluation:
    """Hold searches through lists against exact ones, on up to `sample` indexed images and on common words.

    Only reads the store, as `evaluate_precision`.

    Raises:
        InputError: There are too few images.
        ConfigError, ModelError, StoreError: As for `open_reader`.
    """
    with open_reader(exactly(config), model=model) as engine:
        parts = engine.parts
        queries = words(parts.embedder, parts.geometry)
        return compare_lists(parts.index, queries, config.index.recall, sample, parts.embedder.space.fingerprint)


def _in_precision(config: Config, precision: str) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"precision": precision})})


@contextmanager
def _opened(
    config: Config, data: DataDir, checkpoint: Checkpoint, open_encoder: OpenEncoder
) -> Iterator[tuple[Encoder, MemoryMeter]]:
    from indexer.encoder.device import place
    from indexer.encoder.memory import meter_of

    meter = meter_of(place(config.model.devices[0], config.model.precision))
    encoder = open_encoder(config, data, checkpoint)
    try:
        yield encoder, meter
    finally:
        encoder.close()


def _evaluation(
    space: EmbeddingSpace, device: str, n_indexed: int, n_queries: int, reference: Measured, candidate: Measured
) -> Evaluation:
    cosines, overlaps = compared(reference, candidate, n_queries)
    mean, p1, least, overlap, error = summed_up(cosines, overlaps)
    return Evaluation(
        space.fingerprint, space.model, space.weights, space.precision, device, n_indexed, len(cosines), n_queries,
        mean, p1, least, overlap, error, reference.effort, candidate.effort, time.time(),
    )  # fmt: skip


class _Features:
    """What is stored of a model's features in a precision as good as FP32, to find neighbours in."""

    def __init__(self, data: DataDir, full: EmbeddingSpace) -> None:
        records = (record.space for _, record in all_records(data.index))
        same = (space for space in records if replace(space, precision=full.precision) == full and not space.is_lossy)
        space = next(same, None)
        self.reader = FeatureReader(data.features, space) if space and data.features.exists() else None

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()


class _Steps:
    """Pictures encoded, in both precisions."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self._on_progress = on_progress
        self.n_total = 0

    def done(self, n: int) -> None:
        self._on_progress(Progress("evaluate", n < self.n_total, n, self.n_total, 0.0, None))


# ---------------------------------------------------------------- pictures


def _pixels_of(
    hashes: Sequence[ContentHash], catalogue: CatalogueReading, decoder: Decoder, max_bytes: int
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Pixels (m, side, side, 3) of the contents that can still be read and decoded, and which those are, (n,)."""
    ids = catalogue.ids_of(hashes)
    records = catalogue.images([ids[hash] for hash in hashes if hash in ids])
    pictures = []
    kept = np.zeros(len(hashes), np.bool_)
    for start in range(0, len(hashes), _WINDOW):
        window = range(start, min(start + _WINDOW, len(hashes)))
        contents = {place: _content(records.get(ids.get(hashes[place], -1)), max_bytes) for place in window}
        decoding = {place: decoder.decode(content) for place, content in contents.items() if content is not None}
        for place, future in decoding.items():
            try:
                pictures.append(future.result().pixels)
            except (ImageRefused, CapacityError) as e:
                logger.info("an image of the sample cannot be decoded: %s", e)
            else:
                kept[place] = True
    return np.stack(pictures) if pictures else np.empty((0, 1, 1, 3), np.uint8), kept


def _content(record: ImageRecord | None, max_bytes: int) -> bytes | None:
    """The bytes, from the first of a content's files that still holds it."""
    for path in record.paths if record else ():
        try:
            content = read_file(path, max_bytes)
        except (OSError, FileChanged, ImageRefused, CapacityError):
            continue
        if record and content.hash == record.hash:
            return content.data
    return None
