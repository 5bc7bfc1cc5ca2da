"""Duplicates in the background: kept until the index changes, told while it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.stub import DIM, StubDecoder, StubEncoder, configured, open_stub
from indexer.duplicates.find import Duplicates
from indexer.duplicates.groups import Group
from indexer.engine import open_engine
from indexer.engine.duplicating import Duplicating
from indexer.errors import Stopped, StoreError
from indexer.types import (
    DuplicatePage,
    Features,
    FilePath,
    Found,
    Gone,
    ImageInfo,
    Pixels,
    Stamp,
    Tier,
    content_hash,
)
from tests.fakes.catalogue import MemoryCatalogue

Report = Callable[[int, int], None]


class Search:
    """A search that ends when it is let."""

    def __init__(self) -> None:
        self.found = Duplicates((Group(0.9, (1, 2)),), (Group(0.8, (1, 3)), Group(0.7, (2, 3))))
        self.fails: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.n_calls = 0
        self.n_changes = 0

    def __call__(self, report: Report) -> Duplicates:
        self.n_calls += 1
        while not self.go_on.wait(0.01):
            report(self.n_calls, 4)
        if self.fails:
            raise self.fails
        return self.found


@pytest.fixture
def catalogue() -> MemoryCatalogue:
    catalogue = MemoryCatalogue()
    for i, size in enumerate((10, 30, 20)):
        info = ImageInfo("PNG", size, 10, size)
        names = (b"/w/%d" % i, b"/w/copy-%d" % i) if i else (b"/w/0",)
        catalogue.commit([Found(FilePath(name), Stamp(1, i, 1, 1, 1), content_hash(b"%d" % i), info) for name in names])
    return catalogue


@pytest.fixture
def search() -> Search:
    return Search()


def asked(catalogue: MemoryCatalogue, search: Search, patience_s: float = 30.0) -> Duplicating:
    return Duplicating(catalogue, search, lambda: search.n_changes, patience_s)


def ids(page: DuplicatePage) -> list[list[int]]:
    return [[image.vector_id for image in group.images] for group in page.groups]


def test_same_bytes_need_no_search_and_those_that_waste_most_come_first(
    catalogue: MemoryCatalogue, search: Search
) -> None:
    page = asked(catalogue, search).page(Tier.SAME, 10)
    assert (ids(page), page.total, page.known, search.n_calls) == ([[2], [3]], 2, True, 0)
    assert all(len(group.images[0].paths) == 2 for group in page.groups)


def test_groups_come_with_their_largest_picture_first_and_in_pages(catalogue: MemoryCatalogue, search: Search) -> None:
    duplicating = asked(catalogue, search)
    assert ids(duplicating.page(Tier.VARIANT, 10)) == [[2, 1]]
    page = duplicating.page(Tier.SIMILAR, 1, 1)
    assert (ids(page), page.total, page.progress) == ([[2, 3]], 2, None)


def test_what_was_found_is_kept_until_the_index_changes(catalogue: MemoryCatalogue, search: Search) -> None:
    duplicating = asked(catalogue, search)
    duplicating.page(Tier.VARIANT, 10)
    duplicating.page(Tier.SIMILAR, 10)
    assert search.n_calls == 1
    search.n_changes += 1
    duplicating.page(Tier.VARIANT, 10)
    assert search.n_calls == 2


def test_a_search_that_takes_long_is_told_and_what_was_found_before_is_answered(
    catalogue: MemoryCatalogue, search: Search
) -> None:
    duplicating = asked(catalogue, search, patience_s=0.05)
    search.go_on.clear()
    page = duplicating.page(Tier.VARIANT, 10)
    assert not page.known and page.groups == () and page.progress is not None and page.progress.running
    search.go_on.set()
    while not (page := duplicating.page(Tier.VARIANT, 10)).known:
        pass
    search.n_changes += 1
    search.go_on.clear()
    page = duplicating.page(Tier.VARIANT, 10)
    assert page.known and ids(page) == [[2, 1]] and page.progress is not None and page.progress.running
    duplicating.close()
    assert duplicating.progress is not None and duplicating.progress.error


def test_a_failed_search_is_told_and_tried_again(catalogue: MemoryCatalogue, search: Search) -> None:
    duplicating = asked(catalogue, search)
    search.fails = ValueError("no luck")
    with pytest.raises(StoreError, match="no luck"):
        duplicating.page(Tier.VARIANT, 10)
    search.fails = None
    assert ids(duplicating.page(Tier.VARIANT, 10)) == [[2, 1]]


def test_a_group_of_which_one_is_left_is_none_any_more(catalogue: MemoryCatalogue, search: Search) -> None:
    duplicating = asked(catalogue, search)
    catalogue.commit([Gone(FilePath(b"/w/1")), Gone(FilePath(b"/w/copy-1"))])
    assert ids(duplicating.page(Tier.VARIANT, 10)) == []


def test_nothing_is_begun_after_the_end(catalogue: MemoryCatalogue, search: Search) -> None:
    duplicating = asked(catalogue, search)
    duplicating.close()
    with pytest.raises(Stopped):
        duplicating.page(Tier.VARIANT, 10)


def test_what_was_seen_is_kept_over_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Alike(StubEncoder):
        """Everything is close to everything, so that pixels decide."""

        def encode_pixels(self, pixels: Pixels) -> Features:
            rows = np.ones((len(pixels), DIM)) + 0.01 * super().encode_pixels(pixels).astype(np.float64)
            return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)

    config = configured(tmp_path)
    for i in range(3):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(b"picture %d" % i)
    decoded: list[bytes] = []
    decode = StubDecoder.decode
    monkeypatch.setattr(
        StubDecoder, "decode", lambda self, data, **how: decoded.append(data) or decode(self, data, **how)
    )
    model = partial(open_stub, build=Alike)
    for n_decoded in (3 + 3, 0):  # to be encoded, and to be looked at
        decoded.clear()
        with open_engine(config, model=model) as engine:
            assert engine.wait_idle(20)
            while engine.duplicates(Tier.VARIANT, 10).progress:
                pass
        assert len(decoded) == n_decoded
