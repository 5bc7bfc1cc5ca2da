"""Candidates by FAISS's brute-force search of matrices that are not its own, on a CUDA device."""

from __future__ import annotations

import faiss
import faiss.contrib.torch_utils  # lets `knn_gpu` take tensors
from torch import Tensor

from indexer.index.propose import merged
from indexer.index.selection import Selection

_SPAN_ROWS = 1 << 24


class DeviceKnn:
    """`faiss.knn_gpu` over blocks; holds FAISS's scratch memory. For one thread at a time.

    Attributes:
        most: The largest k that FAISS takes on a device.
    """

    most = 2048

    def __init__(self, device_index: int) -> None:
        self._device_index = device_index
        self._resources = faiss.StandardGpuResources()

    def propose(self, factor: Tensor, n_wanted: int, selection: Selection[Tensor]) -> tuple[Tensor, Tensor]:
        """Places and approximate scores (q, n_wanted) of each query's best rows; as `propose.by_product`."""
        places, scores = [], []
        for lo, hi in selection.spans(_SPAN_ROWS):
            values, found = faiss.knn_gpu(
                self._resources,
                factor,
                selection.tile(lo, hi),
                min(n_wanted, hi - lo),
                metric=faiss.METRIC_INNER_PRODUCT,
                device=self._device_index,
            )
            places.append(found + lo)
            scores.append(values)
        return merged(places, scores, n_wanted)
