"""tune and recommend: what is measured is kept, and used from the next start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.config import Config, load
from indexer.engine import open_engine
from indexer.engine.parts import batch_limit, checkpoint_of, machine_of
from indexer.errors import NotTuned
from indexer.types import BatchLimit, IndexTuning, OperatingPoint
from tests.cli.conftest import Run
from tests.engine.test_engine import engine_at
from tests.fakes.engine import TUNING

DEMO = ("--set", "model.name=demo", "--set", "model.device=cpu")


def config(**flags: object) -> Config:
    return load(flags={"model.name": "demo", "model.device": "cpu", "decode.workers": 1, **flags}).config


def test_what_is_measured_is_kept_and_in_force_from_the_next_start(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.tune.ROUNDS_S", 0.0)
    outcome = run("tune", "batch", "--max", "3", "--json", *DEMO)
    assert outcome.code == 0
    answer = json.loads(outcome.out)
    sizes = [row["size"] for row in answer["rows"]]
    assert sizes[0] == 1
    assert answer["size"] in sizes
    assert all(row["images_per_s"] > 0 and row["latency_ms"] > 0 for row in answer["rows"])
    assert "from its next start" in outcome.err
    (tmp_path / "images").mkdir()
    with open_engine(config()) as engine:
        assert (engine.stats().batch_size, engine.stats().batch_size_from) == (answer["size"], "tuned")
        assert engine.tuning().fingerprint == answer["fingerprint"] == engine.space.fingerprint
        refused = run("tune", "batch", "--max", "1", *DEMO)
        assert refused.code == 4
        assert "indexer stop" in refused.err


def test_the_configuration_wins_over_what_was_tuned_and_that_over_what_is_recommended() -> None:
    checkpoint, machine = checkpoint_of(config()), machine_of(config())
    limits = [
        batch_limit(config(**{"model.batch_size": 5}), checkpoint, machine, TUNING),
        batch_limit(config(), checkpoint, machine, TUNING),
        batch_limit(config(), checkpoint, machine, None),
    ]
    assert limits == [BatchLimit(5, "configured"), BatchLimit(2, "tuned"), BatchLimit(32, "recommended")]


def test_a_store_that_was_never_tuned_says_so(tmp_path: Path) -> None:
    with engine_at(tmp_path) as engine:
        assert engine.stats().batch_size_from == "recommended"
        with pytest.raises(NotTuned, match="indexer tune batch"):
            engine.tuning()


def test_the_table_marks_the_choice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.engine.tune_batch", lambda config, most: TUNING)
    outcome = run("tune", "batch")
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [(row[0], row[-1]) for row in rows] == [("1", ""), ("2", "chosen"), ("4", "")]
    assert rows[2] == ["4", "0 MB", "16.2", "247.0 ms", ""]
    assert "no larger batch was asked for" in outcome.err
    told = run("tune", "batch", "--set", "model.batch_size=7")
    assert "model.batch_size = 7 wins" in told.err


@pytest.mark.parametrize("most", ["0", "-1", "5000", "many"])
def test_a_size_that_no_batch_can_have_is_a_usage_error(run: Run, most: str) -> None:
    assert run("tune", "batch", "--max", most).code == 2


def test_settings_are_recommended_with_reasons_without_a_model_on_this_machine(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    outcome = run("recommend", "--set", "model.device=cpu")
    assert outcome.code == 0
    here, table = outcome.out.split("\n\n")
    assert [line.split("\t")[0] for line in here.splitlines()[1:]] == [
        "model.precision", "model.batch_size", "decode.workers",
    ]  # fmt: skip
    assert "985 M parameters" in here
    devices = [line.split("\t")[0] for line in table.splitlines()]
    assert devices == ["CPU", *(f"a GPU of {gib} GB" for gib in (8, 16, 24, 48, 80, 140))]
    assert not (tmp_path / "data").exists()


def test_another_card_may_be_asked_about(run: Run) -> None:
    answer = json.loads(run("recommend", "--memory-gb", "8", "--json", *DEMO).out)
    assert answer["here"]["machine"]["memory_bytes"] == 8 << 30
    values = {each["setting"]: each["value"] for each in answer["here"]["settings"]}
    assert (values["model.precision"], values["model.batch_size"]) == ("fp16", 256)
    assert len(answer["others"]) == 7


def test_points_of_operation_are_told_with_the_choice_marked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = OperatingPoint(0, 1, 1.0, 1.0, 3.0, 4.0, 0)
    quick = OperatingPoint(8, 16, 0.991, 0.98, 0.5, 0.9, 2_000_000)
    asked: list[float] = []

    def measured(_config: Config, recall: float) -> IndexTuning:
        asked.append(recall)
        return IndexTuning("0123456789abcdef", recall, 40_000, 256, (exact, quick), quick)

    monkeypatch.setattr("indexer.engine.tune_index", measured)
    told = run("tune", "index", "--recall", "0.97", *DEMO)
    assert told.code == 0
    line = next(line for line in told.out.splitlines() if "chosen" in line)
    assert all(part in line for part in ("8 of 256", "16 a hit", "0.9910", "0.50 ms", "0.90 ms", "2.0 MB"))
    assert "40,000 images: 8 of 256 lists" in told.err
    configured = run("tune", "index", "--json", *DEMO, "--set", "index.kind=exact")
    assert json.loads(configured.out)["chosen"]["n_probe"] == 8
    assert 'index.kind = "exact" wins' in configured.err
    assert asked == [0.97, 0.98]
    assert run("tune", "index", "--recall", "1.5", *DEMO).code == 2
