"""Power cuts keep what was acknowledged; and the cuts bite."""

from __future__ import annotations

import pytest

from benchmarks.torture.disks import ShadowDisk
from benchmarks.torture.power import MUTANTS, torture


def test_no_cut_loses_what_was_acknowledged_or_leaves_what_is_bad() -> None:
    cuts = torture(ShadowDisk, 10, seed=5)
    assert cuts.all == []
    assert cuts.n_acknowledged > 50


@pytest.mark.parametrize(
    "mutant",
    [
        "the catalogue's synchronous=NORMAL",
        "the features' synchronous=NORMAL",
        "a snapshot's rows without fsync",
    ],
)
def test_a_missing_precaution_is_caught(mutant: str) -> None:
    assert torture(ShadowDisk, 10, seed=5, mutant=mutant, until_caught=True).all
    assert mutant in MUTANTS
