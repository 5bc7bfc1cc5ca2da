"""Arrays that travel between rooms: their shapes and dtypes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""Preprocessed images before normalisation, RGB: (n, side, side, 3), or (side, side, 3) for one."""

Features: TypeAlias = NDArray[np.float16]
"""Visual features, (n, d), each of unit length (normalised in float32, then rounded)."""

Embeddings: TypeAlias = NDArray[np.float32]
"""Joint embeddings of texts or images, (n, j), each of unit length."""

Matrix: TypeAlias = NDArray[np.float32]

Ids: TypeAlias = NDArray[np.int64]
"""Vector ids, (n,), >= 1 and never reused. One per content: the catalogue hands them out."""
