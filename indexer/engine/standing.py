"""Standing queries, kept in the data directory: whatever becomes searchable is held against them, beside the river."""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from indexer.engine.webhook import Delivery, Webhooks
from indexer.errors import IndexerError, InputError, NotFound, StoreError
from indexer.geometry import Aim
from indexer.ports import CatalogueReading, VectorIndex
from indexer.standing.matching import Matching
from indexer.standing.question import from_json, to_json
from indexer.store.json_file import write_json
from indexer.types import ContentHash, Ids, ImageRecord, Match, Query, StandingQuery, display_path

logger = logging.getLogger(__name__)

MOST: Final = 100
"""Standing queries at one time."""

_AT_ONCE: Final = 4096
_KEPT_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Means:
    """What matching takes.

    Attributes:
        aim: Where a question aims; may raise what a search does.
        cut: Where its hits stop being better than chance now; None where too few images are indexed to tell.
        publish: Tells a match to whoever listens.
    """

    index: VectorIndex
    catalogue: CatalogueReading
    matching: Matching
    aim: Callable[[Query], Aim]
    cut: Callable[[StandingQuery], float | None]
    publish: Callable[[Match], None]


class StandingQueries:
    """One thread that holds new images against every query. A match is told at least once.

    Vector ids rise and are never reused: a mark is enough to know which images are new, also over restarts.

    Args:
        path: Where queries and the mark are kept.
        means: See `Means`.
        webhooks: Deliver; closed by `close`.
    """

    def __init__(self, path: Path, means: Means, webhooks: Webhooks) -> None:
        self._path = path
        self._means = means
        self._webhooks = webhooks
        self._queries: dict[str, StandingQuery] = {}
        self._aims: dict[str, Aim] = {}
        self._mark = 0
        self._news: list[ContentHash] = []
        self._changed = threading.Condition()
        self._closed = False
        self._keep_at = 0.0
        self._thread = threading.Thread(target=self._run, name="standing", daemon=True)

    def start(self) -> None:
        """Read what is kept, and hold against it what came since."""
        self._load()
        self._thread.start()

    def all(self) -> list[StandingQuery]:
        """The oldest first."""
        with self._changed:
            return list(self._queries.values())

    def add(self, query: StandingQuery) -> StandingQuery:
        """Keep a query, with an id, a secret and a threshold where it has none.

        Raises:
            InputError: It cannot be used, there are too many, or the threshold cannot be told.
            StoreFull: It cannot be kept.
        """
        aim = self._means.aim(query.query)
        threshold = query.threshold
        if not np.isfinite(threshold):
            cut = self._means.cut(query)
            if cut is None:
                raise InputError("score_threshold: too few images are indexed to tell one; give one")
            threshold = cut
        made = replace(
            query,
            id=secrets.token_hex(8),
            threshold=threshold,
            secret=secrets.token_hex(32) if query.webhook else None,
            created_at=time.time(),
        )
        with self._changed:
            if len(self._queries) >= MOST:
                raise InputError(f"there are {MOST} standing queries already; remove one")
            if not self._queries:
                self._mark = int(self._means.index.ids().max(initial=0))
            self._queries[made.id], self._aims[made.id] = made, aim
            try:
                self._keep()
            except StoreError:
                del self._queries[made.id], self._aims[made.id]
                raise
        return made

    def drop(self, id: str) -> None:
        """Forget a query; raises `NotFound`."""
        with self._changed:
            if id not in self._queries:
                raise NotFound(f"no standing query has the id {id}")
            del self._queries[id]
            self._aims.pop(id, None)
            self._keep()

    def note(self, added: Sequence[ContentHash]) -> None:
        """These have just become searchable. Never blocks."""
        with self._changed:
            if self._queries:
                self._news.extend(added)
                self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
            with self._changed:
                self._try_keep()
        self._webhooks.close()

    # ------------------------------------------------------------ inside

    def _run(self) -> None:
        if self._queries:
            self._hold(self._means.index.ids())
        while (hashes := self._next()) is not None:
            self._hold(np.sort(np.fromiter(self._means.catalogue.ids_of(hashes).values(), np.int64)))

    def _next(self) -> list[ContentHash] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._news)
            news, self._news = self._news, []
        return None if self._closed else news

    def _hold(self, ids: Ids) -> None:
        """Hold what is new of the ids, ascending, against every query."""
        ids = ids[ids > self._mark]
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            if self._closed:
                return
            for query in self.all():
                try:
                    self._tell(query, self._means.matching.of(query, self._aim(query), some))
                except Exception as e:  # a worker's loop: one question's trouble is not the others'
                    known = isinstance(e, IndexerError)
                    logger.warning("standing query %s cannot be answered: %s", query.id, e, exc_info=not known)
            with self._changed:
                self._mark = int(some[-1])
                if time.monotonic() >= self._keep_at:
                    self._try_keep()

    def _aim(self, query: StandingQuery) -> Aim:
        if query.id not in self._aims:
            self._aims[query.id] = self._means.aim(query.query)
        return self._aims[query.id]

    def _tell(self, query: StandingQuery, matches: Sequence[tuple[ImageRecord, float]]) -> None:
        for record, score in matches:
            self._means.publish(Match(query.id, query.name, score, record))
            if query.webhook and query.secret:
                self._webhooks.offer(Delivery(query.webhook, query.secret, _body(query, record, score)))
        if matches:
            with self._changed:
                if query.id in self._queries:
                    kept = self._queries[query.id]
                    self._queries[query.id] = replace(kept, n_matches=kept.n_matches + len(matches))

    def _load(self) -> None:
        try:
            told = json.loads(self._path.read_bytes())
            self._queries = {each["id"]: from_json(each) for each in told["queries"]}
            self._mark = int(told["mark"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            logger.warning("%s cannot be read (%s); its standing queries must be saved again", self._path, e)

    def _keep(self) -> None:
        self._keep_at = time.monotonic() + _KEPT_EVERY_S
        write_json(self._path, {"mark": self._mark, "queries": [to_json(each) for each in self._queries.values()]})

    def _try_keep(self) -> None:
        if not self._queries:
            return
        try:
            self._keep()
        except StoreError as e:  # the next time may go better; what came since would be told again
            logger.warning("how far standing queries have come could not be kept: %s", e)


def _body(query: StandingQuery, record: ImageRecord, score: float) -> bytes:
    told = {
        "standing_id": query.id,
        "name": query.name,
        "score": score,
        "id": record.hash.hex(),
        "paths": [display_path(path) for path in record.paths],
    }
    return json.dumps(told).encode()
