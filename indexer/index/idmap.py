"""Id -> row, in pages: four bytes a row where ids are dense, as ids that are counted upwards are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexer.types import Ids

_BITS = 10
_PAGE = 1 << _BITS
_FEW = 16  # ids a page: below this, looking them up one by one is faster than sorting them into pages


class IdMap:
    """Rows by id; an id is any int64 >= 0, a row any int32 >= 0. An empty page is given back."""

    def __init__(self) -> None:
        self._pages: dict[int, NDArray[np.int32]] = {}
        self._n_used: dict[int, int] = {}

    def row(self, id: int) -> int:
        """The row of one id, -1 if it has none."""
        page = self._pages.get(id >> _BITS)
        return -1 if page is None else int(page[id & (_PAGE - 1)])

    def rows(self, ids: Ids) -> NDArray[np.int64]:
        """Rows of ids (n,), -1 for those that have none."""
        if _are_few(ids):
            pages, inside = self._pages, _PAGE - 1
            places = (-1 if (page := pages.get(id >> _BITS)) is None else page.item(id & inside) for id in ids.tolist())
            return np.fromiter(places, np.int64, len(ids))
        found = np.full(len(ids), -1, np.int64)
        for number, at in _by_page(ids):
            page = self._pages.get(number)
            if page is not None:
                found[at] = page[ids[at] & (_PAGE - 1)]
        return found

    def put(self, id: int, row: int) -> None:
        """Set the row of one id."""
        page = self._page(id >> _BITS)
        at = id & (_PAGE - 1)
        if page[at] < 0:
            self._n_used[id >> _BITS] += 1
        page[at] = row

    def put_many(self, ids: Ids, rows: NDArray[np.int64]) -> None:
        """Set the rows (n,) of distinct ids (n,)."""
        if _are_few(ids):
            for one, row in zip(ids.tolist(), rows.tolist(), strict=True):
                self.put(one, row)
            return
        for number, at in _by_page(ids):
            page = self._page(number)
            places = ids[at] & (_PAGE - 1)
            self._n_used[number] += int(np.count_nonzero(page[places] < 0))
            page[places] = rows[at]

    def drop(self, id: int) -> None:
        """Forget one id, which must be there."""
        number = id >> _BITS
        self._pages[number][id & (_PAGE - 1)] = -1
        self._n_used[number] -= 1
        if not self._n_used[number]:
            del self._pages[number], self._n_used[number]

    def _page(self, number: int) -> NDArray[np.int32]:
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = np.full(_PAGE, -1, np.int32)
            self._n_used[number] = 0
        return page

    @property
    def n_bytes(self) -> int:
        """Memory held, bytes."""
        return len(self._pages) * (
            4 * _PAGE + 300
        )  # an array and two entries of dictionaries cost about 300 by themselves


def _are_few(ids: Ids) -> bool:
    """Whether they are, for the pages that they may lie in."""
    n = len(ids)
    return n <= _FEW or n <= _FEW * ((int(ids.max()) - int(ids.min()) >> _BITS) + 1)


def _by_page(ids: Ids) -> Iterator[tuple[int, NDArray[np.int64]]]:
    numbers = ids >> _BITS
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    cuts = np.flatnonzero(np.diff(numbers)) + 1
    for at in np.split(order, cuts):
        yield int(ids[at[0]]) >> _BITS, at
