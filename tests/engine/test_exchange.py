"""Features leave a store and enter another: checked, and with them nothing is encoded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.stub import DIM, JOINT_DIM, configured, feature_of, open_stub
from indexer.config import Config
from indexer.engine import open_engine
from indexer.engine.exchange import export_store, import_store
from indexer.errors import InputError, StoreError, StoreLocked
from indexer.exchange import layout

N = 5


def picture(i: int) -> bytes:
    return b"picture %d" % i


def indexed(config: Config, folder: Path) -> int:
    """Have the pictures of a store's folder indexed; how many had to be encoded."""
    with open_engine(config, model=open_stub) as engine:
        assert engine.wait_idle(20)
        assert engine.stats().indexed == N
        return engine.stats().encoded_total


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = configured(tmp_path)
    (folder,) = config.folders
    folder.mkdir(exist_ok=True)
    for i in range(N):
        (folder / f"{i}.png").write_bytes(picture(i))
    return config


@pytest.fixture
def exported(config: Config, tmp_path: Path) -> Path:
    """An export of the store, which is then emptied."""
    assert indexed(config, tmp_path) == N
    assert export_store(config, tmp_path / "out") == (N, 1)
    shutil.rmtree(config.store_dir)
    return tmp_path / "out"


def edit(folder: Path, vectors: np.ndarray) -> None:
    np.save(folder / "img_emb/img_emb_0.npy", vectors)


def vectors_of(folder: Path) -> np.ndarray:
    return np.array(np.load(folder / "img_emb/img_emb_0.npy"))


def test_what_is_imported_is_never_encoded(config: Config, exported: Path, tmp_path: Path) -> None:
    brought = import_store(config, exported, model=open_stub)
    assert (brought.n_stored, brought.n_known, brought.n_sampled, brought.left_out) == (N, 0, N, {})
    assert indexed(config, tmp_path) == 0
    again = import_store(config, exported, model=open_stub)
    assert (again.n_stored, again.n_known) == (0, N)


def test_exported_vectors_are_the_features(config: Config, exported: Path) -> None:
    (part,) = layout.read(exported)
    for path, vector in zip(part.paths, part.vectors, strict=True):
        np.testing.assert_array_equal(vector, feature_of(Path(path.decode()).read_bytes()))


def test_joint_embeddings_go_out_but_do_not_come_in(config: Config, tmp_path: Path) -> None:
    indexed(config, tmp_path)
    export_store(config, tmp_path / "joint", "joint")
    vectors = vectors_of(tmp_path / "joint").astype(np.float32)
    assert vectors.shape == (N, JOINT_DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    with pytest.raises(InputError, match="joint"):
        import_store(config, tmp_path / "joint", model=open_stub)


def test_another_space_is_refused_unless_it_is_trusted(config: Config, exported: Path) -> None:
    space = json.loads((exported / "space.json").read_text())
    (exported / "space.json").write_text(json.dumps({**space, "fingerprint": "0" * 16}))
    with pytest.raises(InputError, match="0000"):
        import_store(config, exported, model=open_stub)
    (exported / "space.json").unlink()
    with pytest.raises(InputError, match="--trust-space"):
        import_store(config, exported, model=open_stub)
    assert import_store(config, exported, trust_space=True, model=open_stub).n_stored == N


def test_vectors_that_their_files_do_not_encode_to_are_refused_together(config: Config, exported: Path) -> None:
    edit(exported, np.roll(vectors_of(exported), 1, axis=0))
    with pytest.raises(InputError, match="nothing was imported"):
        import_store(config, exported, trust_space=True, model=open_stub)
    assert import_nothing_is_there(config)


def import_nothing_is_there(config: Config) -> bool:
    return indexed(config, config.store_dir) == N


def test_what_cannot_be_used_is_left_out_and_said(config: Config, exported: Path) -> None:
    vectors = vectors_of(exported)
    vectors[0] = np.nan
    vectors[1] *= 3
    edit(exported, vectors)
    (part,) = layout.read(exported)
    Path(part.paths[2].decode()).write_bytes(b"other bytes")
    Path(part.paths[3].decode()).unlink()
    brought = import_store(config, exported, model=open_stub)
    assert brought.n_stored == 1
    assert brought.left_out == {
        "the vector is not finite": 1,
        "the vector is not of unit length": 1,
        "the file is another one now": 1,
        "the file cannot be read": 1,
    }


def test_nothing_comes_in_unseen(config: Config, exported: Path) -> None:
    for path in layout.read(exported).__next__().paths:
        Path(path.decode()).unlink()
    with pytest.raises(InputError, match="none of the files"):
        import_store(config, exported, model=open_stub)


def test_other_lengths_are_refused(config: Config, exported: Path) -> None:
    edit(exported, np.ones((N, DIM + 1), np.float32))
    with pytest.raises(InputError, match=str(DIM + 1)):
        import_store(config, exported, model=open_stub)


def test_export_goes_on_beside_a_server_and_import_does_not(config: Config, exported: Path, tmp_path: Path) -> None:
    with open_engine(config, model=open_stub) as engine:
        assert engine.wait_idle(20)
        assert export_store(config, tmp_path / "beside").n_rows == N
        with pytest.raises(StoreLocked):
            import_store(config, exported, model=open_stub)


def test_without_a_store_there_is_nothing_to_export(config: Config, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        export_store(config, tmp_path / "out")
