"""What stands beside an index on disk: the space it is of, so that it can be mended without loading the model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indexer.types import EmbeddingSpace, Matrix, Preprocess

logger = logging.getLogger(__name__)

_RECORD = "space.json"
_PROJECTION = "projection.npy"


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """An embedding space that this store has an index of.

    Attributes:
        space: Its description.
        projection: (d, j) float32 into the joint space, or None.
        settings: The settings that led to it, to find it again without the model.
    """

    space: EmbeddingSpace
    projection: Matrix | None = field(repr=False, compare=False)
    settings: Mapping[str, str]


def write_record(folder: Path, record: SpaceRecord) -> None:
    """Write the record durably; what is there already and equal is left alone."""
    if read_record(folder) == record:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    projection = record.projection
    if projection is not None:
        _replace(folder / _PROJECTION, lambda path: _save_array(path, projection))
    described = json.dumps({"space": asdict(record.space), "settings": dict(record.settings)}, indent=1)
    _replace(folder / _RECORD, lambda path: path.write_text(described))


def read_record(folder: Path) -> SpaceRecord | None:
    """The record in a folder, or None when there is none that can be read."""
    try:
        described = json.loads((folder / _RECORD).read_text())
        path = folder / _PROJECTION
        projection = np.load(path, allow_pickle=False) if path.exists() else None
        return SpaceRecord(_space(described["space"]), projection, described["settings"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        logger.warning("%s cannot be read: %s", folder / _RECORD, e)
        return None


def all_records(index_dir: Path) -> Iterator[tuple[Path, SpaceRecord]]:
    """Every space's folder and record below the index's folder."""
    for folder in sorted(index_dir.glob("*/")):
        record = read_record(folder)
        if record is not None:
            yield folder, record


def spaces_kept(index_dir: Path, active: str) -> tuple[Mapping[str, Any], ...]:
    """Every space on disk, for people: model, precision, fingerprint, whether it is the active one, size in bytes."""
    return tuple(
        {
            "fingerprint": record.space.fingerprint,
            "model": record.space.model,
            "precision": record.space.precision,
            "dim": record.space.dim,
            "active": record.space.fingerprint == active,
            "bytes": sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        }
        for folder, record in all_records(index_dir)
    )


def _space(described: Mapping[str, Any]) -> EmbeddingSpace:
    preprocess = dict(described["preprocess"])
    for key in ("mean", "std"):
        preprocess[key] = tuple(preprocess[key])
    return EmbeddingSpace(**{**described, "preprocess": Preprocess(**preprocess)})


def _save_array(path: Path, array: Matrix) -> None:
    with path.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_suffix(".tmp")
    write(temporary)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
