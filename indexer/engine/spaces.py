"""What stands beside an index on disk: the space it is of, so that it can be mended without loading the model."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexer.errors import StoreCorrupt
from indexer.sqlite import sync_folder
from indexer.types import EmbeddingSpace, Matrix, Preprocess

logger = logging.getLogger(__name__)

_RECORD = "space.json"
_PROJECTION = "projection.npy"
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


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
    if read_record(folder) == record and _has_whole_projection(folder):
        os.utime(folder / _RECORD)
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    array = None if projection is None else _array_bytes(projection)
    facts = {
        "space": asdict(record.space),
        "settings": dict(record.settings),
        "projection": None if array is None else hashlib.sha256(array).hexdigest(),
    }
    if array is not None:
        _replace(folder / _PROJECTION, array)
    _replace(folder / _RECORD, json.dumps({**facts, "digest": _digest(facts)}, indent=1).encode())
    sync_folder(folder)
    sync_folder(folder.parent)


def read_record(folder: Path) -> SpaceRecord | None:
    """The record in a folder, or None when there is none that can be read and passes its check."""
    try:
        facts = _facts(folder)
        return SpaceRecord(_space(facts["space"]), facts["settings"])
    except FileNotFoundError:
        return None
    except _UNREADABLE as e:
        logger.warning("%s cannot be read: %s", folder / _RECORD, e)
        return None


def read_projection(folder: Path) -> Matrix | None:
    """The projection (d, j) float32 beside a record; None where there is no joint space.

    Raises:
        StoreCorrupt: It cannot be read, or fails its check.
    """
    try:
        digest = _facts(folder)["projection"]
        if digest is None:
            return None
        data = (folder / _PROJECTION).read_bytes()
    except _UNREADABLE as e:
        raise StoreCorrupt(f"{folder / _PROJECTION} cannot be read: {e}") from e
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreCorrupt(f"{folder / _PROJECTION} fails its check")
    projection: Matrix = np.load(io.BytesIO(data), allow_pickle=False)
    return projection


def all_records(index_dir: Path) -> Iterator[tuple[Path, SpaceRecord]]:
    """Every space's folder and record below the index's folder, the one opened last first."""
    for folder in sorted(index_dir.glob("*/"), key=_opened_at, reverse=True):
        record = read_record(folder)
        if record is not None:
            yield folder, record


def spaces_kept(index_dir: Path, active: str) -> tuple[Mapping[str, Any], ...]:
    """Every space on disk, for people; `active` is the name of the folder in use. What cannot be read is left out."""
    try:
        return tuple(_described(folder, record, active) for folder, record in all_records(index_dir))
    except OSError as e:
        logger.warning("%s cannot be read: %s", index_dir, e)
        return ()


def _described(folder: Path, record: SpaceRecord, active: str) -> Mapping[str, Any]:
    return {
        "fingerprint": record.space.fingerprint,
        "model": record.space.model,
        "precision": record.space.precision,
        "dim": record.space.dim,
        "active": folder.name == active,
        "bytes": sum(map(_size_bytes, folder.iterdir())),
    }


def _facts(folder: Path) -> dict[str, Any]:
    """What the record says; raises one of `_UNREADABLE`."""
    facts: dict[str, Any] = json.loads((folder / _RECORD).read_bytes())
    if facts.pop("digest") != _digest(facts):
        raise ValueError("it fails its check")
    return facts


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _has_whole_projection(folder: Path) -> bool:
    try:
        read_projection(folder)
    except StoreCorrupt as e:
        logger.warning("%s; it is written anew", e)
        return False
    return True


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


def _array_bytes(array: Matrix) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
