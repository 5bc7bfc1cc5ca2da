"""An approximate index: inverted lists propose, the exact index beside them decides."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.index import operating
from indexer.index.checks import check_queries
from indexer.index.lists import InvertedLists
from indexer.ports import VectorIndex
from indexer.types import Features, Ids, Matrix, Neighbours, OperatingPoint

logger = logging.getLogger(__name__)

_ENTERED_AT_ONCE = 512  # rows that a query may have to wait for
_FRESH = 2048  # rows searched exactly beside the lists before they are entered
_STALE = 0.25  # share of entries that stand for nothing, or for a row as it was, before all is made anew
_GROWTH = 3  # times as many rows as the centres were made for
_N_EXAM = 256
_CALM_S = 1.0
_AFTER_FAILURE_S = 60.0


@dataclass(slots=True)
class _Built:
    """Lists in use, and what they do not know of."""

    lists: InvertedLists
    point: OperatingPoint
    n_made_for: int
    n_stale: int = 0
    fresh: dict[int, int] = field(default_factory=dict)
    """Id -> when it was written last; not in the lists, or not as it is now."""
    fresh_ids: Ids | None = None

    def ids(self) -> Ids:
        if self.fresh_ids is None:
            self.fresh_ids = np.fromiter(self.fresh, np.int64, len(self.fresh))
        return self.fresh_ids

    def note(self, ids: Iterable[int], turn: int) -> None:
        self.fresh.update(dict.fromkeys(ids, turn))
        self.fresh_ids = None

    def forget(self, ids: Iterable[int], turn: int | None = None) -> None:
        """These are in the lists now (unless written after `turn`), or nowhere any more."""
        for id in ids:
            if turn is None or self.fresh.get(id, turn + 1) <= turn:
                self.fresh.pop(id, None)
        self.fresh_ids = None


class ApproximateIndex:
    """`VectorIndex` whose searches of everything may miss some rows, and are many times as fast as exact ones.

    The rows stand in an exact index. Beside them a thread makes inverted lists, measures on held-out rows how widely to
    look for the recall that is wanted, and from then on a search ranks exactly what the lists propose. Until then, and
    for searches `among` ids, everything is exact. New rows are searched exactly beside the lists until they are
    entered; no answer ever waits for lists to be made, and none contains what was removed.

    Args:
        rows: The exact index; owned by this one.
        recall: Share of the ten nearest neighbours to find, 0 to 1.
        least_rows: Fewer are searched exactly: lists would cost more than they save.
        queries: More queries (q, dim) to measure with than held-out rows, such as words; the worse group decides.
        calm_s: The thread waits until nothing has changed for so long before it makes lists, but not for ever.
    """

    def __init__(
        self,
        rows: VectorIndex,
        recall: float,
        least_rows: int,
        queries: Callable[[], Matrix | None] = lambda: None,
        calm_s: float = _CALM_S,
    ) -> None:
        self._rows = rows
        self._recall = recall
        self._least_rows = max(least_rows, 1024)
        self._queries = queries
        self._calm_s = calm_s
        self._built: _Built | None = None
        self._next: _Built | None = None  # being made
        self._turns = itertools.count()
        self._n_hopeless = 0  # rows when no point reached the recall
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lists", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ as the exact index says

    @property
    def dim(self) -> int:
        return self._rows.dim

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, ids: Ids) -> Features:
        return self._rows.rows(ids)

    def norms(self, ids: Ids) -> NDArray[np.float32]:
        return self._rows.norms(ids)

    def norm_bounds(self) -> tuple[float, float]:
        return self._rows.norm_bounds()

    def ids(self) -> Ids:
        return self._rows.ids()

    def contains(self, ids: Ids) -> NDArray[np.bool_]:
        return self._rows.contains(ids)

    @property
    def n_bytes(self) -> int:
        built = self._built
        return self._rows.n_bytes + (built.lists.n_bytes if built else 0)

    @property
    def trouble(self) -> str | None:
        return self._rows.trouble

    @property
    def point(self) -> OperatingPoint | None:
        """How searches of everything look now; None while they are exact."""
        built = self._built
        return built.point if built else None

    # ------------------------------------------------------------ changes and searches

    def upsert(self, ids: Ids, rows: Features, norms: Matrix) -> None:
        n_before = len(self._rows)
        self._rows.upsert(ids, rows, norms)
        numbers = ids.tolist()
        with self._changed:
            turn = next(self._turns)
            for built in self._each():
                built.note(numbers, turn)
                built.n_stale += max(0, len(numbers) - (len(self._rows) - n_before))
            self._changed.notify()

    def remove(self, ids: Ids) -> int:
        n = self._rows.remove(ids)
        numbers = ids.tolist()
        with self._changed:
            for built in self._each():
                built.forget(numbers)
                built.n_stale += n
            self._changed.notify()
        return n

    def search(self, queries: Matrix, k: int, among: Ids | None = None) -> Neighbours:
        with self._changed:  # before the lists are asked: what they do not know by then is in `fresh`
            built = self._built
            fresh = built.ids() if built else None
        if built is None or fresh is None or among is not None or 4 * built.point.factor * k > len(self._rows):
            return self._rows.search(queries, k, among)
        queries = check_queries(queries, k, self.dim)
        return operating.ask(self._rows, built.lists, queries, k, (built.point.n_probe, built.point.factor), fresh)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the lists need nothing; whether they do."""
        with self._changed:
            return self._changed.wait_for(lambda: self._next is None and self._task() is None, timeout_s)

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._rows.close()

    # ------------------------------------------------------------ the lists' thread

    def _each(self) -> list[_Built]:
        return [built for built in (self._built, self._next) if built is not None]

    def _task(self) -> Callable[[], None] | None:
        """What is to be done for the lists now; the lock is held."""
        n, built = len(self._rows), self._built
        if built is None:
            return self._make if n >= self._least_rows and n > _GROWTH * self._n_hopeless else None
        if built.n_stale > _STALE * len(built.lists) or n > _GROWTH * built.n_made_for:
            return self._make
        return self._enter if len(built.fresh) > _FRESH else None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._task() is not None)
                for _ in range(10):  # a start or a flood is let pass
                    if self._closing or not self._changed.wait(self._calm_s):
                        break
                task = self._task()
                if self._closing:
                    return
            try:
                if task is not None:
                    task()
            except Exception:  # a worker's loop: searches stay as they are
                logger.exception("the lists of the approximate index could not be brought up to date")
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, _AFTER_FAILURE_S)
            with self._changed:
                self._next = None
                self._changed.notify_all()

    def _make(self) -> None:
        """Make lists of all rows, find out how to use them, and put them in the place of the old ones."""
        ids = self._rows.ids()
        lists, held_out = begun(self._rows, ids, _N_EXAM)
        unknown = OperatingPoint(0, 1, 0.0, 0.0, 0.0, 0.0, 0)
        with self._changed:
            self._next = made = _Built(lists, unknown, len(ids))
        enter(self._rows, lists, self._rows.ids(), lambda: self._closing)  # what changes from here on is noted
        if self._closing:
            return
        point = operating.choose(
            operating.points(self._rows, lists, exams(self._rows, held_out, self._queries())), self._recall
        )
        with self._changed:
            self._next = None
            if point is None:
                self._n_hopeless = len(ids)
            else:
                made.point, self._built = point, made
        if point is None:
            logger.warning(
                "no lists find %.3f of the neighbours among %d rows; searches stay exact", self._recall, len(ids)
            )
        else:
            logger.info(
                "searches look through %d of %d lists and find %.3f of the neighbours in %.1f ms",
                point.n_probe, lists.n_lists, point.recall, point.p50_ms,
            )  # fmt: skip

    def _enter(self) -> None:
        """Enter what is new into the lists."""
        with self._changed:
            built = self._built
            if built is None:
                return
            turn, ids = next(self._turns), built.ids()
        enter(self._rows, built.lists, ids, lambda: self._closing)
        with self._changed:
            built.forget(ids.tolist(), turn)


def begun(rows: VectorIndex, ids: Ids, n_held_out: int) -> tuple[InvertedLists, Ids]:
    """Lists, still empty, for the rows under these ids, and the ids of some that they have not learnt from."""
    n_lists = InvertedLists.lists_for(len(ids))
    drawn = np.random.default_rng(0).permutation(ids)
    samples = drawn[n_held_out : n_held_out + InvertedLists.n_samples(n_lists)]
    return InvertedLists(there(rows, samples)[1], n_lists), drawn[:n_held_out]


def enter(rows: VectorIndex, lists: InvertedLists, ids: Ids, stopping: Callable[[], bool] = lambda: False) -> None:
    """Enter the rows under these ids into the lists, some at a time."""
    for at in range(0, len(ids), _ENTERED_AT_ONCE):
        if stopping():
            return
        lists.add(*there(rows, ids[at : at + _ENTERED_AT_ONCE]))


def exams(rows: VectorIndex, held_out: Ids, others: Matrix | None) -> list[operating.Exam]:
    """Groups of queries: held-out rows, and others (q, dim) that are no rows."""
    ids, queries = there(rows, held_out)
    groups = [operating.examine(rows, queries.astype(np.float32), ids)]
    if others is not None and len(others):
        groups.append(operating.examine(rows, others, np.full(len(others), -1)))
    return groups


def there(rows: VectorIndex, ids: Ids) -> tuple[Ids, Features]:
    """Those of the ids that are there, and their rows."""
    found = rows.rows(ids)
    is_there = np.isfinite(found[:, 0])
    return ids[is_there], found[is_there]
