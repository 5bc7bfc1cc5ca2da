"""Where hits stop being better than chance: the automatic cut on drawn scenes, `python -m benchmarks.relevance`.

The truth is what was drawn. A phrase means the scenes that it is true of; a picture means those that show a thing of
the same shape and colour. The fixed threshold is the best that there is when the truth is known, which users lack.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo_model.evaluate import DemoModel, draw_as_jpeg, phrase_kinds
from benchmarks.demo_model.examples import random_scenes
from benchmarks.report import Row, at_least, compare, emit
from indexer.geometry import Geometry, Part, search_aim
from indexer.index.cpu import CpuIndex
from indexer.scenes import Scene
from indexer.search.relevance import Background
from indexer.types import Ids, Matrix

SEED = 91_000
N_PHRASES_A_KIND = 40
Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Case:
    """One question: every other scene's score (n,), which of them are meant (n,), and the automatic cut."""

    scores: Matrix
    meant: Marks
    cut: float


def worth(case: Case, threshold: float) -> tuple[float, float, float]:
    """Precision (1 for an empty answer), recall and F1 of the scenes that reach a threshold."""
    chosen = case.scores >= threshold
    n_right = int(np.count_nonzero(chosen & case.meant))
    precision = n_right / chosen.sum() if chosen.any() else 1.0
    return precision, n_right / case.meant.sum(), 2 * n_right / (chosen.sum() + case.meant.sum())


def mean(cases: Sequence[Case], threshold: Callable[[Case], float]) -> NDArray[np.float64]:
    """Mean precision, recall and F1."""
    means: NDArray[np.float64] = np.mean([worth(case, threshold(case)) for case in cases], axis=0)
    return means


def best_fixed(cases: Sequence[Case]) -> tuple[float, NDArray[np.float64]]:
    """The one threshold for all questions with the best mean F1, and what it is worth."""
    thresholds = np.linspace(-0.2, 1.0, 121)
    best = max(thresholds, key=lambda t: mean(cases, lambda _case: float(t))[2])
    return float(best), mean(cases, lambda _case: float(best))


class World:
    """Scenes in an index, as they would be after they were dropped into a folder."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(SEED)
        self.model = DemoModel()
        self.scenes: list[Scene] = list(itertools.islice(random_scenes(rng, held_out=True), n))
        images = [draw_as_jpeg(scene, rng) for scene in self.scenes]
        features, projection = self.model.embed_features(images)
        self.geometry = Geometry(projection)
        self.index = CpuIndex(features.shape[1])
        self.ids: Ids = np.arange(1, n + 1)
        self.index.upsert(self.ids, *self.geometry.rows(features.astype(np.float16)))
        self.background = Background(self.index, self.geometry)

    def case(self, part: Part, meant: Marks, itself: int | None = None) -> Case | None:
        """None where nothing is meant."""
        aim = self.geometry.aim([part])
        chance = self.background.chance(aim, worded=part.joint)
        found = search_aim(self.index, self.geometry, aim, len(self.ids))
        scores = np.empty(len(self.ids), np.float32)
        scores[found.ids[0] - 1] = found.scores[0]
        others = np.arange(len(self.ids)) != itself
        scores, meant = scores[others], meant[others]
        assert chance is not None
        return Case(scores, meant, chance.cut(float(scores.max()))) if meant.any() else None

    def by_words(self) -> Iterator[Case]:
        chance = np.random.default_rng(SEED + 1)
        for phrases in phrase_kinds().values():
            some = [phrases[int(i)] for i in chance.permutation(len(phrases))[:N_PHRASES_A_KIND]]
            for phrase, vector in zip(some, self.model.embed_texts([p.text() for p in some]), strict=True):
                meant = np.array([phrase.is_true_of(scene) for scene in self.scenes])
                if case := self.case(Part(vector, True), meant):
                    yield case

    def by_pictures(self, n: int) -> Iterator[Case]:
        things = [{(thing.shape, thing.colour) for thing in scene.things} for scene in self.scenes]
        for i in range(n):
            meant = np.array([bool(things[i] & each) for each in things])
            row = self.index.rows(self.ids[i : i + 1])[0].astype(np.float32)
            if case := self.case(Part(row, False), meant, itself=i):
                yield case


def rows(quick: bool) -> Iterator[Row]:
    """Every row."""
    world = World(300 if quick else 1500)
    with closing(world.index):
        for id, way, cases in (
            ("V1", "words", list(world.by_words())),
            ("V2", "pictures", list(world.by_pictures(100 if quick else 200))),
        ):
            auto = mean(cases, lambda case: case.cut)
            threshold, fixed = best_fixed(cases)
            asked = f"{len(cases)} questions by {way}, {len(world.ids):,} scenes"
            peer = f"{threshold:.2f}: precision {fixed[0]:.2f}, recall {fixed[1]:.2f}, F1 {fixed[2]:.2f}"
            yield Row(f"{id}p", f"precision of the automatic cut, {asked}", auto[0], "")
            yield Row(f"{id}r", f"recall of the automatic cut, {asked}", auto[1], "")
            yield at_least(
                f"{id}f",
                f"its F1 ({auto[2]:.2f}) against the best fixed threshold's",
                auto[2] / fixed[2],
                "x",
                0.8,
                peer,
            )
        aim = world.geometry.aim([Part(world.model.embed_texts(["a red circle"])[0], True)])
        took = compare({"chance": lambda: world.background.chance(aim, worded=True)}, 100)
        yield Row("V3", "what knowing chance adds to a question, median", took["chance"] * 1e3, "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="How well does the automatic cut tell answers from chance?")
    parser.add_argument("--quick", action="store_true", help="fewer scenes")
    parser.add_argument("--json", action="store_true", help="one line per row")
    asked = parser.parse_args()
    emit(rows(asked.quick), asked.json)


if __name__ == "__main__":
    main()
