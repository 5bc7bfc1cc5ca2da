"""Measures the shipped demo model on scenes it has never seen: `python -m benchmarks.demo_model.evaluate`."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from PIL import Image

from benchmarks.demo_model.examples import random_scenes
from indexer.scenes import Mention, Phrase, Scene
from indexer.scenes.words import COLOURS, COUNT_WORDS, PLACE_WORDS, SHAPES

MODEL_DIR = Path(__file__).resolve().parents[2] / "indexer" / "encoder" / "demo_model"
NAME = "lookalike-demo"

_FLOOR = 0.90
_SHAPE_FLOOR = 0.75
_N_CAPTIONS = 200
_N_SCENES = 1000
_K = 10
_SEED = 90_000

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figures:
    """What is measured; all are shares, 0 to 1."""

    caption_top_1_mean: float
    caption_top_1_min: float
    worded_caption_top_1_mean: float
    twin_top_1: float
    precision_at_10: dict[str, float]


class DemoModel:
    """The shipped weights in open_clip, with its own preprocessing."""

    def __init__(self, folder: Path = MODEL_DIR) -> None:
        open_clip.add_model_config(folder / f"{NAME}.json")
        weights = folder / f"{NAME}.safetensors"
        self._model, _, self._preprocess = open_clip.create_model_and_transforms(NAME, pretrained=str(weights))
        self._model.eval()
        self._tokenize: Any = open_clip.get_tokenizer(NAME)

    @torch.inference_mode()
    def embed_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Returns unit vectors.  # (n, d)"""
        parts = [
            self._model.encode_image(torch.stack([self._preprocess(i) for i in images[at : at + 100]]), normalize=True)
            for at in range(0, len(images), 100)
        ]
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def embed_features(self, images: Sequence[Image.Image]) -> tuple[Vectors, Vectors]:
        """Returns unit vectors of what comes before the projection (n, d), and the projection (d, j)."""
        visual = self._model.visual
        projection, visual.proj = visual.proj, None
        try:
            return self.embed_images(images), projection.detach().numpy()
        finally:
            visual.proj = projection

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Returns unit vectors.  # (n, d)"""
        vectors: Vectors = self._model.encode_text(self._tokenize(list(texts)), normalize=True).numpy()
        return vectors


def draw_as_jpeg(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draws at the size of the demo's files and takes the picture through a JPEG file."""
    file = io.BytesIO()
    scene.draw(int(rng.integers(320, 513)), rng).save(file, "JPEG", quality=92)
    return Image.open(file)


def caption_top_1(model: DemoModel, seed: int) -> tuple[float, float]:
    """Returns how often a caption finds its own picture among 200 with distinct captions: usual words, free words."""
    rng = np.random.default_rng(seed)
    scenes: dict[str, Scene] = {}
    for scene in random_scenes(rng, held_out=True):
        scenes.setdefault(scene.caption(), scene)
        if len(scenes) == _N_CAPTIONS:
            break
    images = model.embed_images([draw_as_jpeg(scene, rng) for scene in scenes.values()])
    usual = model.embed_texts(list(scenes))
    worded = model.embed_texts([scene.caption(rng) for scene in scenes.values()])
    wanted = np.arange(_N_CAPTIONS)
    top_1 = [float(np.mean((texts @ images.T).argmax(axis=1) == wanted)) for texts in (usual, worded)]
    return top_1[0], top_1[1]


def precision_at_10(
    phrases: Sequence[Phrase], model: DemoModel, scenes: Sequence[Scene], images: Vectors
) -> tuple[float, list[tuple[float, str]]]:
    """Returns the mean share of hits that the phrase is true of, among 10 or as many as there are, and each share."""
    texts = [phrase.text() for phrase in phrases]
    shares = []
    for phrase, text, scores in zip(phrases, texts, model.embed_texts(texts) @ images.T, strict=True):
        truth = np.array([phrase.is_true_of(scene) for scene in scenes])
        k = min(_K, int(truth.sum()))
        if k:
            shares.append((float(truth[np.argsort(-scores)[:k]].mean()), text))
    return float(np.mean([share for share, _ in shares])), sorted(shares)


def phrase_kinds() -> dict[str, list[Phrase]]:
    """Returns what people type, by what is said; without articles, as people do."""
    shapes, colours = list(SHAPES), list(COLOURS)
    return {
        "colour": [Phrase((Mention(colour=c),)) for c in colours],
        "shape": [Phrase((Mention(shape=s),)) for s in shapes],
        "background": [Phrase((), b) for b in colours],
        "colour and shape": [Phrase((Mention(s, c),)) for s in shapes for c in colours],
        "count and shape": [Phrase((Mention(s, count=n),)) for s in shapes for n in COUNT_WORDS if n > 1],
        "texture and shape": [
            Phrase((Mention(s, texture=t),)) for s in shapes for t in ("striped", "dotted", "checkered")
        ],
        "size and shape": [Phrase((Mention(s, size=z),)) for s in shapes for z in ("small", "large")],
        "shape and position": [Phrase((Mention(s, position=p),)) for s in shapes for p in PLACE_WORDS],
        "shape and background": [Phrase((Mention(s),), b) for s in shapes for b in colours],
        "colour, shape, background": [
            Phrase((Mention(s, c),), b) for s, c, b in itertools.product(shapes, colours, colours) if b != c
        ],
    }


def measure(model: DemoModel, n_sets: int) -> Figures:
    """Measures `model` on `n_sets` sets of held-out scenes and 1,000 scenes more."""
    tops = []
    for i in range(n_sets):
        tops.append(caption_top_1(model, _SEED + i))
        print(f"set {i + 1}/{n_sets}: top-1 {tops[-1][0]:.3f}, in free words {tops[-1][1]:.3f}", file=sys.stderr)
    rng = np.random.default_rng(_SEED - 1)
    scenes = list(itertools.islice(random_scenes(rng, held_out=True), _N_SCENES))
    images = model.embed_images([draw_as_jpeg(scene, rng) for scene in scenes])
    twins = model.embed_images([draw_as_jpeg(scene, rng) for scene in scenes[:_N_CAPTIONS]])
    nearest = (twins @ images.T).argmax(axis=1)
    twin_top_1 = np.mean([scenes[int(j)] == scenes[i] for i, j in enumerate(nearest)])
    precision = {}
    for kind, phrases in phrase_kinds().items():
        precision[kind], shares = precision_at_10(phrases, model, scenes, images)
        worst = ", ".join(f'"{text}" {share:.2f}' for share, text in shares[:3])
        print(f"precision@10 of {kind}: {precision[kind]:.3f} (worst: {worst})", file=sys.stderr)
    usual, worded = zip(*tops, strict=True)
    return Figures(float(np.mean(usual)), min(usual), float(np.mean(worded)), float(twin_top_1), precision)


def main() -> int:
    """Prints the figures; 1 where captions or shapes are under their floors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=5, help="sets of 200 captions (default 5)")
    parser.add_argument("--folder", type=Path, default=MODEL_DIR, help="holds the model's config and weights")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    measured = measure(DemoModel(args.folder), args.sets)
    figures = asdict(measured)
    if args.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:26} {value if isinstance(value, dict) else round(value, 4)}")
    shapes = [measured.precision_at_10[kind] for kind in ("shape", "colour and shape")]
    return 0 if measured.caption_top_1_mean >= _FLOOR and min(shapes) >= _SHAPE_FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())
