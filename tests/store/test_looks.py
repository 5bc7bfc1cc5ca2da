"""What was seen of pictures outlives a start, and is never believed when it is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.store.looks import KeptLooks
from indexer.types import Preprocess, content_hash

PREPROCESS = Preprocess(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LOOKS = {content_hash(b"%d" % i): np.full((26, 3), 2**63 + i, np.uint64) for i in range(3)}


def kept(folder: Path, preprocess: Preprocess = PREPROCESS, version: int = 1) -> KeptLooks:
    return KeptLooks(folder / "looks", preprocess, version)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    assert kept(tmp_path).read() == {}
    kept(tmp_path).keep(LOOKS)
    found = kept(tmp_path).read()
    assert found.keys() == LOOKS.keys()
    assert all(np.array_equal(found[hash], look) for hash, look in LOOKS.items())
    kept(tmp_path).keep(dict(list(LOOKS.items())[:1]))
    assert len(kept(tmp_path).read()) == 1
    assert len(list((tmp_path / "looks").iterdir())) == 1
    kept(tmp_path).keep({})
    assert kept(tmp_path).read() == {}


def test_other_pixels_and_other_looks_are_other_files(tmp_path: Path) -> None:
    kept(tmp_path).keep(LOOKS)
    assert kept(tmp_path, version=2).read() == {}
    assert kept(tmp_path, replace(PREPROCESS, mode="scaled")).read() == {}
    assert len(kept(tmp_path).read()) == 3


@pytest.mark.parametrize("at", [0, 40, 300, -1])
def test_damage_is_noticed_and_nothing_is_believed(tmp_path: Path, at: int) -> None:
    kept(tmp_path).keep(LOOKS)
    (path,) = (tmp_path / "looks").iterdir()
    data = bytearray(path.read_bytes())
    for cut in (data[:at], b""):
        path.write_bytes(cut)
        assert kept(tmp_path).read() == {}
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert kept(tmp_path).read() == {}


def test_where_nothing_can_be_written_it_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "looks").write_bytes(b"a file in the way")
    kept(tmp_path).keep(LOOKS)
    assert kept(tmp_path).read() == {}
