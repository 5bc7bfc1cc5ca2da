"""Damaged stores answer nothing wrong, start and heal; and the damage bites."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from benchmarks.torture.damage import UNCHECKED, Verdict, n_until_caught, rows, torture


@pytest.fixture(autouse=True)
def without_the_log() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_damage_is_never_served_and_heals_by_itself() -> None:
    verdicts = list(torture(24, seed=11, n_processes=0, n_files=40))
    assert [v for v in verdicts if v.wrong or v.error or v.left or v.n_encoded_again or v.deleted] == []
    assert len(verdicts) == 24


def test_a_snapshot_without_digests_is_caught() -> None:
    assert "digests of a snapshot" in UNCHECKED
    assert n_until_caught("digests of a snapshot", 24, seed=8, n_files=40)


def test_the_figures_tell_each_kind_of_failure() -> None:
    ill = [
        Verdict("0: mine: cut x", wrong=["a row is another's"]),
        Verdict("1: mine: cut x", error="it ended the process"),
        Verdict("2: mine: cut x", left=["1 without a feature"]),
        Verdict("3: mine: cut x", n_encoded_again=1),
        Verdict("4: mine: cut x", deleted="catalogue.db"),
    ]
    well = [Verdict(f"{n}: mine: cut x") for n in range(5, 105)]
    assert [row.ok for row in rows(well, "")] == [True, True, True, True, None]
    wrong, crashed, healed, deleted, _ = rows(ill + well, "")
    assert (wrong.value, crashed.value, deleted.value) == (1, 1, 1)
    assert healed.value == pytest.approx(100 * (1 - 3 / 105))
    assert healed.ok is False
