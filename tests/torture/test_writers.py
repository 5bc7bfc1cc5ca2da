"""No half-written file is ever searchable, whoever writes it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.torture import writers


def test_no_half_written_file_is_ever_recorded(tmp_path: Path) -> None:
    result = writers.torture(tmp_path, n_writers=24, seed=3, longest_pause_s=0.25)
    assert result.half_written == []
    assert result.differing == []
    assert max(result.delays_s) <= 5


def test_the_harness_sees_a_half_written_file(tmp_path: Path) -> None:
    """Without asking whether somebody writes, and hardly waiting, parts are taken for whole."""
    result = writers.torture(
        tmp_path, n_writers=8, seed=3, longest_pause_s=0.6, settle_s=0.05, prepare=writers.nobody_writes
    )
    assert result.half_written
