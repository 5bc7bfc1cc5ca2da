"""What the gate measured is there at the next start, whole, or not at all."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from indexer.store.gated import keep_evaluation, read_evaluation
from tests.fakes.engine import EVALUATION


def test_each_space_has_a_result_of_its_own_and_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "gated.json"
    assert read_evaluation(path, EVALUATION.fingerprint) is None
    other = replace(EVALUATION, fingerprint="f" * 16)
    for each in (EVALUATION, other, newer := replace(EVALUATION, overlap=0.5)):
        keep_evaluation(path, each)
    assert read_evaluation(path, EVALUATION.fingerprint) == newer
    assert read_evaluation(path, other.fingerprint) == other
    assert [entry.name for entry in tmp_path.iterdir()] == ["gated.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"7", b"[[]]", b'[{"overlap": 1.0}]', json.dumps([asdict(EVALUATION) | {"overlap": "1"}]).encode()],
)
def test_a_damaged_file_lets_nothing_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path = tmp_path / "gated.json"
    path.write_bytes(content)
    assert read_evaluation(path, EVALUATION.fingerprint) is None
    assert "must be evaluated again" in caplog.text
    keep_evaluation(path, EVALUATION)
    assert read_evaluation(path, EVALUATION.fingerprint) == EVALUATION
