"""Unit vectors in clusters, as features come, and queries from the same clusters that are not among them."""

from __future__ import annotations

import numpy as np

from indexer.types import Features, Matrix

_POOL = 8192  # noise is drawn once and reused with other centres: drawing is slower than searching


class Clusters:
    """Draws unit vectors around `n_centres` centres; cosine within a cluster about 1 / (1 + spread**2)."""

    def __init__(self, dim: int, n_centres: int, spread: float = 0.8, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._centres = _unit(random.standard_normal((n_centres, dim), dtype=np.float32))
        self._spread = spread
        self._dim = dim

    def rows(self, n: int, seed: int = 1) -> Features:
        """Features (n, dim) float16."""
        random = np.random.default_rng(seed)
        noise = self._noise(min(n, _POOL), random)
        rows = np.empty((n, self._dim), np.float16)
        for start in range(0, n, _POOL):
            part = rows[start : start + _POOL]
            centres = self._centres[random.integers(0, len(self._centres), len(part))]
            part[:] = _unit(centres + random.permutation(noise)[: len(part)])
        return rows

    def queries(self, n: int, seed: int = 2) -> Matrix:
        """Queries (n, dim) float32 that are no rows."""
        random = np.random.default_rng((seed, 77))
        return _unit(self._centres[random.integers(0, len(self._centres), n)] + self._noise(n, random))

    def _noise(self, n: int, random: np.random.Generator) -> Matrix:
        scale = np.float32(self._spread / np.sqrt(self._dim))
        return random.standard_normal((n, self._dim), dtype=np.float32) * scale


def _unit(vectors: Matrix) -> Matrix:
    unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
