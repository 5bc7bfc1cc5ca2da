"""Weights in Hugging Face's naming give what Hugging Face's own CLIP gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from indexer.encoder.checkpoint import resolve
from indexer.encoder.openclip import OpenClipEncoder
from indexer.encoder.text import tokenizer_of
from indexer.errors import CheckpointMismatch, ConfigError, NoTextTower
from tests.encoder.conftest import cosines, pictures
from tests.encoder.test_openclip import GOOD, normalised

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 256,
    "projection_dim": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="module", params=["gelu", "quick_gelu"])
def theirs(request: pytest.FixtureRequest) -> CLIPVisionModelWithProjection:
    torch.manual_seed(1)
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**SIZES, hidden_act=request.param)).eval()


@pytest.fixture
def file(theirs: CLIPVisionModelWithProjection, tmp_path: Path) -> Path:
    """The weights alone, as the repackaged image tower of ViT-H-14 comes."""
    path = tmp_path / "vision.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in theirs.state_dict().items()}, path)
    return path


def opened(path: Path, name: str = "tiny") -> OpenClipEncoder:
    return OpenClipEncoder(resolve(name, str(path)), device="cpu", precision="fp32")


def architecture(theirs: CLIPVisionModelWithProjection) -> str:
    return "tiny" if theirs.config.hidden_act == "gelu" else "tiny-quickgelu"


def test_pooled_and_projected_outputs_are_theirs(theirs: CLIPVisionModelWithProjection, file: Path) -> None:
    encoder = opened(file, architecture(theirs))
    pixels = pictures(4)
    with torch.inference_mode():
        images = normalised(pixels, encoder.space.preprocess)
        pooled = theirs.vision_model(images).pooler_output.numpy()
        projected = theirs(images).image_embeds.numpy()
    features = encoder.encode_pixels(pixels).astype(np.float32)
    assert cosines(features, pooled).min() >= GOOD
    assert encoder.projection is not None
    assert cosines(features @ encoder.projection, projected).min() >= GOOD


def test_a_config_beside_the_weights_tells_the_activation(theirs: CLIPVisionModelWithProjection, file: Path) -> None:
    (file.parent / "config.json").write_text(theirs.config.to_json_string())
    told, chosen = opened(file, "tiny"), opened(file, architecture(theirs))
    assert np.array_equal(told.encode_pixels(pictures(2)), chosen.encode_pixels(pictures(2)))


def test_a_folder_as_they_save_it_can_be_given(theirs: CLIPVisionModelWithProjection, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path / "saved")
    assert resolve("tiny", str(tmp_path / "saved")).source == tmp_path / "saved" / "model.safetensors"
    assert opened(tmp_path / "saved").encode_pixels(pictures(1)).shape == (1, 64)


def test_without_a_text_tower_words_get_a_clear_answer(file: Path) -> None:
    encoder = opened(file)
    assert not encoder.has_text
    with pytest.raises(NoTextTower, match="no text tower"):
        encoder.encode_texts(["a cat"])


def test_without_a_projection_there_is_no_joint_space(file: Path) -> None:
    tensors = load_file(file)
    del tensors["visual_projection.weight"]
    save_file(tensors, file)
    encoder = opened(file)
    assert encoder.projection is None
    assert encoder.encode_pixels(pictures(1)).shape == (1, 64)


def test_both_towers_are_taken_where_both_are_there(tmp_path: Path) -> None:
    torch.manual_seed(2)
    text = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 20,
        "hidden_act": "gelu",
        "eos_token_id": 49407,
    }
    vision = {**SIZES, "hidden_act": "gelu"}
    theirs = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=48)).eval()
    theirs.save_pretrained(tmp_path)
    encoder = opened(tmp_path)
    texts = ["a cat", "two dogs under a tree"]
    with torch.inference_mode():
        tokens = tokenizer_of(resolve("tiny", str(tmp_path)))(texts)
        output = theirs.get_text_features(input_ids=tokens)
        expected = getattr(output, "pooler_output", output).numpy()
    assert cosines(encoder.encode_texts(texts), expected).min() >= GOOD


def test_weights_of_another_size_are_told_by_name_and_shape(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match=r"ViT-B-32.*visual"):
        opened(file, "ViT-B-32")
    tensors = load_file(file)
    tensors["vision_model.post_layernorm.weight"] = torch.zeros(63)
    save_file(tensors, tmp_path / "misshapen.safetensors")
    with pytest.raises(CheckpointMismatch, match=r"visual\.ln_post\.weight \(63,\) instead of \(64,\)"):
        opened(tmp_path / "misshapen.safetensors")


def test_a_part_of_the_attention_missing_is_told(file: Path) -> None:
    tensors = load_file(file)
    del tensors["vision_model.encoder.layers.1.self_attn.k_proj.weight"]
    save_file(tensors, file)
    with pytest.raises(CheckpointMismatch, match=r"layers\.1\.self_attn\.k_proj\.weight"):
        opened(file)


def test_an_activation_that_open_clip_lacks_is_refused(file: Path) -> None:
    told = {"model_type": "clip_vision_model", "hidden_act": "relu"}
    (file.parent / "config.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="relu"):
        resolve("tiny", str(file))
