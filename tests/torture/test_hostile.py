"""Hostile files among good ones, through the whole engine."""

from __future__ import annotations

from pathlib import Path

from benchmarks.torture import hostile


def test_good_files_are_found_and_bad_ones_are_refused_with_a_reason(tmp_path: Path) -> None:
    result = hostile.torture(tmp_path, n_hostile=60, n_good=20, seed=5)
    assert result.not_found == []
    assert result.errors == []
    assert result.without_reason == 0
    assert result.n_children_left == 0
    assert result.reasons.total() > 0
