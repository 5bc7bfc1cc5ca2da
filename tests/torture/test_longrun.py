"""Searches, additions and deletions without a pause, for as long as a test may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.torture import longrun


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_a_long_run_makes_no_error_and_tells_of_nothing_dead(tmp_path: Path) -> None:
    result = longrun.torture(tmp_path, seconds=120, seed=1, n_rows=5_000)
    assert (result.errors, result.dead, result.differing) == ([], [], [])
    assert result.n_searches > 0
    assert result.n_added > 0
