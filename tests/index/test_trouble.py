"""What becomes of an index whose device fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from indexer.errors import DeviceFailed, DeviceOutOfMemory
from indexer.index.gpu import TorchIndex
from tests.index.samples import draw_queries, draw_rows, norms_of


@pytest.mark.parametrize(
    ("error", "renamed", "trouble"),
    [
        (
            torch.AcceleratorError("device-side assert triggered\nand more"),
            DeviceFailed,
            "device-side assert triggered",
        ),
        (RuntimeError("Error: Faiss assertion failed; CUDA error 700"), DeviceFailed, "CUDA error 700"),
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceOutOfMemory, None),
        (RuntimeError("FAISS: CUDA error 2 out of memory"), DeviceOutOfMemory, None),
        (RuntimeError("a defect"), RuntimeError, None),
    ],
)
def test_a_device_that_fails_is_told_of_until_it_works_again(
    error: Exception, renamed: type[Exception], trouble: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = TorchIndex(32, device="cpu", first_rows=1024)
    ids = np.arange(1, 101)
    index.upsert(ids, draw_rows(100, 32), norms_of(ids))

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(index, "_search", fail)
        with pytest.raises(renamed) as caught:
            index.search(draw_queries(1, 32), 5)
    assert type(caught.value) is renamed
    if trouble is None:
        assert index.trouble is None
    else:
        assert trouble in str(index.trouble)
        assert "\n" not in str(index.trouble)
    index.search(draw_queries(1, 32), 5)
    assert index.trouble is None
    index.close()
