"""A lossy precision is served when it has passed the gate, or when that is waived."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indexer.config import Config, load
from indexer.engine.gate import require_gate
from indexer.errors import ConfigError
from indexer.store.data_dir import DataDir
from indexer.store.gated import keep_evaluation
from indexer.types import EmbeddingSpace
from tests.fakes.engine import EVALUATION, SPACE

N = 1000
"""Images indexed."""


def space(precision: str) -> EmbeddingSpace:
    return replace(SPACE, precision=precision)


def config(root: Path, **model: object) -> Config:
    return load(flags={f"model.{key}": value for key, value in model.items()}, environ={}, cwd=root).config


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """A store whose int8 has passed with an overlap of 0.98 and a p1 cosine of 0.998."""
    keep_evaluation(tmp_path / "gated.json", replace(EVALUATION, fingerprint=space("int8+bf16").fingerprint))
    return DataDir(tmp_path)


def test_what_has_passed_is_served_and_so_is_what_is_not_lossy(data: DataDir, tmp_path: Path) -> None:
    require_gate(config(tmp_path, precision="int8"), data, space("int8+bf16"), N)
    for precision in ("fp32", "fp16", "bf16"):
        require_gate(config(tmp_path), data, space(precision), 0)


@pytest.mark.parametrize(
    ("precision", "given"),
    [
        ("fp8+bf16", space("fp8+bf16")),
        ("int8+fp16", space("int8+fp16")),  # on another device
        ("int8+bf16", replace(space("int8+bf16"), weights="f" * 64)),
        ("int8+bf16", replace(space("int8+bf16"), model="another")),
    ],
)
def test_another_precision_model_or_weights_must_pass_by_themselves(
    data: DataDir, tmp_path: Path, precision: str, given: EmbeddingSpace
) -> None:
    name = precision.partition("+")[0]
    with pytest.raises(ConfigError) as caught:
        require_gate(config(tmp_path, precision=name), data, given, N)
    assert str(caught.value) == (
        f"model.precision: {name} has not passed the gate on your images with {given.model}; run "
        f"`indexer evaluate --precision {name}`, or set model.allow_ungated = true to serve it anyway"
    )


def test_on_a_store_without_images_the_way_to_the_gate_is_told(data: DataDir, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        require_gate(config(tmp_path, precision="fp8"), data, space("fp8+bf16"), 3)
    assert str(caught.value) == (
        "model.precision: fp8 has not passed the gate on your images with fake, of which only 3 are indexed; index "
        "some with `indexer serve --set model.precision=auto`, then run `indexer evaluate --precision fp8`, or set "
        "model.allow_ungated = true to serve it anyway"
    )


@pytest.mark.parametrize("floor", [{"gate_overlap": 0.981}, {"gate_cosine": 0.9981}])
def test_the_floors_in_force_count_not_those_of_then(data: DataDir, tmp_path: Path, floor: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r'^model\.precision: int8 has failed the gate .* is below .*set "auto"'):
        require_gate(config(tmp_path, precision="int8", **floor), data, space("int8+bf16"), N)


def test_the_gate_can_be_waived_and_that_is_told(
    data: DataDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waived = config(tmp_path, precision="int8", allow_ungated=True, gate_overlap=1.0)
    require_gate(waived, data, space("int8+bf16"), N)
    assert "has failed the gate" in caplog.text
    require_gate(waived, data, space("int8+fp16"), N)
    assert "has not passed the gate" in caplog.text
