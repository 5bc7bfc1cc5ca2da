"""Features to keep, and the space that they are of."""

from __future__ import annotations

import numpy as np

from indexer.types import ContentHash, EmbeddingSpace, ImageInfo, Preprocess, StoredFeature, content_hash

DIM = 96


def space_of(weights: str = "random-0", dim: int = DIM) -> EmbeddingSpace:
    return EmbeddingSpace("stub", weights, "fp32", dim, Preprocess(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))


SPACE = space_of()


def hash_of(n: int) -> ContentHash:
    return content_hash(b"content %d" % n)


def feature_of(n: int, dim: int = DIM) -> StoredFeature:
    """A feature that only this number has."""
    vector = np.random.default_rng(n).standard_normal(dim).astype(np.float32)
    vector /= np.linalg.norm(vector)
    return StoredFeature(vector.astype(np.float16), ImageInfo("JPEG", 100 + n, 50 + n, 1000 + n))


def some(*numbers: int) -> dict[ContentHash, StoredFeature]:
    return {hash_of(n): feature_of(n) for n in numbers}


def same(found: dict[ContentHash, StoredFeature], expected: dict[ContentHash, StoredFeature]) -> bool:
    """Whether both hold the same features, bit for bit."""
    return found.keys() == expected.keys() and all(
        found[key].info == expected[key].info and found[key].feature.tobytes() == expected[key].feature.tobytes()
        for key in expected
    )
