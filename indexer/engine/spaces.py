"""What stands beside an index on disk: the space it is of, so that it can be mended without loading the model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
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
        settings: The settings that led to it, to find it again without the model.
    """

    space: EmbeddingSpace
    settings: Mapping[str, str]


def write_record(folder: Path, record: SpaceRecord, projection: Matrix | None) -> None:
    """Write the record durably, as the one opened last, and the projection (d, j) float32 into the joint space."""
    if read_record(folder) == record:
        os.utime(folder / _RECORD)
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if projection is not None:
        _replace(folder / _PROJECTION, lambda path: _save_array(path, projection))
    described = json.dumps({"space": asdict(record.space), "settings": dict(record.settings)}, indent=1)
    _replace(folder / _RECORD, lambda path: path.write_text(described))


def read_record(folder: Path) -> SpaceRecord | None:
    """The record in a folder, or None when there is none that can be read."""
    try:
        described = json.loads((folder / _RECORD).read_text())
        return SpaceRecord(_space(described["space"]), described["settings"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        logger.warning("%s cannot be read: %s", folder / _RECORD, e)
        return None


def read_projection(folder: Path) -> Matrix | None:
    """The projection (d, j) float32 beside a record; None when there is none, or none that can be read."""
    try:
        projection: Matrix = np.load(folder / _PROJECTION, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read: %s", folder / _PROJECTION, e)
        return None
    return projection


def all_records(index_dir: Path) -> Iterator[tuple[Path, SpaceRecord]]:
    """Every space's folder and record below the index's folder, the one opened last first."""
    for folder in sorted(index_dir.glob("*/"), key=_opened_at, reverse=True):
        record = read_record(folder)
        if record is not None:
            yield folder, record


def spaces_kept(index_dir: Path, active: str) -> tuple[Mapping[str, Any], ...]:
    """Every space on disk, for people; `active` is the name of the folder in use."""
    return tuple(
        {
            "fingerprint": record.space.fingerprint,
            "model": record.space.model,
            "precision": record.space.precision,
            "dim": record.space.dim,
            "active": folder.name == active,
            "bytes": sum(map(_size_bytes, folder.iterdir())),
        }
        for folder, record in all_records(index_dir)
    )


def _opened_at(folder: Path) -> float:
    try:
        return (folder / _RECORD).stat().st_mtime
    except OSError:
        return 0.0


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # an old generation, just removed
        return 0


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
