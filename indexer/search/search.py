"""Answers to questions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np

from indexer.errors import InputError
from indexer.geometry import Geometry
from indexer.ports import CatalogueReading, Decoder, Embedder, VectorIndex
from indexer.search import cursor as cursors
from indexer.search.aiming import Aiming, Asked, names, parse_id
from indexer.search.arranging import POOL, diversified, folded
from indexer.search.cursor import Cursor
from indexer.search.embedding import Embedding
from indexer.search.newest import newest
from indexer.search.ranking import Ranked, Ranking
from indexer.search.relevance import Background, Chance
from indexer.types import (
    EVERYWHERE,
    PLAIN,
    FilePath,
    Hit,
    Matrix,
    Newest,
    Options,
    Query,
    SearchResult,
    Where,
)
from indexer.where import Filter

MAX_DEPTH = 10_000

Placed: TypeAlias = tuple[Ranked, int]
"""An image of the answer, and how many are folded into it."""


class Ended(NamedTuple):
    """Where hits stop being better than chance, and the place of the last one; None where no more are to be had."""

    cut: float | None
    place: Cursor | None


class Search:
    """Answers questions from the index and the catalogue; safe from any thread.

    Args:
        embedder, decoder: For what is not a vector yet.
        index, catalogue, geometry: Where the answers are.
        generation: Number of the index's snapshot in force.
        folders: The watched folders, which filters' patterns are relative to.
    """

    def __init__(
        self,
        embedder: Embedder,
        decoder: Decoder,
        index: VectorIndex,
        catalogue: CatalogueReading,
        geometry: Geometry,
        generation: Callable[[], int],
        folders: Sequence[FilePath] = (),
    ) -> None:
        self._index = index
        self._catalogue = catalogue
        self._geometry = geometry
        self._generation = generation
        self._folders = folders
        self._embedder = embedder
        self._embedding = Embedding(embedder, decoder, geometry)
        self._aiming = Aiming(self._embedding, index, catalogue, geometry)
        self._background = Background(index, geometry)
        self.embed_images = self._embedding.images
        self.embed_texts = self._embedding.texts
        self.image = self._aiming.image
        self.aim = self._aiming.of

    def search(self, query: Query, limit: int, offset: int = 0, options: Options = PLAIN) -> SearchResult:
        """The `limit` best hits after the first `offset`, best first, equal scores by age of their id.

        Scores are cosines: between visual features for images and visual vectors and mixtures of them; in the joint
        space for words, joint vectors and mixtures with them (see `indexer.geometry`). Images asked for by id are left
        out of their own answer.

        Raises:
            InputError: The question cannot be used; see its kinds.
            CapacityError: Too much is asked at once.
        """
        _check(limit, offset, options)
        started = time.perf_counter()
        wanted = None if options.where == EVERYWHERE else Filter(options.where, self._folders)
        question = self._question(query, options)
        after = None if options.cursor is None else cursors.decode(options.cursor, question)
        asked = self._aiming.of(query)
        embedded = time.perf_counter()
        count = len(self._index)
        ranking = self._ranking(asked, wanted, options)
        chance = self._background.chance(asked.aim, asked.worded)
        page, ended = self._page(ranking, limit, offset, after, chance, options)
        matching = ranking.n_matching
        hits = self._hits(page, wanted, chance, options)
        finished = time.perf_counter()
        return SearchResult(
            hits=hits,
            embed_ms=(embedded - started) * 1e3,
            search_ms=(finished - embedded) * 1e3,
            total_ms=(finished - started) * 1e3,
            count=count,
            generation=self._generation(),
            cursor=cursors.encode(ended.place, question) if ended.place else None,
            cut_score=ended.cut,
            matching=matching,
        )

    def newest(self, limit: int, before: int | None = None, where: Where = EVERYWHERE) -> Newest:
        """The latest indexed images that pass `where`, without a question. Raises `InputError` for a bad filter."""
        wanted = None if where == EVERYWHERE else Filter(where, self._folders)
        return newest(self._catalogue, self._index, limit, before, wanted)

    # ------------------------------------------------------------ inside

    def _question(self, query: Query, options: Options) -> str:
        """All that decides the order of an answer."""
        arranged = replace(options, cursor=None, score_threshold=None, cut=False, with_vectors=False)
        return repr((self._embedder.space.fingerprint, self._geometry.space, names(query), arranged))

    def _ranking(self, asked: Asked, wanted: Filter | None, options: Options) -> Ranking:
        excluded = self._catalogue.ids_of([parse_id(id) for id in options.exclude_ids])
        left_out = asked.named | frozenset(excluded.values())
        return Ranking(self._index, self._catalogue, self._geometry, asked.aim, wanted, left_out)

    def _page(
        self,
        ranking: Ranking,
        limit: int,
        offset: int,
        after: Cursor | None,
        chance: Chance | None,
        options: Options,
    ) -> tuple[list[Placed], Ended]:
        """What is answered, and how it ended."""
        least = -math.inf if options.score_threshold is None else options.score_threshold
        pooled = bool(options.diversity or options.fold_near)
        ranked = ranking.best(POOL if pooled else limit + offset + 1, None if pooled else after, least)
        cut = after.cut if after else chance.cut(ranked[0].score) if chance and ranked else None
        if options.cut and cut is not None:
            ranked = [each for each in ranked if each.score >= cut]
        placed = self._arranged(ranked, limit + offset, options) if pooled else [(each, 0) for each in ranked]
        if after is not None:
            placed = [each for each in placed if after.precedes(each[0].score, each[0].id)]
        page = placed[offset : offset + limit]
        if not page or len(placed) == offset + len(page) or options.diversity:
            return page, Ended(cut, None)
        last, n_before = page[-1][0], (after.n_before if after else offset) + len(page)
        return page, Ended(cut, Cursor(last.score, last.id, n_before, cut))

    def _arranged(self, pool: list[Ranked], n: int, options: Options) -> list[Placed]:
        rows = self._rows([ranked.id for ranked in pool])
        n_alike = np.zeros(len(pool), dtype=np.int64)
        if options.fold_near:
            kept, n_alike = folded(rows)
            pool, rows = [pool[place] for place in kept], rows[kept]
        order = np.arange(len(pool))
        if options.diversity and pool:
            scores = np.array([ranked.score for ranked in pool])
            order = diversified(scores, rows, options.diversity, n + 1)
        return [(pool[place], int(n_alike[place])) for place in order]

    def _rows(self, ids: Sequence[int]) -> Matrix:
        """Rows (n, row_dim) at unit length; zeros for those removed meanwhile."""
        rows = np.nan_to_num(self._index.rows(np.array(ids, dtype=np.int64)).astype(np.float32))
        unit: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return unit

    def _hits(
        self, page: Sequence[Placed], wanted: Filter | None, chance: Chance | None, options: Options
    ) -> tuple[Hit, ...]:
        vectors = self._rows([ranked.id for ranked, _ in page]) if options.with_vectors and page else None
        return tuple(
            _hit(*placed, wanted, chance, None if vectors is None else vectors[i]) for i, placed in enumerate(page)
        )


def _check(limit: int, offset: int, options: Options) -> None:
    if limit < 1 or offset < 0 or limit + offset > MAX_DEPTH:
        raise InputError(f"limit must be at least 1, offset at least 0, and both together at most {MAX_DEPTH}")
    if options.cursor is not None and offset:
        raise InputError("cursor and offset exclude each other; leave the offset out")
    if options.cursor is not None and options.diversity:
        raise InputError("a cursor cannot go on in an answer with diversity; page it by offset")
    if not 0 <= options.diversity <= 1:
        raise InputError("diversity must be between 0 (by score alone) and 1")
    if (options.diversity or options.fold_near) and limit + offset > POOL:
        raise InputError(f"diversity and near-duplicates reach to the best {POOL}; ask for a smaller limit or offset")
    if options.score_threshold is not None and not math.isfinite(options.score_threshold):
        raise InputError("score_threshold must be finite")


def _hit(ranked: Ranked, n_alike: int, wanted: Filter | None, chance: Chance | None, vector: Matrix | None) -> Hit:
    """A hit; of an image at several paths, those that fit the filter come first, and tell its time."""
    record = ranked.record
    paths, modified_s = record.paths, record.modified_s
    if wanted is not None and wanted.by_file:
        fits = list(map(wanted.takes_file, paths, record.mtimes_ns))
        order = sorted(range(len(paths)), key=lambda i: not fits[i])
        modified_s = max(record.mtimes_ns[i] for i in order if fits[i]) / 1e9
        paths = tuple(paths[i] for i in order)
    relevance = None if chance is None else chance.relevance(ranked.score)
    return Hit(record.hash.hex(), ranked.score, paths[0], paths, record.info, modified_s, relevance, n_alike, vector)
