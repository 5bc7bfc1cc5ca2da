"""Trains the demo model on drawn scenes and writes its weights: `python -m benchmarks.demo_model.train`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.demo_model.examples import N_FULL, Examples, are_true, draw_examples
from benchmarks.demo_model.student import Student, contrastive_loss, hint_loss

MODEL_DIR = Path(__file__).resolve().parents[2] / "indexer" / "encoder" / "demo_model"
NAME = "lookalike-demo"

_ADAM_RATE = 2e-3
_MUON_RATE = 4e-3
_WEIGHT_DECAY = 0.05
_WARM_UP = 0.05
_P_UNKNOWN_WORD = 0.3
#: Length of a run of scenes with the same colours.
_RUN = 16
#: What is hard to see counts more.
_HINT_WEIGHTS = {"shape": 6.0, "coloured shape": 6.0, "texture": 2.0, "count": 2.0}


class Batch(NamedTuple):
    """What the student sees in one step: b images, and two texts of each."""

    images: torch.Tensor  # (b, 3, side, side)
    tokens: torch.Tensor  # (2b, length): first a text that says everything of each image, then one that says some
    truth: torch.Tensor  # (2b, b)
    hints: dict[str, torch.Tensor]  # attribute -> (b, values)


class Batches:
    """Random batches of examples without end.

    Half of a batch is runs of scenes that are alike in their colours. Colours alone tell almost every scene of a random
    batch from the others, so that without such runs the model would learn little of shapes, textures and counts.
    """

    def __init__(self, examples: Examples, size: int, mean: list[float], std: list[float], seed: int) -> None:
        self._examples = examples
        self._size = size
        self._mean, self._std = (torch.tensor(levels).view(3, 1, 1) * 255 for levels in (mean, std))
        self._rng = torch.Generator().manual_seed(seed)
        known, tokens = np.unique(examples.tokens, return_inverse=True)
        self.known_tokens = torch.from_numpy(known.astype(np.int64))
        self._tokens = torch.from_numpy(tokens.reshape(examples.tokens.shape).astype(np.int64))
        self._hints = {name: torch.from_numpy(hint) for name, hint in examples.hints().items()}
        self.n_hints = sum(hint.shape[1] for hint in self._hints.values())
        self._alike = [torch.from_numpy(rows) for rows in examples.alike()]

    def __iter__(self) -> Iterator[Batch]:
        n_any = self._size - self._size // 2
        while True:
            order = torch.randperm(len(self._examples.pixels), generator=self._rng)
            for start in range(0, len(order) - n_any + 1, n_any):
                runs = [self._run_of_alike() for _ in range(self._size // 2 // _RUN)]
                yield self._batch(torch.cat([order[start : start + n_any], *runs]))

    def _run_of_alike(self) -> torch.Tensor:
        rows = self._alike[int(torch.randint(len(self._alike), (), generator=self._rng))]
        return rows[torch.randint(len(rows), (_RUN,), generator=self._rng)]

    def _batch(self, rows: torch.Tensor) -> Batch:
        n_said = self._tokens.shape[1]
        full = torch.randint(0, N_FULL, rows.shape, generator=self._rng)
        partial = torch.randint(N_FULL, n_said, rows.shape, generator=self._rng)
        said = torch.stack([full, partial])  # (2, b)
        pixels = torch.from_numpy(self._examples.pixels[rows.numpy()])
        phrases = self._examples.phrase_bits[rows.numpy(), said.numpy()].reshape(-1, 3)
        return Batch(
            (pixels.permute(0, 3, 1, 2).float() - self._mean) / self._std,
            add_unknown_word(self._tokens[rows, said].flatten(0, 1), self._rng),
            torch.from_numpy(are_true(phrases, self._examples.scene_bits[rows.numpy()])).float(),
            {name: hint[rows].float() for name, hint in self._hints.items()},
        )


def add_unknown_word(tokens: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Puts a token 0, a word that says nothing, somewhere into some of the texts, (t, length)."""
    places = torch.randint(1, 6, (len(tokens), 1), generator=rng)
    columns = torch.arange(tokens.shape[1])[None]
    longer = torch.where(columns < places, tokens, tokens.roll(1, 1)).masked_fill(columns == places, 0)
    fits = (tokens.argmax(1, keepdim=True) >= places) & (tokens[:, -1:] == 0)
    chosen = torch.rand(len(tokens), 1, generator=rng) < _P_UNKNOWN_WORD
    return torch.where(fits & chosen, longer, tokens)


def build_optimizers(student: Student) -> tuple[torch.optim.Optimizer, ...]:
    """Returns Muon for the matrices inside the towers and AdamW for the rest."""
    matrices = {n: p for n, p in student.named_parameters() if ".resblocks." in n and p.ndim == 2}
    rest = [p for n, p in student.named_parameters() if n not in matrices]
    adam = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": _WEIGHT_DECAY},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=_ADAM_RATE,
        betas=(0.9, 0.98),
    )
    muon = torch.optim.Muon(
        matrices.values(), lr=_MUON_RATE, weight_decay=_WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"
    )
    return muon, adam


def rate_share(step: int, n_steps: int) -> float:
    """Rises from 0 to 1 in a line, then falls to 0 along half a cosine."""
    warm_up = max(1, int(_WARM_UP * n_steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, n_steps - warm_up))


def train(examples: Examples, config: Path, n_steps: int, batch_size: int, seed: int) -> dict[str, torch.Tensor]:
    """Trains the model that `config` describes on batches of `examples` and returns the weights to ship."""
    torch.manual_seed(seed)
    open_clip.add_model_config(config)
    model = open_clip.create_model(NAME)
    preprocess = model.visual.preprocess_cfg
    batches = Batches(examples, batch_size, preprocess["mean"], preprocess["std"], seed)
    student = Student(model, batches.known_tokens, batches.n_hints)
    optimizers = build_optimizers(student)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda step: rate_share(step, n_steps)) for o in optimizers]
    started_s = time.monotonic()
    for step, batch in zip(range(1, n_steps + 1), batches, strict=False):
        logits, named = student(batch.images, batch.tokens)
        loss = contrastive_loss(logits, batch.truth) + hint_loss(named, batch.hints, _HINT_WEIGHTS)
        student.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        if step % 20 == 0 or step == n_steps:
            top_1 = (logits[:batch_size].argmax(1) == torch.arange(batch_size)).float().mean().item()
            _progress(f"step {step}/{n_steps}", step / n_steps, started_s, f"loss {loss.item():.3f}, top-1 {top_1:.3f}")
    return student.shipped_weights()


def _draw_or_read(file: Path | None, n: int, seed: int, side_px: int, n_processes: int) -> Examples:
    if file is not None and file.exists():
        return Examples(**np.load(file))
    started_s = time.monotonic()
    examples = draw_examples(
        n, seed, side_px, n_processes, lambda n_drawn: _progress(f"drawn {n_drawn}/{n}", n_drawn / n, started_s)
    )
    if file is not None:
        np.savez(file, **{name: getattr(examples, name) for name in Examples.__slots__})
    return examples


def _progress(what: str, share: float, started_s: float, more: str = "") -> None:
    spent_s = time.monotonic() - started_s
    print(f"{what}  {spent_s:.0f} s, {spent_s / share - spent_s:.0f} s left  {more}", file=sys.stderr, flush=True)


def main() -> None:
    """Draws the examples, trains, writes the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=40_960, help="scenes to draw (default %(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="steps to train (default %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="scenes in a step (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cores", type=int, default=2, help="processes to draw, threads to train (default %(default)s)"
    )
    parser.add_argument("--keep", type=Path, metavar="NPZ", help="keep the drawn examples here for the next run")
    parser.add_argument("--folder", type=Path, default=MODEL_DIR, help="holds the model's config; the weights go there")
    args = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    torch.set_num_threads(args.cores)
    config, out = args.folder / f"{NAME}.json", args.folder / f"{NAME}.safetensors"
    side_px = json.loads(config.read_text())["vision_cfg"]["image_size"]
    started_s = time.monotonic()
    examples = _draw_or_read(args.keep, args.examples, args.seed, side_px, args.cores)
    save_file(train(examples, config, args.steps, args.batch, args.seed), out)
    size_bytes, spent_s = out.stat().st_size, time.monotonic() - started_s
    print(f"wrote {out} ({size_bytes:,} bytes) after {spent_s:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
