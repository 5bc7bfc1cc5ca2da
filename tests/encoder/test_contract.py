"""What every encoder promises, on the stub and on real open_clip models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.encoder.checkpoint import resolve
from indexer.encoder.openclip import OpenClipEncoder
from indexer.ports import Encoder
from tests.encoder.conftest import cosines, pictures
from tests.fakes.encoder import StubEncoder


@pytest.fixture(
    scope="module",
    params=[
        "stub",
        "demo",
        "tiny fp32",
        "tiny bf16",
        "tiny-captions fp32",
        "tiny-resnet fp32",
        pytest.param("tiny fp16 cuda", marks=pytest.mark.gpu),
    ],
)
def encoder(request: pytest.FixtureRequest, saved: Callable[[str], Path]) -> Encoder:
    match request.param.split():
        case ["stub"]:
            return StubEncoder()
        case ["demo"]:
            return OpenClipEncoder(resolve("demo", ""), device="cpu")
        case [name, precision, *device]:
            checkpoint = resolve(name, str(saved(name)))
            return OpenClipEncoder(checkpoint, device="".join(device) or "cpu", precision=precision)
    raise AssertionError(request.param)


def some(encoder: Encoder, n: int, seed: int = 0) -> np.ndarray:
    return pictures(n, encoder.space.preprocess.side_px, seed)


@pytest.mark.parametrize("n", [1, 2, 7, 17])
def test_features_are_unit_rows_of_float16(encoder: Encoder, n: int) -> None:
    rows = encoder.encode_pixels(some(encoder, n))
    assert rows.shape == (n, encoder.space.dim)
    assert rows.dtype == np.float16
    assert np.linalg.norm(rows.astype(np.float32), axis=1) == pytest.approx(np.ones(n), abs=1e-3)


def test_each_picture_has_its_own_feature_in_its_own_row(encoder: Encoder) -> None:
    pixels = some(encoder, 5)
    rows = encoder.encode_pixels(pixels)
    turned = encoder.encode_pixels(pixels[::-1])
    assert np.all(1 - cosines(rows, turned[::-1]) < 1e-5)
    assert len(np.unique(rows, axis=0)) == 5


@pytest.mark.parametrize("n", [2, 3, 8, 16, 20])
def test_a_picture_has_the_same_feature_whatever_batch_it_travels_in(encoder: Encoder, n: int) -> None:
    alone = np.concatenate([encoder.encode_pixels(some(encoder, 20)[i : i + 1]) for i in range(3)])
    together = encoder.encode_pixels(some(encoder, 20)[:n])
    assert np.all(1 - cosines(alone[:n], together[:3]) < 1e-5)


def test_answers_are_the_callers_to_keep(encoder: Encoder) -> None:
    first = encoder.encode_pixels(some(encoder, 2))
    kept = first.copy()
    encoder.encode_pixels(some(encoder, 2, seed=1))
    assert np.array_equal(first, kept)


def test_the_projection_leads_from_features_to_where_texts_are(encoder: Encoder) -> None:
    assert encoder.projection is not None
    assert encoder.projection.dtype == np.float32
    texts = encoder.encode_texts(["a red circle", "two blue squares", ""])
    assert texts.shape == (3, encoder.projection.shape[1])
    assert encoder.projection.shape[0] == encoder.space.dim
    assert texts.dtype == np.float32
    assert np.linalg.norm(texts, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_a_text_has_the_same_embedding_whatever_texts_it_travels_with(encoder: Encoder) -> None:
    texts = ["a red circle", " ".join(["word"] * 300), "", *(f"picture number {i}" for i in range(70))]
    together = encoder.encode_texts(texts)
    apart = np.concatenate([encoder.encode_texts([text]) for text in texts[:5]])
    assert np.all(1 - cosines(together[:5], apart) < 1e-4)
    assert cosines(together[:1], together[2:3]).max() < 0.999


def test_no_texts_give_no_embeddings(encoder: Encoder) -> None:
    assert encoder.projection is not None
    assert encoder.encode_texts([]).shape == (0, encoder.projection.shape[1])


def test_it_says_where_it_runs_and_what_its_features_mean(encoder: Encoder) -> None:
    assert encoder.device
    assert len(encoder.space.fingerprint) == 16
    assert encoder.has_text
