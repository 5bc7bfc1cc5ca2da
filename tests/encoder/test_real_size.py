"""ViT-H-14 in its real dimensions, with random weights, on the machine as it is."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from indexer.encoder.checkpoint import resolve
from indexer.encoder.openclip import OpenClipEncoder
from tests.encoder.conftest import cosines, pictures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_vit_h_14_gives_features_of_1280_and_embeddings_of_1024() -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    encoder = OpenClipEncoder(resolve("ViT-H-14", "random"), device="auto")
    rows = encoder.encode_pixels(pictures(2, 224))
    assert (rows.shape, rows.dtype) == ((2, 1280), np.float16)
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows.astype(np.float32), axis=1) == pytest.approx([1, 1], abs=1e-3)
    assert cosines(rows[:1], rows[1:]).max() < 0.9999

    texts = encoder.encode_texts(["a cat"])
    assert encoder.projection is not None
    assert encoder.projection.shape == (1280, 1024)
    assert texts.shape == (1, 1024)
    assert np.linalg.norm(texts) == pytest.approx(1, abs=1e-5)
