"""model info tells what the encoder would say of itself, without loading it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.cli.model import facts_of
from indexer.config import Config
from tests.cli.conftest import Run


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache of the model hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_what_is_told_of_the_demo_model_is_what_its_encoder_says(tmp_path: Path) -> None:
    from indexer.encoder.checkpoint import resolve
    from indexer.encoder.openclip import OpenClipEncoder

    config = Config.model_validate({"model": {"name": "demo", "device": "cpu"}, "store": {"dir": str(tmp_path / "no")}})
    facts = facts_of(config)
    encoder = OpenClipEncoder(resolve("demo", ""), device="cpu")
    assert encoder.projection is not None
    assert (facts["feature_dim"], facts["joint_dim"]) == encoder.projection.shape
    assert facts["fingerprint"] == encoder.space.fingerprint
    assert facts["digest"] == encoder.space.weights
    assert facts["precision"] == encoder.space.precision
    assert not (tmp_path / "no").exists()


def test_weights_that_are_not_here_leave_digest_and_fingerprint_unknown(run: Run, offline: None) -> None:
    outcome = run("model", "info", "--json")
    assert outcome.code == 0
    facts = json.loads(outcome.out)
    assert (facts["feature_dim"], facts["joint_dim"]) == (1280, 1024)
    assert facts["digest"] is facts["fingerprint"] is None
    assert "not on this machine" in facts["weights"]
    shown = dict(line.split("\t") for line in run("model", "info").out.splitlines())
    assert shown["name"] == "ViT-H-14"
    assert shown["fingerprint"] == "unknown"


def test_random_weights_have_a_fingerprint_of_their_own(run: Run) -> None:
    seeds = [json.loads(run("model", "info", "--json", "--set", f"model.pretrained=random:{i}").out) for i in (1, 2)]
    assert seeds[0]["digest"] == "random-1"
    assert seeds[0]["fingerprint"] != seeds[1]["fingerprint"]


@pytest.mark.parametrize(
    ("setting", "key"), [("model.name=ViT-H-15", "model.name"), ("model.pretrained=none", "model.pretrained")]
)
def test_a_model_that_nobody_knows_is_a_configuration_error(run: Run, setting: str, key: str) -> None:
    outcome = run("model", "info", "--set", setting)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {key}")
