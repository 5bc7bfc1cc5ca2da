"""kill -9 at random moments: nothing acknowledged is lost, and a fault put in on purpose is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.torture.kills import torture
from benchmarks.torture.mutants import late_commits

pytestmark = pytest.mark.slow


def test_after_25_kills_nothing_is_lost_torn_made_up_or_encoded_in_vain(tmp_path: Path) -> None:
    tally = torture(tmp_path, seed=1, n_kills=25)
    assert tally.faults == []
    assert tally.n_kills == 25
    assert tally.n_rests == 2
    assert tally.n_acknowledged > 100
    assert tally.n_encoded > 200
    assert {"start-up", "work", "snapshot"} <= tally.fell_in.keys()


def test_a_commit_that_ends_later_than_it_is_heard_is_found_out(tmp_path: Path) -> None:
    assert torture(tmp_path, 1, 25, late_commits, until_found=True).broken
