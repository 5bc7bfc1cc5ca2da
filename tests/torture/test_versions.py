"""Several embedding spaces on one store, and what a later version of the program has left."""

from __future__ import annotations

from pathlib import Path

from benchmarks.torture.mutants import precision_left_out
from benchmarks.torture.versions import newer_schema, newer_snapshot, switch


def test_another_model_precision_or_preprocessing_has_an_index_of_its_own_and_coming_back_encodes_nothing(
    tmp_path: Path,
) -> None:
    assert switch(tmp_path, seed=1, n_rounds=6) == []


def test_a_kill_while_another_space_is_filled_mixes_nothing(tmp_path: Path) -> None:
    assert switch(tmp_path, seed=2, n_rounds=3, kills=True) == []


def test_a_space_that_is_not_told_apart_is_found_out(tmp_path: Path) -> None:
    assert switch(tmp_path, seed=1, n_rounds=6, prepare=precision_left_out, until_found=True) != []


def test_a_later_schema_is_refused_in_words_and_left_alone(tmp_path: Path) -> None:
    assert newer_schema(tmp_path) == []


def test_a_later_snapshot_is_left_alone_and_the_features_take_its_place(tmp_path: Path) -> None:
    assert newer_snapshot(tmp_path) == []
