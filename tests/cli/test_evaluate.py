"""The gate on a store of drawn scenes with the demo model: int8 passes, a damaged layer fails, and serve knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from indexer.config import Config, load
from indexer.encoder import openclip
from indexer.encoder.quantised import quantise
from indexer.engine import evaluate_precision, open_engine
from indexer.errors import ConfigError, InputError
from indexer.scenes import write_scenes
from indexer.store.data_dir import DataDir
from indexer.store.gated import read_evaluation
from indexer.types import IndexEvaluation, OperatingPoint
from tests.cli.conftest import Run
from tests.fakes.engine import EVALUATION

N = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of N scenes, indexed in the demo model's usual precision."""
    root = tmp_path_factory.mktemp("gate")
    assert len(list(write_scenes(root / "images", N, seed=3, side_px=64))) == N
    with open_engine(settings(root)) as engine:
        assert engine.wait_idle(100)
    return root


@pytest.fixture(autouse=True)
def capable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever CPU this is, it counts as one that multiplies bytes; one thread is fastest for a model this small."""
    told = torch.cpu.get_capabilities()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {**told, "avx512_vnni": True})
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(root: Path, **model: object) -> Config:
    flags = {"model.name": "demo", "model.device": "cpu", "decode.workers": 1, "watch.settle_s": 0.05}
    told = {f"model.{key}": value for key, value in model.items()}
    return load(flags={**flags, **told}, environ={}, cwd=root).config


def damaged(visual: Any, precision: str) -> None:
    """One layer's scales are half of what they should be, as by a fault in quantising."""
    quantise(visual, precision)
    visual.transformer.resblocks[1].mlp.c_fc.scale.mul_(0.5)


def test_int8_passes_the_gate_and_only_then_is_served(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^model\.precision: int8 has not passed.*`indexer evaluate --precision int8`"
    ):
        open_engine(settings(root, precision="int8"))
    with DataDir(root / "data").lock():  # as beside a service, which holds the store
        found = evaluate_precision(settings(root), "int8", 500)
    assert (found.n_indexed, found.n_images, found.n_queries) == (N, N, N)
    assert found.overlap >= 0.95
    assert 0.99 <= found.cosine_min <= found.cosine_p1 <= found.cosine_mean < 1
    assert found.candidate.weights_bytes < found.reference.weights_bytes / 2
    assert found.candidate.images_per_s > 0
    with open_engine(settings(root, precision="int8")) as engine:
        assert engine.space.precision.startswith("int8+")
        assert engine.space.fingerprint == found.fingerprint
        assert engine.wait_idle(100)
        assert engine.stats().indexed == N


def test_a_damaged_layer_fails_the_gate(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openclip, "quantise", damaged)
    found = evaluate_precision(settings(root), "int8", 500)
    assert found.overlap < 0.95
    assert found.cosine_p1 < 0.99
    assert read_evaluation(DataDir(root / "data").gated, found.fingerprint) == found


def test_a_part_of_the_images_is_asked_about_with_its_neighbours_and_lost_files_are_left_out(
    root: Path, tmp_path: Path
) -> None:
    config = settings(root)
    some = sorted((root / "images").rglob("*.*"))[:16]
    kept = [(path, path.read_bytes()) for path in some]
    try:
        for path in some[:8]:
            path.unlink()
        for path in some[8:]:
            path.write_bytes(b"something else")
        found = evaluate_precision(config, "bf16", 35, seed=1)
        assert found.n_queries in (35 // 20, found.n_images)
        assert 35 - 16 <= found.n_images <= 40 - 16
        assert found.precision == "bf16"
        assert found.cosine_min > 0.999
        for path in (root / "images").rglob("*.*"):
            kept.append((path, path.read_bytes()))
            path.unlink()
        with pytest.raises(InputError, match="only 0 of 35 images could be read"):
            evaluate_precision(config, "bf16", 35)
    finally:
        for path, content in reversed(kept):
            path.write_bytes(content)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--precision", "int8"], 1, "no index"),
        (["--precision", "fp8"], 2, "no CPU multiplies fp8"),
        (["--precision", "fp16"], 2, "fp16 on a CPU"),
        (["--precision", "int4"], 2, "int4"),
        (["--precision", "int8", "--sample", "10"], 2, "sample"),
        ([], 2, "--index-kind"),
        (["--precision", "int8", "--index-kind", "lists"], 2, "one of"),
        (["--index-kind", "exact"], 2, "lists"),
        (["--index-kind", "lists"], 1, "no index"),
    ],
)
def test_what_cannot_be_evaluated_says_why(run: Run, arguments: list[str], code: int, words: str) -> None:
    outcome = run("evaluate", *arguments, "--set", "model.name=demo", "--set", "model.device=cpu")
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err


def test_the_table_ends_in_a_verdict_which_is_the_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [EVALUATION, replace(EVALUATION, overlap=0.9)]
    monkeypatch.setattr("indexer.engine.evaluate_precision", lambda *_, **__: given[0])
    good = run("evaluate", "--precision", "int8")
    assert good.code == 0
    first, second, _, verdict = good.out.split("\n\n")[0], *good.out.split("\n\n")[1:], good.out.splitlines()[-1]
    assert [line.split("\t")[0] for line in first.splitlines()] == ["fp32", "int8+bf16"]
    assert second.splitlines()[-1] == "top-10 overlap\t0.9800 ± 0.0030\t0.95"
    assert verdict == "int8 passes"
    strict = run("evaluate", "--precision", "int8", "--set", "model.gate_overlap=0.99")
    assert (strict.code, strict.out.splitlines()[-1]) == (1, "int8 fails: top-10 overlap 0.980 is below 0.99")
    given.pop(0)
    bad = run("evaluate", "--precision", "int8", "--json")
    answer = json.loads(bad.out)
    assert (bad.code, answer["passed"], answer["overlap"], answer["gate_overlap"]) == (1, False, 0.9, 0.95)
    assert answer["candidate"]["precision"] == "int8+bf16"


def test_an_index_has_its_table_and_verdict_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = OperatingPoint(0, 1, 1.0, 1.0, 129.0, 140.0, 2_600_000_000)
    images = OperatingPoint(8, 16, 0.997, 0.995, 3.5, 6.0, 2_790_000_000)
    given = IndexEvaluation("0123456789abcdef", "lists", 1_000_000, 500, 1024, exact, images, None)
    monkeypatch.setattr("indexer.engine.evaluate_index", lambda *_, **__: given)
    good = run("evaluate", "--index-kind", "lists")
    assert good.code == 0
    kinds, figures, told = good.out.split("\n\n")
    assert kinds.splitlines() == ["exact\t129.00 ms\t140.00 ms\t2,600 MB", "lists\t3.50 ms\t6.00 ms\t2,790 MB"]
    assert figures == "top-10 overlap, images\t0.9970 ± 0.0010\t0.95"
    asked, verdict = told.splitlines()
    assert asked == "500 of 1,000,000 images asked about, through 8 of 1,024 lists, 16 candidates a hit"
    assert (verdict, good.err) == ("lists passes", "")
    given = replace(given, n_indexed=2000, words=replace(images, recall=0.9))
    bad = run("evaluate", "--index-kind", "lists")
    assert (bad.code, bad.out.splitlines()[-1]) == (1, "lists fails: top-10 overlap of words 0.900 is below 0.95")
    assert "searched exactly" in bad.err
    answer = json.loads(run("evaluate", "--index-kind", "lists", "--json").out)
    assert (answer["passed"], answer["kind"], answer["gate_overlap"]) == (False, "lists", 0.95)
    assert answer["found"]["p50_ms"] == 3.5
