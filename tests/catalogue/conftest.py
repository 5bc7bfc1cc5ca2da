from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.ports import Catalogue
from tests.fakes.catalogue import MemoryCatalogue

NOW = 1_800_000_000.0


@pytest.fixture
def open_sqlite(tmp_path: Path) -> Iterator[Callable[[], SqliteCatalogue]]:
    """Opens the one database of this test, as often as wanted; whatever is open at the end is closed."""
    opened: list[SqliteCatalogue] = []
    ticks = itertools.count()

    def open_it() -> SqliteCatalogue:
        opened.append(SqliteCatalogue.open(tmp_path / "catalogue.db", clock=lambda: NOW + next(ticks)))
        return opened[-1]

    yield open_it
    for catalogue in opened:
        catalogue.close()


@pytest.fixture(params=["memory", "sqlite"])
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    if request.param == "memory":
        return MemoryCatalogue()
    catalogue: Catalogue = request.getfixturevalue("open_sqlite")()
    return catalogue
