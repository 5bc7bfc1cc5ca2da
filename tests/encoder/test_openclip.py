"""Given the same weights, the encoder says what open_clip says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from indexer.encoder.checkpoint import resolve
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.text import TextTower, tokenizer_of
from indexer.encoder.tower import Tower
from indexer.errors import DeviceFailed
from indexer.types import Matrix, Pixels, Preprocess
from tests.encoder.conftest import CONFIGS, cosines, pictures

TEXTS = [
    "a cat",
    "a photograph of two dogs and a cat that sit before a house, and a sentence that never ends " * 3,
    "",
    "Größe, naïve — 猫",
]
GOOD = 0.99999

Reference = Callable[[str], Any]
Saved = Callable[[str], Path]


def opened(name: str, saved: Saved, precision: str = "fp32") -> OpenClipEncoder:
    return OpenClipEncoder(resolve(name, str(saved(name))), device="cpu", precision=precision)


def joint(encoder: OpenClipEncoder, pixels: Pixels) -> Matrix:
    assert encoder.projection is not None
    return encoder.encode_pixels(pixels).astype(np.float32) @ encoder.projection


def normalised(pixels: Pixels, preprocess: Preprocess) -> torch.Tensor:
    """What open_clip's transform ends with: channels first, 0 to 1, then mean and deviation."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    return (scaled - mean) / std


def first(output: Any) -> np.ndarray:
    return (output[0] if isinstance(output, tuple) else output).numpy()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_joint_embedding_is_open_clips(name: str, reference: Reference, saved: Saved) -> None:
    encoder = opened(name, saved)
    pixels = pictures(4, encoder.space.preprocess.side_px)
    expected = first(reference(name).encode_image(normalised(pixels, encoder.space.preprocess), normalize=True))
    assert cosines(joint(encoder, pixels), expected).min() >= GOOD


@pytest.mark.parametrize("name", CONFIGS)
def test_texts_are_embedded_as_open_clip_does(name: str, reference: Reference, saved: Saved) -> None:
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    expected = first(reference(name).encode_text(tokens, normalize=True))
    assert cosines(opened(name, saved).encode_texts(TEXTS), expected).min() >= GOOD


def test_the_feature_is_what_the_tower_has_before_its_projection(reference: Reference, saved: Saved) -> None:
    encoder = opened("tiny", saved)
    pixels = pictures(3)
    visual = reference("tiny").visual
    matrix, visual.proj = visual.proj, None
    try:
        expected = visual(normalised(pixels, encoder.space.preprocess)).numpy()
    finally:
        visual.proj = matrix
    assert cosines(encoder.encode_pixels(pixels), expected).min() >= GOOD
    assert np.array_equal(encoder.projection, matrix.numpy())  # type: ignore[arg-type]


def test_a_tower_without_a_linear_projection_has_the_joint_embedding_as_its_feature(saved: Saved) -> None:
    assert np.array_equal(opened("tiny-resnet", saved).projection, np.eye(48))  # type: ignore[arg-type]


def test_bf16_stays_close_to_fp32(saved: Saved) -> None:
    pixels = pictures(8)
    half, full = opened("tiny", saved, "bf16"), opened("tiny", saved)
    assert half.space.precision == "bf16"
    assert half.space.fingerprint != full.space.fingerprint
    assert cosines(half.encode_pixels(pixels), full.encode_pixels(pixels)).min() >= 0.9998
    assert np.array_equal(half.projection, full.projection)  # type: ignore[arg-type]  # never rounded


def test_padding_a_text_to_the_whole_context_changes_nothing(saved: Saved, reference: Reference) -> None:
    checkpoint = resolve("tiny", str(saved("tiny")))
    tower = TextTower(_copy_of(reference("tiny")), tokenizer_of(checkpoint), torch.device("cpu"))
    assert tower._ignores_padding
    with torch.inference_mode():
        short = tower(["a cat", "two dogs"])
        tower._ignores_padding = False
        assert cosines(short, tower(["a cat", "two dogs"])).min() >= GOOD


def test_rows_that_are_not_finite_or_zero_come_out_all_nan() -> None:
    class Given(nn.Module):
        """A tower whose output is told by the first pixel of each picture."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outputs = torch.tensor([[3.0, 4.0], [0.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0]])
            return outputs[x[:, 0, 0, 0].long()]

    # Deviations of 1/255 and a mean of zero hand the pixels' own values over.
    preprocess = Preprocess(side_px=2, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 2, 2, 3)
    rows = Tower(Given(), preprocess, torch.float32)(pixels)
    assert rows[0].tolist() == pytest.approx([0.6, 0.8], abs=1e-3)
    assert rows[1:].isnan().all()


def test_a_closed_encoder_serves_no_more(saved: Saved) -> None:
    encoder = opened("tiny", saved)
    assert encoder.weights_bytes > 10_000
    encoder.close()
    assert encoder.weights_bytes == 0
    with pytest.raises(DeviceFailed):
        encoder.encode_pixels(pictures(1))


def test_random_weights_are_the_same_for_a_seed_and_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    one, same, other = (
        OpenClipEncoder(resolve("tiny", told), device="cpu", precision="fp32")
        for told in ("random:1", "random:1", "random")
    )
    pixels = pictures(2)
    assert np.array_equal(one.encode_pixels(pixels), same.encode_pixels(pixels))
    assert cosines(one.encode_pixels(pixels), other.encode_pixels(pixels)).max() < 0.9
    assert (one.space.weights, other.space.weights) == ("random-1", "random-0")
    assert "random weights" in caplog.text


def test_the_fingerprint_knows_the_weights(saved: Saved, tmp_path: Path) -> None:
    copied = tmp_path / "copy.safetensors"
    copied.write_bytes(saved("tiny").read_bytes())
    same = OpenClipEncoder(resolve("tiny", str(copied)), device="cpu", precision="fp32")
    assert same.space == opened("tiny", saved).space
    assert same.space.weights != opened("tiny-quickgelu", saved).space.weights


def test_halves_are_loaded_into_whichever_precision_is_asked_for(saved: Saved, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    halved = tmp_path / "half.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(saved("tiny")).items()}, halved)
    encoder = OpenClipEncoder(resolve("tiny", str(halved)), device="cpu", precision="fp32")
    pixels = pictures(3)
    assert cosines(encoder.encode_pixels(pixels), opened("tiny", saved).encode_pixels(pixels)).min() >= GOOD


def _copy_of(model: Any) -> Any:
    from copy import deepcopy

    return deepcopy(model)
