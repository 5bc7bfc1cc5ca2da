"""Pictures in a catalogue and an index, and a search over them."""

from __future__ import annotations

import numpy as np

from indexer.geometry import Geometry
from indexer.search.search import Search
from indexer.types import FilePath, Found, ImageInfo, Stamp, content_hash
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.index import MemoryIndex
from tests.fakes.river import FakeDecoder, FakeEmbedder, pixels_of

N = 60


class World:
    """N pictures in catalogue and index; their bytes are `picture-<i>`."""

    def __init__(self, space: str = "visual") -> None:
        self.embedder = FakeEmbedder()
        self.geometry = Geometry(self.embedder.projection, space)  # type: ignore[arg-type]
        self.index = MemoryIndex(self.geometry.row_dim)
        self.catalogue = MemoryCatalogue()
        self.data = [b"picture-%d" % i for i in range(N)]
        self.features = np.stack([self.embedder.feature_of(pixels_of(data)) for data in self.data])
        committed = self.catalogue.commit(
            [
                Found(FilePath(b"/w/%d" % i), Stamp(1, i, 1, 1, 1), content_hash(data), ImageInfo("png", 8, 8, 9))
                for i, data in enumerate(self.data)
            ]
        )
        self.ids = np.array([committed.ids[content_hash(data)] for data in self.data])
        rows, norms = self.geometry.rows(self.features)
        self.index.upsert(self.ids, rows, norms)
        self.search = Search(
            self.embedder, FakeDecoder(), self.index, self.catalogue, self.geometry, generation=lambda: 7
        )

    def id(self, i: int) -> str:
        return content_hash(self.data[i]).hex()

    def joint(self) -> np.ndarray:
        joint = self.features.astype(np.float64) @ self.embedder.projection
        return joint / np.linalg.norm(joint, axis=1, keepdims=True)

    def visual(self) -> np.ndarray:
        rows = self.features.astype(np.float64)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
