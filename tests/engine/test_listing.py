"""When searches go through lists, and what tuning keeps of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.torture.longrun import fill
from benchmarks.torture.stub import StubEncoder, configured, open_stub
from indexer.config import Config
from indexer.engine import evaluate_index, open_engine, tune_index
from indexer.engine.listing import FEW_ROWS, LARGE_BYTES, beside_lists
from indexer.errors import InputError, StoreLocked
from indexer.evaluate import index_shortfall
from indexer.geometry import Geometry
from indexer.index.approximate import ApproximateIndex
from indexer.index.cpu import CpuIndex
from indexer.store.data_dir import DataDir
from indexer.store.tuned_index import keep_index_tuning, read_index_tuning
from indexer.types import IdQuery, IndexTuning, OperatingPoint, TextQuery, content_hash

N = 2_000
EXACT = OperatingPoint(0, 1, 1.0, 1.0, 3.0, 4.0, 0)
QUICK = OperatingPoint(8, 16, 0.99, 0.98, 0.5, 0.9, 1_000)
FINGERPRINT = "0123456789abcdef"


def tuned(chosen: OperatingPoint) -> IndexTuning:
    return IndexTuning(FINGERPRINT, 0.97, 60_000, 256, (EXACT, QUICK), chosen)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.engine.listing.FEW_ROWS", N)


def filled(root: Path, n: int = N, **settings: Any) -> Config:
    config = configured(root, {f"index.{key}": value for key, value in settings.items()})
    fill(config, n)
    return config


@pytest.mark.parametrize(
    ("kind", "kept", "device", "expected"),
    [
        ("exact", tuned(QUICK), "cpu", None),
        ("lists", tuned(EXACT), "cpu", (0.9, FEW_ROWS)),
        ("lists", None, "cuda:0", (0.9, FEW_ROWS)),
        ("auto", tuned(QUICK), "cpu", (0.97, 30_000)),
        ("auto", tuned(EXACT), "cpu", None),
        ("auto", None, "cuda:0", None),
        ("auto", None, "cpu", (0.9, LARGE_BYTES // (2 * 64))),
    ],
)
def test_configuration_goes_before_tuning_and_that_before_size(
    tmp_path: Path, kind: str, kept: IndexTuning | None, device: str, expected: tuple[float, int] | None
) -> None:
    config = configured(tmp_path, {"index.kind": kind, "index.recall": 0.9})
    rows, embedder = CpuIndex(64), StubEncoder()
    index = beside_lists(config, kept, embedder, Geometry(embedder.projection, "visual", 64), rows, device)  # type: ignore[arg-type]
    try:
        if expected is None:
            assert index is rows
        else:
            assert isinstance(index, ApproximateIndex)
            assert (index._recall, index._least_rows) == expected
    finally:
        index.close()


@pytest.mark.usefixtures("few")
def test_a_service_told_to_use_lists_makes_them_and_answers_through_them(tmp_path: Path) -> None:
    config = filled(tmp_path, kind="lists", recall=0.3)
    with open_engine(config, model=open_stub) as engine:
        index = engine.parts.index
        assert isinstance(index, ApproximateIndex)
        assert index.wait(60)
        point = engine.stats().point
        assert point is not None
        assert point.recall >= 0.3
        assert len(engine.search(TextQuery("anything"), 10).hits) == 10
        me = content_hash(b"first 7").hex()
        assert me not in [hit.id for hit in engine.search(IdQuery(me), 10).hits]


def test_what_was_measured_is_kept_and_decides_from_the_next_start(
    few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = filled(tmp_path)
    tuning = tune_index(config, 0.9, open_stub)
    exact, *others = tuning.points
    assert (exact.n_probe, exact.recall) == (0, 1.0)
    assert others
    assert all(0 < point.recall <= 1 and point.p50_ms <= point.p99_ms for point in others)
    assert tuning.chosen.sure_recall >= 0.9
    assert tuning.chosen.p50_ms == min(point.p50_ms for point in tuning.points if point.sure_recall >= 0.9)
    kept = DataDir(config.store_dir).tuned_index
    assert read_index_tuning(kept, tuning.fingerprint) == tuning
    with open_engine(config, model=open_stub) as engine:
        assert isinstance(engine.parts.index, ApproximateIndex) == bool(tuning.chosen.n_probe)
        with pytest.raises(StoreLocked, match="indexer stop"):
            tune_index(config, 0.9, open_stub)


def test_lists_are_held_against_exact_searches_beside_a_service(tmp_path: Path) -> None:
    config = filled(tmp_path, recall=0.9)
    with DataDir(config.store_dir).lock():  # as beside a service, which holds the store
        found = evaluate_index(config, 100, model=open_stub)
    assert (found.kind, found.n_indexed, found.n_queries) == ("lists", N, 100)
    assert found.exact.recall == 1.0
    assert 0.8 <= found.found.recall <= 1
    assert found.found.n_probe > 0
    assert found.found.n_bytes > found.exact.n_bytes >= N * 64 * 2
    assert 0 < found.found.p50_ms <= found.found.p99_ms
    assert found.words is not None
    least = min(found.found.recall, found.words.recall)
    assert index_shortfall(found, least) == ""
    assert "top-10 overlap of" in index_shortfall(found, least + 1e-6)
    with pytest.raises(InputError, match="20 images"):
        evaluate_index(filled(tmp_path / "few", n=20), 100, model=open_stub)


def test_too_few_images_to_tune_are_told_and_nothing_is_kept(tmp_path: Path) -> None:
    config = filled(tmp_path, n=20)
    with pytest.raises(InputError, match="20 images"):
        tune_index(config, 0.9, open_stub)
    assert not DataDir(config.store_dir).tuned_index.exists()


@pytest.mark.parametrize("damage", ["", "[{}]", '[{"fingerprint": 1}]', "[1]", "{"])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "tuned-index.json"
    keep_index_tuning(path, tuned(QUICK))
    assert read_index_tuning(path, FINGERPRINT) == tuned(QUICK)
    assert read_index_tuning(path, "another") is None
    path.write_text(damage)
    assert read_index_tuning(path, FINGERPRINT) is None
    keep_index_tuning(path, tuned(EXACT))
    assert json.loads(path.read_text())[0]["chosen"]["n_probe"] == 0
