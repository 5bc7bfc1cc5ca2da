"""Floods, moved folders, lost roots and odd files, in small: what is searchable equals the folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.report import Row
from benchmarks.torture import watching
from benchmarks.torture.watching import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.daemon.kill()


@pytest.mark.parametrize(
    "scenario",
    [watching.flood, watching.renames, watching.folder_out_and_in, watching.root_made_anew, watching.odd_files],
    ids=lambda scenario: scenario.__name__,
)
def test_what_is_searchable_equals_the_folders(scenario: Callable[[Scene, int], Iterator[Row]], scene: Scene) -> None:
    missed = [row for row in scenario(scene, 900) if not row.ok]
    assert missed == []


@pytest.mark.slow
def test_a_flood_that_the_event_queue_cannot_hold_is_found_by_looking(scene: Scene) -> None:
    n_queued = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    n = min(n_queued, 16_384) * 5 // 8  # each file is two events, created and closed
    findings, _, encoded = watching.flood(scene, n)
    assert (findings.value, encoded.value) == (0, n)


def test_what_an_unmounted_disk_held_is_kept(scene: Scene) -> None:
    missed = [row for row in watching.root_unmounted(scene, 900) if row.ok is False]
    assert missed == []


def test_the_harness_sees_a_folder_that_went_unseen(tmp_path: Path) -> None:
    scene = Scene(tmp_path, watching.deaf_to_folders)
    try:
        watching.write(scene.pictures / "moves", 5)
        scene.settle()
        (scene.pictures / "moves").rename(tmp_path / "away")
        scene.settle(within_s=0.5)
        assert any("not there" in line for line in scene.found)
    finally:
        scene.daemon.kill()
