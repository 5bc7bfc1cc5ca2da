"""What of some images a question means, exactly as a search would score it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.geometry import Aim, Geometry, search_aim
from indexer.ports import CatalogueReading, VectorIndex
from indexer.types import FilePath, Ids, ImageRecord, StandingQuery
from indexer.where import Filter


class Matching:
    """Holds images against questions.

    Args:
        index, catalogue, geometry: Where they are.
        folders: The watched folders, which filters' patterns are relative to.
    """

    def __init__(
        self, index: VectorIndex, catalogue: CatalogueReading, geometry: Geometry, folders: Sequence[FilePath]
    ) -> None:
        self._index = index
        self._catalogue = catalogue
        self._geometry = geometry
        self._folders = folders

    def of(self, asked: StandingQuery, aim: Aim, ids: Ids) -> list[tuple[ImageRecord, float]]:
        """Those of the ids that reach the threshold and pass the filter, with their scores, best first."""
        if not len(ids):
            return []
        found = search_aim(self._index, self._geometry, aim, len(ids), ids)
        close = (found.ids[0] >= 0) & (found.scores[0] >= np.float32(asked.threshold))
        scores = dict(zip(found.ids[0][close].tolist(), found.scores[0][close].tolist(), strict=True))
        records = self._catalogue.images(list(scores))
        wanted = Filter(asked.where, self._folders)
        return [
            (records[id], score) for id, score in scores.items() if id in records and _fits(asked, wanted, records[id])
        ]


def _fits(asked: StandingQuery, wanted: Filter, record: ImageRecord) -> bool:
    return (
        record.hash.hex() not in asked.exclude_ids
        and wanted.takes_picture(record.info)
        and any(map(wanted.takes_file, record.paths, record.mtimes_ns))
    )
