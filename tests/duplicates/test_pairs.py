"""Close rows: all of them, each once, as brute force finds them."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.duplicates import pairs
from indexer.duplicates.pairs import MOST_A_ROW, chance, close_pairs
from indexer.errors import Stopped
from tests.fakes.index import MemoryIndex


def filled(rows: np.ndarray, step: int = 3) -> MemoryIndex:
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    index = MemoryIndex(rows.shape[1])
    index.upsert(np.arange(len(rows)) * step + 1, unit, np.ones(len(rows), np.float32))
    return index


def by_force(index: MemoryIndex, least: float) -> dict[tuple[int, int], float]:
    ids = index.ids()
    rows = index.rows(ids).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    return {
        (int(ids[i]), int(ids[j])): cosines[i, j]
        for i in range(len(ids))
        for j in range(i + 1, len(ids))
        if cosines[i, j] >= least
    }


@pytest.mark.parametrize("dim", [8, 400])
def test_every_close_pair_is_found_once(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_BLOCK", 32)
    monkeypatch.setattr(pairs, "_TILE", 50)
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((150, dim))
    rows[100:] = rows[:50] + 0.3 * rng.standard_normal((50, dim))
    index = filled(rows)
    found = close_pairs(index, 0.87, lambda _done, _total: None)
    expected = by_force(index, 0.87)
    told = dict(zip(map(tuple, found.ids.tolist()), found.scores.tolist(), strict=True))
    assert len(expected) > 30
    assert told == pytest.approx(expected, abs=1e-5)


def test_a_row_is_paired_with_its_closest_where_very_many_are_close() -> None:
    rng = np.random.default_rng(2)
    index = filled(np.ones(16) + 0.1 * rng.standard_normal((100, 16)))
    found = close_pairs(index, 0.9, lambda _done, _total: None)
    first = found.ids[:, 0] == 1
    best = sorted((score for (one, _), score in by_force(index, 0.9).items() if one == 1), reverse=True)[:MOST_A_ROW]
    assert sorted(found.scores[first].tolist(), reverse=True) == pytest.approx(best, abs=1e-4)


def test_an_empty_index_has_no_pairs() -> None:
    assert len(close_pairs(MemoryIndex(8), 0.5, lambda _done, _total: None).ids) == 0


def test_whoever_is_told_the_progress_may_end_it() -> None:
    def stop(_done: int, _total: int) -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        close_pairs(filled(np.random.default_rng(0).standard_normal((10, 4))), 0.5, stop)


def test_chance_is_the_median_cosine_of_two_rows() -> None:
    rows = np.random.default_rng(3).standard_normal((300, 32)) + 2
    index = filled(rows)
    assert chance(index) == pytest.approx(float(np.median(list(by_force(index, -1).values()))), abs=1e-4)


def test_chance_is_not_learnt_from_a_few() -> None:
    assert chance(filled(np.ones((5, 4)))) == 0.5
