"""The demo model as it is shipped: open_clip loads it, and it finds drawn scenes by words."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transformer import VisionTransformer
from safetensors import safe_open

import indexer
from benchmarks.demo_model.examples import are_true, bits_of_phrase, bits_of_scene
from indexer.scenes import Mention, Phrase, Scene, random_scene

FOLDER = Path(indexer.__file__).parent / "encoder" / "demo_model"
NAME = "lookalike-demo"
WEIGHTS = FOLDER / f"{NAME}.safetensors"


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any, Any]:
    open_clip.add_model_config(FOLDER / f"{NAME}.json")
    model, _, preprocess = open_clip.create_model_and_transforms(NAME, pretrained=str(WEIGHTS))
    return model.eval(), preprocess, open_clip.get_tokenizer(NAME)


def embed_images(loaded: tuple[Any, Any, Any], scenes: list[Scene], rng: np.random.Generator) -> torch.Tensor:
    model, preprocess, _ = loaded
    with torch.inference_mode():
        pictures = torch.stack([preprocess(scene.draw(160, rng)) for scene in scenes])
        return model.encode_image(pictures, normalize=True)


def embed_texts(loaded: tuple[Any, Any, Any], texts: list[str]) -> torch.Tensor:
    model, _, tokenize = loaded
    with torch.inference_mode():
        return model.encode_text(tokenize(texts), normalize=True)


def random_scenes(n: int, seed: int) -> tuple[list[Scene], np.random.Generator]:
    rng = np.random.default_rng(seed)
    scenes: dict[str, Scene] = {}
    while len(scenes) < n:
        scene = random_scene(rng)
        scenes.setdefault(scene.caption(), scene)
    return list(scenes.values()), rng


def test_the_weights_are_fp16_and_under_five_megabytes() -> None:
    assert WEIGHTS.stat().st_size < 5_000_000
    with safe_open(WEIGHTS, framework="pt") as file:
        names = list(file.keys())
        assert {file.get_tensor(name).dtype for name in names} == {torch.float16}
        assert all(bool(torch.isfinite(file.get_tensor(name)).all()) for name in names)


def test_the_tower_is_open_clips_own_with_a_projection_to_another_width(loaded: tuple[Any, Any, Any]) -> None:
    visual = loaded[0].visual
    assert isinstance(visual, VisionTransformer)
    width, joint = visual.proj.shape
    assert width == visual.ln_post.normalized_shape[0]
    assert joint == loaded[0].text_projection.shape[1]
    assert width != joint


def test_the_projection_of_the_visual_feature_is_the_joint_embedding(loaded: tuple[Any, Any, Any]) -> None:
    model, preprocess, _ = loaded
    scenes, rng = random_scenes(2, 10)
    pictures = torch.stack([preprocess(scene.draw(100, rng)) for scene in scenes])
    projection, model.visual.proj = model.visual.proj, None
    try:
        with torch.inference_mode():
            features = model.visual(pictures)
    finally:
        model.visual.proj = projection
    assert features.shape == (2, projection.shape[0])
    with torch.inference_mode():
        torch.testing.assert_close(features @ projection, model.encode_image(pictures))


def test_nine_of_ten_captions_find_their_own_picture_among_fifty(loaded: tuple[Any, Any, Any]) -> None:
    scenes, rng = random_scenes(50, 11)
    scores = embed_texts(loaded, [scene.caption() for scene in scenes]) @ embed_images(loaded, scenes, rng).T
    assert (scores.argmax(dim=1) == torch.arange(50)).float().mean() >= 0.9


def test_a_picture_drawn_again_finds_its_twin(loaded: tuple[Any, Any, Any]) -> None:
    scenes, rng = random_scenes(50, 12)
    scores = embed_images(loaded, scenes, rng) @ embed_images(loaded, scenes, rng).T
    assert (scores.argmax(dim=1) == torch.arange(50)).float().mean() >= 0.9


def test_short_phrases_find_pictures_that_they_are_true_of(loaded: tuple[Any, Any, Any]) -> None:
    scenes, rng = random_scenes(500, 13)
    images = embed_images(loaded, scenes, rng)
    phrases = {
        "circle": Phrase((Mention("circle"),)),
        "stars": Phrase((Mention("star", plural=True),)),
        "red circle": Phrase((Mention("circle", "red"),)),
        "a large ring": Phrase((Mention("ring", size="large"),)),
        "red shape": Phrase((Mention(colour="red"),)),
        "green shapes": Phrase((Mention(colour="green", plural=True),)),
        "blue background": Phrase((), "blue"),
        "yellow shape on a black background": Phrase((Mention(colour="yellow"),), "black"),
    }
    for text, phrase in phrases.items():
        truth = torch.tensor([phrase.is_true_of(scene) for scene in scenes])
        k = min(5, int(truth.sum()))
        best = (embed_texts(loaded, [text]) @ images.T)[0].topk(k).indices
        assert truth[best].sum() >= 0.8 * k, text


def test_words_that_the_model_never_saw_change_little(loaded: tuple[Any, Any, Any]) -> None:
    plain, with_more = embed_texts(loaded, ["a red star", "please show me a red star"])
    assert float(plain @ with_more) > 0.8


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_bits_that_training_uses_say_which_phrase_is_true_of_which_scene(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(8)]
    phrases = [Phrase.partial(scene, rng) for scene in scenes] + [Phrase.full(scene) for scene in scenes]
    by_bits = are_true(
        np.array([bits_of_phrase(phrase) for phrase in phrases], np.uint64),
        np.array([bits_of_scene(scene) for scene in scenes], np.uint64),
    )
    assert by_bits.tolist() == [[phrase.is_true_of(scene) for scene in scenes] for phrase in phrases]
