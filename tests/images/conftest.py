from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.images.pool import DecodePool

from .drawing import LIMITS, SMALL


@pytest.fixture(scope="package")
def real_pool() -> Iterator[DecodePool]:
    """One child with the real decoder: its nursery takes seconds to import torch."""
    opened = DecodePool(SMALL, LIMITS, n_workers=1)
    yield opened
    opened.close()
