"""Scores as they are defined: float64 products and sums, rounded once to float32. Kernels propose, this decides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.types import Features, Ids, Matrix, Neighbours

_AT_ONCE = 1024  # rows converted together, to bound the memory that a large k takes


def scores(rows: Features, query: Matrix) -> Matrix:
    """Inner products (m,) of rows (m, d) with one query (d,).

    The sum's error is far below float32's spacing, so the same row and query get the same score from every search.
    """
    wide = query.astype(np.float64)
    found = np.empty(len(rows), np.float32)
    with np.errstate(over="ignore"):
        for at in range(0, len(rows), _AT_ONCE):
            found[at : at + _AT_ONCE] = np.vecdot(_wide(rows[at : at + _AT_ONCE]), wide)
    return found


def _wide(rows: Features) -> NDArray[np.float64]:
    """Rows in float64. A float16's bits in a float32's place are 2**112 times too small: much faster than `astype`."""
    bits = rows.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= ~np.int32(0x7000_0000)  # copies of the sign
    values = bits.view(np.float32)
    values *= np.float32(2.0**112)
    return values.astype(np.float64)


def best(ids: Ids, found: Matrix, k: int) -> Neighbours:
    """The k best of scored ids (q, m) per query, best first, ties by lower id, padded with id -1 and score -inf."""
    if len(ids) == 1 and ids.size > 4 * k:  # sorting all of many for a few would be the slowest step
        worst = np.partition(found[0], ids.size - k)[ids.size - k]
        kept = np.flatnonzero(found[0] >= worst)
        ids, found = ids[:, kept], found[:, kept]
    order = np.lexsort((ids, -found), axis=1)[:, :k]
    if order.shape[1] == k:
        return Neighbours(np.take_along_axis(ids, order, 1), np.take_along_axis(found, order, 1))
    answer = nothing(len(ids), k)
    answer.ids[:, : order.shape[1]] = np.take_along_axis(ids, order, 1)
    answer.scores[:, : order.shape[1]] = np.take_along_axis(found, order, 1)
    return answer


def join(answers: Sequence[Neighbours], k: int) -> Neighbours:
    """Answers to some queries after each other, as one."""
    if len(answers) == 1:
        return answers[0]
    if not answers:
        return nothing(0, k)
    return Neighbours(np.concatenate([a.ids for a in answers]), np.concatenate([a.scores for a in answers]))


def nothing(n_queries: int, k: int) -> Neighbours:
    """An answer without hits."""
    return Neighbours(np.full((n_queries, k), -1, np.int64), np.full((n_queries, k), -math.inf, np.float32))


def scaled(queries: Matrix) -> tuple[Matrix, NDArray[np.int32]]:
    """Queries (q, d), each times the power of two that brings its largest value into [0.5, 1), and exponents (q,).

    Kernels see only such queries, so that no product overflows or vanishes; `score = ldexp(kernel's score, exponent)`.
    """
    exponents = np.frexp(np.abs(queries).max(axis=1, initial=0))[1]
    return np.ldexp(queries, -exponents[:, None]), exponents


def summation_error(dim: int) -> float:
    """Bound on a float32 inner product's relative error |computed - exact| / (|x| |q|), whatever the order of the sum.

    With a margin for one rounding of the result. Higham, Accuracy and Stability of Numerical Algorithms, 3.1.
    """
    return (dim + 32) * 2.0**-24 * 1.01


def lengths(vectors: Matrix | Features) -> NDArray[np.float64]:
    """Euclidean lengths (n,) of vectors (n, d), in float64."""
    wide = vectors.astype(np.float64)
    squares: NDArray[np.float64] = np.vecdot(wide, wide)
    return np.sqrt(squares)
