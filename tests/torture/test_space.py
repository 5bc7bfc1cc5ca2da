"""Whatever is short, ingest says so, search stays up, and all is well afterwards; and a lossy committer is caught."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from benchmarks.torture.space import Point, barred_points, descriptor_points, dropping
from indexer.ingest.commit import Committer


@pytest.fixture(autouse=True)
def in_haste() -> Iterator[None]:
    """Pauses are short, and nobody reads the log."""
    logging.disable(logging.CRITICAL)
    with patch.object(Committer.__init__, "__defaults__", (0.1, *Committer.__init__.__defaults__[1:])):
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(("points", "n"), [(barred_points, 24), (descriptor_points, 10)])
def test_a_shortage_pauses_and_loses_nothing(
    points: Callable[[Path, int, int], Iterator[Point]], n: int, tmp_path: Path
) -> None:
    found = list(points(tmp_path, n, 5))
    assert [(point.what, point.wrong) for point in found if point.wrong] == []
    assert any(point.paused for point in found)
    assert len(found) == n


def test_a_committer_that_drops_what_it_cannot_store_is_caught(tmp_path: Path) -> None:
    with dropping():
        assert any(point.wrong for point in barred_points(tmp_path, 5, 1))
