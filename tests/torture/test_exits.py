"""An end at one change of the store or another: the next start goes on from there."""

from __future__ import annotations

from benchmarks.torture import shim


def rows(*arguments: str) -> dict[str, float | None]:
    return {row.id: row.value for row in shim.rows_of_preloaded(arguments)}


def test_after_an_end_at_a_write_an_fsync_or_a_rename_the_next_start_goes_on() -> None:
    if shim.compiler() is None:
        return  # what is preloaded must be built
    found = rows("exits", "--rounds", "4")
    assert found["R1d"] is not None
    assert found["R1d"] > 200
    assert (found["R1e"], found["R1f"]) == (0, 0)
