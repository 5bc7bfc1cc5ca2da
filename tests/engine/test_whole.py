"""The engine with all its real parts: faults planted in a living store, found and mended beside its searches."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.stub import BAD, feature_of, open_stub
from indexer.config import Config, load
from indexer.engine import RunningEngine, offline_stats, open_engine, verify_offline, why_offline
from indexer.engine.examining import subject_of
from indexer.engine.parts import Model
from indexer.errors import InputError, StoreError, StoreLocked
from indexer.store.data_dir import DataDir
from indexer.types import FilePath, Flaw, IdQuery, Standing, StoredFeature, VerifyReport, content_hash

N = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = tmp_path_factory.mktemp("engine")
    (root / "pictures").mkdir()
    for i in range(N):
        (root / "pictures" / f"{i}.png").write_bytes(image(i))
    (root / "pictures" / "copy.png").write_bytes(image(0))
    (root / "pictures" / "bad.png").write_bytes(BAD)
    flags = {
        "watch.folders": [str(root / "pictures")], "store.dir": str(root / "data"), "watch.settle_s": 0.05,
        "model.name": "demo",
    }  # fmt: skip
    return load(flags=flags, environ={}, cwd=root).config


@pytest.fixture(scope="module")
def engine(config: Config) -> Iterator[RunningEngine]:
    with open_engine(config, model=open_stub) as opened:
        assert opened.wait_idle(60)
        yield opened


def verified(engine: RunningEngine, *, sample: int = 0, repair: bool = False) -> VerifyReport:
    engine.verify(sample=sample, repair=repair)
    pause = threading.Event()
    while (progress := engine.verify_progress()) and progress.running:
        pause.wait(0.005)
    assert progress
    assert progress.error == ""
    report = engine.verify_report()
    assert report
    return report


def image(i: int) -> bytes:
    """The bytes of the i-th file."""
    return b"image %d" % i


def path_of(config: Config, name: str) -> FilePath:
    return FilePath(os.fsencode(config.folders[0] / name))


def test_a_living_store_is_well(engine: RunningEngine) -> None:
    report = verified(engine, sample=4)
    assert report.found == {}
    assert (report.files, report.contents, report.features, report.rows, report.reencoded) == (N + 2, N, N, N, 4)
    assert engine.stats().verify == report
    assert "verify" in [each.task for each in engine.stats().progress]


def test_faults_are_mended_beside_searches(engine: RunningEngine, config: Config) -> None:
    """A row lost, a feature lost, another picture's feature and row, and a phantom."""
    index, cache, catalogue = engine.parts.index, engine.parts.cache, engine.parts.catalogue
    hashes = [content_hash(image(i)) for i in range(N)]
    ids = [catalogue.ids_of(hashes)[hash] for hash in hashes]
    stored = cache.get_many(hashes)
    index.remove(np.array([ids[1]]))
    cache.drop_many([hashes[2]])  # type: ignore[attr-defined]  # its one writer's
    wrong = StoredFeature(stored[hashes[4]].feature, stored[hashes[3]].info)
    cache.put_many({hashes[3]: wrong})  # type: ignore[attr-defined]
    index.upsert(np.array([ids[3], 10**12]), *engine.parts.geometry.rows(np.stack([wrong.feature] * 2)))

    assert verified(engine).found == {Flaw.MISSING: 2, Flaw.ORPHANED: 1}
    assert any("verify --repair" in notice for notice in engine.stats().notices)
    assert engine.why(path_of(config, "1.png")).standing is Standing.NO_ROW
    assert engine.why(path_of(config, "2.png")).standing is Standing.NO_FEATURE

    assert engine._inflow
    n_changes = engine._inflow.committer.n_index_changes
    report = verified(engine, sample=N, repair=True)
    assert report.ok, report.examples
    assert engine._inflow.committer.n_index_changes == n_changes + 4  # one is removed; else no snapshot would have them
    assert report.found == report.mended == {Flaw.MISSING: 2, Flaw.ORPHANED: 1, Flaw.DRIFTED: 1}
    assert verified(engine, sample=N).found == {}
    assert engine.stats().notices == ()
    assert index.ids().tolist() == sorted(ids)
    for i, hash in enumerate(hashes):
        assert np.array_equal(index.rows(np.array([ids[i]]))[0], feature_of(image(i)))
        assert np.array_equal(cache.get_many([hash])[hash].feature, feature_of(image(i)))
    assert engine.search(IdQuery(hashes[1].hex()), 3).count == N


def test_events_have_time_to_arrive_before_a_change_is_called_stale(engine: RunningEngine, config: Config) -> None:
    assert engine._inflow
    ground = subject_of(engine.parts, engine._inflow, pause=lambda _seconds: None).ground
    assert ground.patience_s >= config.watch.settle_s + 1
    path = path_of(config, "late.png")
    assert not ground.on_its_way(path)
    engine._inflow.settle.add(path)
    assert ground.on_its_way(path)
    assert engine.wait_idle(10)


def test_why_is_told_of_living_paths(engine: RunningEngine, config: Config) -> None:
    known = engine.why(path_of(config, "0.png"))
    assert (known.standing, known.same_content) == (Standing.INDEXED, (path_of(config, "copy.png"),))
    assert engine.why(path_of(config, "bad.png")).standing is Standing.REFUSED
    assert engine.why(path_of(config, "notes.txt")).rule == "*.txt"
    assert engine.why(FilePath(b"/etc/passwd")).standing is Standing.OUTSIDE
    with pytest.raises(InputError):
        engine.why(FilePath(b"relative"))


def test_a_store_that_is_served_is_not_verified_beside_the_server(engine: RunningEngine, config: Config) -> None:
    with pytest.raises(StoreLocked):
        verify_offline(config, sample=0, repair=True)
    assert why_offline(config, path_of(config, "0.png")).standing is Standing.INDEXED


def test_without_a_server_no_model_is_loaded_until_something_must_be_encoded(
    engine: RunningEngine, config: Config
) -> None:
    """Runs last: it closes the engine."""
    opened: list[Config] = []

    def open_model(config: Config, data: DataDir, stack: ExitStack) -> Model:
        opened.append(config)
        return open_stub(config, data, stack)

    def verify(*, sample: int = 0, repair: bool = False) -> VerifyReport:
        return verify_offline(config, sample=sample, repair=repair, model=open_model)

    report = engine.verify_report()
    engine.close()
    assert offline_stats(config).verify == report

    for generation in (config.store_dir / "index").glob("*/gen-*"):
        generation.unlink()
    report = verify(repair=True)
    assert (report.found, report.rows) == ({}, N)
    behind = f"the newest snapshot lacks {N} rows and holds 0 too many, as after a sudden end"
    assert report.notes == (f"{behind}; a start brings it up to date",)
    assert verify().notes == ()

    (config.folders[0] / "5.png").unlink()
    (config.folders[0] / "new.png").write_bytes(b"a new image")
    report = verify()
    assert report.found == {Flaw.STALE: 2}
    assert why_offline(config, path_of(config, "new.png")).standing is Standing.NOT_SEEN
    assert why_offline(config, path_of(config, "5.png")).standing is Standing.NOT_THERE
    assert offline_stats(config).verify == report
    assert opened == []

    report = verify(repair=True)
    assert (report.found, report.mended) == ({Flaw.STALE: 2}, {Flaw.STALE: 2})
    assert offline_stats(config).verify == report
    assert why_offline(config, path_of(config, "new.png")).standing is Standing.INDEXED
    report = verify(sample=3)
    assert (report.found, report.reencoded, report.kept) == ({}, 3, 1)
    assert len(opened) == 2


def test_a_store_that_is_not_there_is_an_error_and_stays_so(tmp_path: Path) -> None:
    config = load(flags={"store.dir": str(tmp_path / "data")}, environ={}, cwd=tmp_path).config
    with pytest.raises(StoreError, match="no index"):
        verify_offline(config, sample=0, repair=True)
    with pytest.raises(StoreError, match="no index"):
        why_offline(config, FilePath(b"/x"))
    assert list(tmp_path.iterdir()) == []
