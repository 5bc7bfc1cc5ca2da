"""The layout comes back as it was written, and what is not of it is refused in words."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexer.errors import ConfigError, InputError
from indexer.exchange import layout
from indexer.types import FilePath, ImageInfo, ImageRecord, content_hash

ODD = FilePath(b"/pictures/\xff.jpg")


def records(n: int) -> list[ImageRecord]:
    info = ImageInfo("PNG", 4, 3, 9)
    paths = [ODD, *(FilePath(b"/pictures/%d.png" % i) for i in range(1, n))]
    return [ImageRecord(i + 1, content_hash(b"%d" % i), info, (paths[i],), 1.0) for i in range(n)]


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, 6)).astype(np.float16)


def test_parts_come_back_as_they_were_written(tmp_path: Path) -> None:
    parts = [(rows(3), records(3)), (rows(2), records(2))]
    assert layout.write(tmp_path / "out", {"fingerprint": "f"}, parts) == (5, 2)
    assert layout.read_space(tmp_path / "out") == {"fingerprint": "f"}
    for part, (vectors, expected) in zip(layout.read(tmp_path / "out"), parts, strict=True):
        np.testing.assert_array_equal(part.vectors, vectors)
        assert list(part.paths) == [record.paths[0] for record in expected]
        assert list(part.hashes) == [record.hash for record in expected]
    assert os.listdir(tmp_path) == ["out"]


def test_the_layout_is_clip_retrievals(tmp_path: Path) -> None:
    layout.write(tmp_path / "out", {}, [(rows(2), records(2))])
    assert np.load(tmp_path / "out/img_emb/img_emb_0.npy").shape == (2, 6)
    assert pq.read_table(tmp_path / "out/metadata/metadata_0.parquet")["image_path"].to_pylist()[1] == "/pictures/1.png"


def foreign(folder: Path, vectors: np.ndarray, **columns: list[Any]) -> Path:
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    np.save(folder / "img_emb/img_emb_0.npy", vectors)
    pq.write_table(pa.table(columns), folder / "metadata/metadata_0.parquet")
    return folder


def test_others_need_tell_no_more_than_paths_which_may_be_relative(tmp_path: Path) -> None:
    (part,) = layout.read(foreign(tmp_path, rows(2), image_path=["a.jpg", "/b.jpg"]))
    assert list(part.paths) == [os.fsencode(tmp_path / "a.jpg"), b"/b.jpg"]
    assert list(part.hashes) == [None, None]
    assert layout.read_space(tmp_path) is None


@pytest.mark.parametrize(
    ("vectors", "columns", "why"),
    [
        (rows(2), {"image_path": ["a"]}, "each of the 2"),
        (rows(2), {"caption": ["a", "b"]}, "image_path"),
        (rows(1), {"image_path": ["a"], "sha256": ["xyz"]}, "sha256"),
        (np.zeros(3), {"image_path": ["a"]}, "no rows"),
        (np.zeros((1, 3), np.int8), {"image_path": ["a"]}, "floating-point"),
        (np.array([[None]]), {"image_path": ["a"]}, "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, vectors: np.ndarray, columns: dict[str, list[Any]], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        list(layout.read(foreign(tmp_path, vectors, **columns)))


def test_damaged_metadata_and_no_layout_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="img_emb"):
        list(layout.read(tmp_path))
    foreign(tmp_path, rows(1), image_path=["a"])
    (tmp_path / "metadata/metadata_0.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="metadata_0"):
        list(layout.read(tmp_path))


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already"):
        layout.write(tmp_path, {}, [])


def test_without_pyarrow_the_way_to_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"lookalike\[export\]"):
        layout.write(tmp_path / "out", {}, [])
