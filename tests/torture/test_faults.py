"""An encoder with faults of every kind: every picture is stored once, and searches go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.torture import faults
from indexer.encoder import batch_size, owner


def test_every_picture_is_stored_once_whatever_the_encoder_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "REOPEN_DELAYS_S", (0.0, 0.02))
    result = faults.torture(tmp_path, 400, seed=2)
    assert sum(result.plan.n_met.values()) == 40
    assert (result.differing, result.errors, result.n_refused) == ([], [], 0)
    assert result.n_encoded == 400


def test_the_harness_sees_pictures_that_are_given_up_too_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_DELAYS_S", (0.0, 0.02))
    monkeypatch.setattr(batch_size.BatchSize, "now", 1)  # in a larger batch halving is a second try
    after = owner.Owner._after
    monkeypatch.setattr(
        owner.Owner, "_after", lambda self, trouble, work: after(self, trouble, replace(work, suspect=True))
    )
    assert faults.torture(tmp_path, 100, seed=2).n_refused
