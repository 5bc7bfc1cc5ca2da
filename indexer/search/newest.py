"""What came last, for those who look around without a question."""

from __future__ import annotations

import numpy as np

from indexer.ports import CatalogueReading, VectorIndex
from indexer.types import Ids, Newest
from indexer.where import Filter


def newest(
    catalogue: CatalogueReading, index: VectorIndex, limit: int, before: int | None, wanted: Filter | None
) -> Newest:
    """The `limit` latest searchable images that pass the filter, the latest first; `before` is where a page ended."""
    ids = index.ids() if wanted is None else _searchable(catalogue.matching(wanted), index)
    end = len(ids) if before is None else int(np.searchsorted(ids, before))
    page = ids[max(0, end - limit) : end][::-1].tolist()
    records = catalogue.images(page)
    found = tuple(records[each] for each in page if each in records)  # one may have gone meanwhile
    return Newest(found, len(ids), page[-1] if end > limit else None)


def _searchable(ids: Ids, index: VectorIndex) -> Ids:
    searchable: Ids = ids[index.contains(ids)]
    return searchable
