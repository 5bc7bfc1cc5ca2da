"""What stands beside an index on disk is believed only if it is whole."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from indexer.engine.spaces import SpaceRecord, all_records, read_projection, read_record, spaces_kept, write_record
from indexer.errors import StoreCorrupt
from tests.fakes.river import SPACE

PROJECTION = np.random.default_rng(1).normal(size=(16, 6)).astype(np.float32)
RECORD = SpaceRecord(SPACE, {"model.name": "demo"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / SPACE.fingerprint
    write_record(folder, RECORD, PROJECTION)
    return folder


def test_a_record_is_read_back_as_it_was_written(folder: Path) -> None:
    assert read_record(folder) == RECORD
    assert np.array_equal(read_projection(folder), PROJECTION)
    assert list(all_records(folder.parent)) == [(folder, RECORD)]
    (kept,) = spaces_kept(folder.parent, folder.name)
    assert (kept["active"], kept["bytes"]) == (True, sum(file.stat().st_size for file in folder.iterdir()))


def test_a_space_without_a_projection_has_none(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD, None)
    assert read_record(tmp_path) == RECORD
    assert read_projection(tmp_path) is None


@pytest.mark.parametrize("name", ["space.json", "projection.npy"])
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_record_counts_as_none_and_is_written_anew(folder: Path, name: str, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray((folder / name).read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (folder / name).write_bytes(data[: rng.choice([0, 7, len(data)])] if seed % 2 else data)
    assert read_record(folder) in (None, RECORD)  # a blank may have changed
    with suppress(StoreCorrupt):
        assert np.array_equal(read_projection(folder), PROJECTION)
    write_record(folder, RECORD, PROJECTION)
    assert read_record(folder) == RECORD
    assert np.array_equal(read_projection(folder), PROJECTION)


def test_what_cannot_be_read_now_is_left_out(folder: Path) -> None:
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "space.json").mkdir()
    assert len(spaces_kept(folder.parent, "")) == 1
    assert spaces_kept(folder / "space.json", "") == ()
