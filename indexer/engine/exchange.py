"""Features out of the store and into it, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from indexer.bring import Bringing, Brought, Given
from indexer.config import Config
from indexer.engine.opening import OpenModel, existing_catalogue, record_of
from indexer.engine.parts import open_model
from indexer.engine.spaces import read_projection
from indexer.errors import InputError, StoreError
from indexer.exchange import layout
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.files.reading import read_file
from indexer.geometry import Geometry
from indexer.ports import CatalogueReading, FeatureReading
from indexer.store.data_dir import DataDir
from indexer.types import ImageRecord

_PART_ROWS: Final = 100_000
_AT_ONCE: Final = 1000

N_SAMPLE: Final = 32
"""Vectors that are compared with what their files encode to here."""


def export_store(config: Config, folder: Path, space: Literal["visual", "joint"] = "visual") -> layout.Written:
    """Write every indexed image's feature, or joint embedding; beside a server or without one.

    Raises:
        StoreError: There is no store yet, or no index with these settings.
        InputError: The folder is there already, or the model has no joint space.
    """
    data = DataDir(config.store_dir)
    with ExitStack() as stack:
        catalogue = existing_catalogue(data)
        stack.callback(catalogue.close)
        known = record_of(config, data)
        if known is None:
            raise StoreError(f"there is no index in {data.path} with these settings yet; run `indexer serve` first")
        index_folder, record = known
        features = FeatureReader(data.features, record.space)
        stack.callback(features.close)
        geometry = Geometry(read_projection(index_folder), dim=record.space.dim)
        if space == "joint" and not geometry.has_joint:
            raise InputError("this model has no space shared with words; export the visual one")
        facts = {"fingerprint": record.space.fingerprint, "vectors": space, **asdict(record.space)}
        return layout.write(folder, facts, _parts(catalogue, features, geometry if space == "joint" else None))


def import_store(
    config: Config,
    folder: Path,
    *,
    trust_space: bool = False,
    report: Callable[[int], None] = lambda _n: None,
    model: OpenModel = open_model,
) -> Brought:
    """Put features of a folder into the store, after a sample of them was encoded here and compared.

    Raises:
        StoreLocked: A server runs.
        InputError: They are of another space, not told of which, or not what their files encode to.
        StoreError, ModelError: As for `open_engine`.
    """
    data = DataDir(config.store_dir)
    with ExitStack() as stack:
        stack.enter_context(data.lock())
        opened = model(config, data, stack)
        space = opened.embedder.space
        _require_space(layout.read_space(folder), space.fingerprint, trust_space)
        parts = list(layout.read(folder))
        _require_dim(parts, *opened.geometry.dims)
        cache = DiskFeatureCache(data.features, space)
        stack.callback(cache.close)
        read = partial(read_file, max_bytes=config.decode.max_file_bytes)
        bringing = Bringing(cache, opened.decoder, opened.embedder, read)
        n_sampled = bringing.sample(_sampled(parts))
        return replace(bringing.bring(_given(parts), report), n_sampled=n_sampled)


def _parts(
    catalogue: CatalogueReading, features: FeatureReading, joint: Geometry | None
) -> Iterator[tuple[NDArray[np.float16], list[ImageRecord]]]:
    """Vectors (n, d) and what they are of; images without a feature are left out."""
    ids, _ = catalogue.live()
    for start in range(0, len(ids), _PART_ROWS):
        records: list[ImageRecord] = []
        vectors: list[NDArray[np.float16]] = []
        for at in range(start, min(start + _PART_ROWS, len(ids)), _AT_ONCE):
            some = list(catalogue.images(ids[at : min(at + _AT_ONCE, start + _PART_ROWS)].tolist()).values())
            stored = features.get_many([record.hash for record in some])
            records += [record for record in some if record.hash in stored]
            vectors += [stored[record.hash].feature for record in some if record.hash in stored]
        if vectors:
            rows = np.stack(vectors)
            yield rows if joint is None else joint.joint(rows).astype(np.float16), records


def _require_space(told: Any, fingerprint: str, trust_space: bool) -> None:
    if trust_space:
        return
    if told is None:
        raise InputError("the folder does not tell its embedding space; if it is this model's, add --trust-space")
    if told.get("fingerprint") != fingerprint:
        raise InputError(
            f"these vectors are of the space {told.get('fingerprint')}, and this store's is {fingerprint}; "
            "use the same model, precision and preprocessing, or, if they are, add --trust-space"
        )


def _require_dim(parts: Sequence[layout.Part], dim: int, joint_dim: int | None) -> None:
    for part in parts:
        if (found := part.vectors.shape[1]) == dim:
            continue
        if found == joint_dim:
            raise InputError(
                f"these are joint embeddings ({found} numbers); what is kept are the visual features ({dim}) that they "
                "are made from, and there is no way back"
            )
        raise InputError(f"these vectors have {found} numbers; this model's have {dim}")


def _given(parts: Sequence[layout.Part]) -> Iterator[Given]:
    for part in parts:
        for path, vector, hash in zip(part.paths, part.vectors, part.hashes, strict=True):
            yield Given(path, np.array(vector, dtype=np.float32), hash)


def _sampled(parts: Sequence[layout.Part]) -> list[Given]:
    places = [(part, row) for part in parts for row in range(len(part.paths))]
    chosen = np.random.default_rng().choice(len(places), min(N_SAMPLE, len(places)), replace=False)
    some = [places[at] for at in chosen.tolist()]
    return [
        Given(part.paths[row], np.array(part.vectors[row], dtype=np.float32), part.hashes[row]) for part, row in some
    ]
