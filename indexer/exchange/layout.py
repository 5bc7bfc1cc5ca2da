"""clip-retrieval's folders: vectors as NumPy arrays, what they are of as Parquet, part by part.

    img_emb/img_emb_0.npy               (n, d), float16
    metadata/metadata_0.parquet         n rows: image_path, and here also sha256, path_bytes, width, ...
    space.json                          the embedding space, where it is known

Source: https://github.com/rom1504/clip-retrieval
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import ConfigError, InputError, StoreFull
from indexer.types import ContentHash, FilePath, ImageRecord, display_path

_VECTORS, _METADATA, _SPACE = "img_emb", "metadata", "space.json"
_NUMBERED: Final = re.compile(r"img_emb_(\d+)\.npy")


@dataclass(frozen=True, slots=True)
class Part:
    """Some vectors (n, d), on disk, and of which files they are; a content hash where it is told."""

    vectors: NDArray[Any]
    paths: Sequence[FilePath]
    hashes: Sequence[ContentHash | None]


class Written(NamedTuple):
    """What was written."""

    n_rows: int
    n_parts: int


def write(
    folder: Path, space: Mapping[str, Any], parts: Iterable[tuple[NDArray[np.float16], Sequence[ImageRecord]]]
) -> Written:
    """Write a folder, whole or not at all.

    Raises:
        InputError: It is there already.
        ConfigError: pyarrow is not installed.
        StoreFull: It cannot be written.
    """
    arrow, parquet = _libraries()
    unfinished = folder.with_name(f"{folder.name}.tmp")
    if folder.exists() or unfinished.exists():
        raise InputError(f"{folder if folder.exists() else unfinished} is there already; name a folder to be made")
    n_rows = n_parts = 0
    try:
        for sub in (_VECTORS, _METADATA):
            (unfinished / sub).mkdir(parents=True)
        for number, (vectors, records) in enumerate(parts):
            np.save(unfinished / _VECTORS / f"img_emb_{number}.npy", vectors, allow_pickle=False)
            parquet.write_table(arrow.table(_columns(records)), unfinished / _METADATA / f"metadata_{number}.parquet")
            n_rows, n_parts = n_rows + len(records), number + 1
        (unfinished / _SPACE).write_text(json.dumps(space, indent=1))
        unfinished.rename(folder)
    except OSError as e:
        raise StoreFull(f"{folder} cannot be written: {e.strerror or e}") from e
    return Written(n_rows, n_parts)


def read_space(folder: Path) -> Mapping[str, Any] | None:
    """The embedding space that is told; None where none is. Raises `InputError` if it cannot be read."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; name one that `indexer export` or clip-retrieval has written")
    try:
        told = json.loads((folder / _SPACE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"{folder / _SPACE} cannot be read: {e}") from e
    return told if isinstance(told, dict) else None


def read(folder: Path) -> Iterator[Part]:
    """Every part, by its number.

    Raises:
        InputError: There are none, or one cannot be used; says which.
        ConfigError: pyarrow is not installed.
    """
    _, parquet = _libraries()
    try:
        names = os.listdir(folder / _VECTORS)
    except OSError as e:
        raise InputError(f"{folder / _VECTORS} cannot be read: {e.strerror}") from e
    numbers = sorted((int(match[1]), match[1]) for name in names if (match := _NUMBERED.fullmatch(name)))
    if not numbers:
        raise InputError(f"{folder / _VECTORS} holds no img_emb_0.npy")
    for _, number in numbers:
        vectors = _array(folder / _VECTORS / f"img_emb_{number}.npy")
        yield _part(parquet, folder, folder / _METADATA / f"metadata_{number}.parquet", vectors)


def _columns(records: Sequence[ImageRecord]) -> dict[str, list[Any]]:
    return {
        "image_path": [display_path(record.paths[0]) for record in records],
        "path_bytes": [bytes(record.paths[0]) for record in records],  # names need not be UTF-8
        "sha256": [record.hash.hex() for record in records],
        "width": [record.info.width_px for record in records],
        "height": [record.info.height_px for record in records],
        "format": [record.info.format for record in records],
        "size_bytes": [record.info.size_bytes for record in records],
    }


def _array(path: Path) -> NDArray[Any]:
    try:
        vectors: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise InputError(f"{path} cannot be read: {e}") from e
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise InputError(f"{path} holds no rows of floating-point numbers")
    return vectors


def _part(parquet: Any, folder: Path, path: Path, vectors: NDArray[Any]) -> Part:
    try:
        file = parquet.ParquetFile(path)
        names = [name for name in ("image_path", "path_bytes", "sha256") if name in file.schema_arrow.names]
        table = file.read(columns=names).to_pydict()
    except (OSError, ValueError) as e:  # pyarrow's own are kinds of these
        raise InputError(f"{path} cannot be read: {e}") from e
    if "image_path" not in table or len(table["image_path"]) != len(vectors):
        raise InputError(f"{path} must have an image_path for each of the {len(vectors):,} vectors")
    texts = table.get("path_bytes") or table["image_path"]
    base = os.fsencode(folder)
    paths = [
        FilePath(os.path.join(base, each if isinstance(each, bytes) else os.fsencode(str(each)))) for each in texts
    ]
    return Part(vectors, paths, [_hash(path, each) for each in table.get("sha256") or [None] * len(paths)])


def _hash(path: Path, told: object) -> ContentHash | None:
    if told is None:
        return None
    try:
        digest = bytes.fromhex(told if isinstance(told, str) else "?")
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise InputError(f"{path}: sha256 must be 64 hexadecimal digits, or null")
    return ContentHash(digest)


def _libraries() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise ConfigError("pyarrow is needed for Parquet; install it with: pip install 'lookalike[export]'") from e
    return pa, pq
