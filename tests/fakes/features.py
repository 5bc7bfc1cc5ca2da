"""A feature cache in a dict: the port's promises and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from indexer.types import ContentHash, EmbeddingSpace, StoredFeature


class MemoryFeatureCache:
    """The port `FeatureCache` for one embedding space."""

    def __init__(self, space: EmbeddingSpace) -> None:
        self.space = space
        self._features: dict[ContentHash, StoredFeature] = {}
        self._lock = threading.Lock()

    def get_many(self, hashes: Sequence[ContentHash]) -> dict[ContentHash, StoredFeature]:
        with self._lock:
            return {hash_: self._features[hash_] for hash_ in hashes if hash_ in self._features}

    def put_many(self, features: Mapping[ContentHash, StoredFeature]) -> None:
        for stored in features.values():
            if stored.feature.shape != (self.space.dim,) or stored.feature.dtype != np.float16:
                raise ValueError(f"a feature must be ({self.space.dim},) float16")
            length = np.linalg.norm(stored.feature.astype(np.float32))
            if not abs(length - 1) <= 1e-2:  # not finite: false as well
                raise ValueError(f"a feature must have unit length, not {length}")
        with self._lock:
            self._features |= features

    def drop_many(self, hashes: Sequence[ContentHash]) -> None:
        with self._lock:
            for hash_ in hashes:
                self._features.pop(hash_, None)

    def hashes(self) -> Iterator[ContentHash]:
        with self._lock:
            return iter(list(self._features))

    def close(self) -> None:
        pass
