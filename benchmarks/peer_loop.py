"""The peer of whole pipelines: the loop that clip-retrieval's inference runs over a DataLoader."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset[Any]):
    """Files, by path or by content, through open_clip's transform."""

    def __init__(self, files: Sequence[Path] | Sequence[bytes], transform: Any) -> None:
        self._files = files
        self._transform = transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> Any:
        file = self._files[i]
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
            return self._transform(picture)


def seconds_of(batches: DataLoader[Any], encode: Callable[[Tensor], Tensor], n: int) -> float:
    """Seconds until all n files have features of unit length in memory, workers' start included; `encode` is warm."""
    features = []
    started = time.perf_counter()
    for batch in batches:
        vectors = encode(batch)
        features.append((vectors / vectors.norm(dim=-1, keepdim=True)).cpu().numpy())
    took = time.perf_counter() - started
    assert len(np.concatenate(features)) == n
    return took
