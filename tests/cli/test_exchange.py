"""`indexer export` and `indexer import`, as they are typed, with a running server and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.stub import JOINT_DIM, configured, open_stub
from indexer.config import Config
from indexer.engine import RunningEngine, open_engine
from indexer.engine import exchange as engine_exchange
from tests.cli.conftest import Run

N = 4


@pytest.fixture
def config(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Settings that the command finds, pictures in their folder, and a model that needs no weights."""
    monkeypatch.setattr(engine_exchange, "import_store", partial(engine_exchange.import_store, model=open_stub))
    (tmp_path / "config.toml").write_text('[watch]\nfolders = ["pictures"]\n[model]\nname = "demo"\n')
    config = configured(tmp_path)
    for i in range(N):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(b"picture %d" % i)
    return config


@contextmanager
def served(config: Config) -> Iterator[RunningEngine]:
    with open_engine(config, model=open_stub) as engine:
        assert engine.wait_idle(20)
        yield engine


@pytest.fixture
def exported(config: Config, run: Run, tmp_path: Path) -> Path:
    """An export, and no store any more."""
    with served(config):
        pass
    outcome = run("export", "out")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", f"{N} vectors in 1 parts: out\n")
    shutil.rmtree(config.store_dir)
    return tmp_path / "out"


def test_what_one_store_exports_another_imports_and_encodes_nothing(config: Config, exported: Path, run: Run) -> None:
    outcome = run("import", "out")
    assert outcome.code == 0, outcome.err
    assert outcome.err == f"{N} stored, 0 were known; {N} encoded and compared\n"
    with served(config) as engine:
        assert engine.stats().encoded_total == 0
        assert engine.stats().cache_hits_total == N


def test_beside_a_server_there_is_an_export_and_no_import(config: Config, run: Run, tmp_path: Path) -> None:
    with served(config):
        assert run("export", "out").code == 0
        outcome = run("import", "out")
    assert (outcome.code, outcome.out) == (4, "")
    assert "indexer stop" in outcome.err


def test_the_joint_space_goes_out_too(config: Config, run: Run, tmp_path: Path) -> None:
    with served(config):
        assert run("export", "joint", "--space", "joint").code == 0
    assert np.load(tmp_path / "joint/img_emb/img_emb_0.npy").shape == (N, JOINT_DIM)


def test_what_was_left_out_is_said_and_the_exit_code_tells(config: Config, exported: Path, run: Run) -> None:
    (config.folders[0] / "2.png").write_bytes(b"another picture")
    outcome = run("import", "out", "--json")
    assert outcome.code == 3
    told = json.loads(outcome.out)
    assert (told["n_stored"], told["left_out"]) == (N - 1, {"the file is another one now": 1})


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["export", "pictures"], 1, "is there already"),
        (["import", "nowhere"], 1, "nowhere is no folder"),
        (["export"], 2, "FOLDER"),
        (["import", "out", "--trust-space", "--space", "joint"], 2, "--space"),
    ],
)
def test_what_cannot_be_done_is_one_clear_message(
    config: Config, exported: Path, run: Run, arguments: list[str], code: int, said: str
) -> None:
    with served(config):
        pass
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_without_a_store_there_is_nothing_to_export(config: Config, run: Run) -> None:
    outcome = run("export", "out")
    assert outcome.code == 1
    assert "indexer serve" in outcome.err


def test_a_folder_of_another_space_is_refused_unless_it_is_trusted(config: Config, exported: Path, run: Run) -> None:
    (exported / "space.json").unlink()
    assert "--trust-space" in run("import", "out").err
    assert run("import", "out", "--trust-space").code == 0
