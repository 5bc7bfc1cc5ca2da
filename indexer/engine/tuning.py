"""Batch sizes: which one is in force, measuring a better one, and what to set where nothing was measured."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.config import Config
from indexer.engine.listing import exactly, measure_lists, words
from indexer.engine.opening import OpenModel, open_engine
from indexer.engine.parts import IMAGES_ON_THEIR_WAY, checkpoint_of, encoder_of, machine_of, open_model
from indexer.recommend import CARDS_GIB, Recommendation, card, recommend
from indexer.store.data_dir import DataDir
from indexer.store.tuned import keep_tuning
from indexer.store.tuned_index import keep_index_tuning
from indexer.tune import tune
from indexer.types import IndexTuning, Tuning


def tune_batch(config: Config, most: int | None = None) -> Tuning:
    """Measure batches of up to `most` pictures (None: as many as a service fills) and keep the result.

    Raises:
        StoreLocked: A service uses this store, and would be measured too.
        ConfigError, ModelError: The model cannot be opened.
        DeviceOutOfMemory, DeviceFailed: Not even one picture fits, or the device is lost.
        StoreError: The result cannot be kept.
    """
    data = DataDir(config.store_dir)
    data.require_free()  # what runs on it would be measured too
    with data.lock():
        from indexer.encoder.device import place
        from indexer.encoder.lane import MAX_BATCH_S
        from indexer.encoder.memory import meter_of

        placement = place(config.model.devices[0], config.model.precision)
        checkpoint = checkpoint_of(config)
        meter = meter_of(placement)
        encoder = encoder_of(config, data, checkpoint)
        try:
            # While one batch is computed the next is gathered: a batch can be half of what is on its way.
            most = most or IMAGES_ON_THEIR_WAY[placement.device.type] // 2
            tuning = tune(encoder, meter, most=most, longest_s=MAX_BATCH_S)
        finally:
            encoder.close()
        keep_tuning(data.tuned, tuning)
        return tuning


def tune_index(config: Config, recall: float, model: OpenModel = open_model) -> IndexTuning:
    """Measure searches of the index on held-out rows and common words, and keep the fastest way with this recall.

    Raises:
        StoreLocked: A service uses this store, and would be measured too.
        InputError: There are too few images.
        ConfigError, ModelError, StoreError: As for `open_engine`.
    """
    data = DataDir(config.store_dir)
    data.require_free()  # what runs on it would be measured too
    with open_engine(exactly(config), watch=False, model=model) as engine:
        parts = engine.parts
        queries = words(parts.embedder, parts.geometry)
        tuning = measure_lists(parts.index, queries, recall, parts.embedder.space.fingerprint)
        keep_index_tuning(data.tuned_index, tuning)
    return tuning


@dataclass(frozen=True, slots=True)
class Recommendations:
    """What to set here, and on machines with other devices."""

    here: Recommendation
    others: tuple[Recommendation, ...]


def recommendations(config: Config, memory_gib: float | None = None) -> Recommendations:
    """What suits the configured model on this machine, or with a GPU of `memory_gib` in it. No model is loaded.

    Raises:
        ConfigError: No such model or device.
    """
    from indexer.encoder.sizing import size_of

    size = size_of(checkpoint_of(config))
    here = machine_of(config)
    asked = here if memory_gib is None else card(memory_gib, here.n_cores)
    cards = tuple(recommend(size, card(gib, here.n_cores)) for gib in CARDS_GIB)
    on_cpu = (recommend(size, here),) if here.kind == "cpu" else ()
    return Recommendations(recommend(size, asked), (*on_cpu, *cards))
