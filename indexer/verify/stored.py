"""Catalogue, features and rows held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from itertools import islice
from threading import Lock
from typing import TypeVar

import numpy as np

from indexer.geometry import Geometry
from indexer.ports import CatalogueReading, FeatureReading, VectorIndex
from indexer.types import ContentHash, Counts, Finding, Flaw, Ids
from indexer.verify.check import LOOK_AGAIN_S, Tally

T = TypeVar("T")

# Contents per step: enough to spare the calls, few enough that a commit does not wait for the lock.
STEP = 1024


class StoredCheck:
    """Every live content has a feature that passes its check, and a row that is what the geometry makes of it.

    Rooms leave damaged rows out of their answers and drop them: what vanishes by being read was damaged.

    Args:
        catalogue, cache, index, geometry: What is compared.
        lock: The committer's; held for each step, so that a batch is either all there or not at all.
        tally: Counts what was looked at.
        pause: Waits so many seconds, is called with 0 between steps, and raises to stop.
        changed: Told how many rows were written or removed.
    """

    def __init__(
        self,
        catalogue: CatalogueReading,
        cache: FeatureReading,
        index: VectorIndex,
        geometry: Geometry,
        lock: Lock,
        tally: Tally,
        pause: Callable[[float], None],
        changed: Callable[[int], None] = lambda _n: None,
    ) -> None:
        self._catalogue = catalogue
        self._cache = cache
        self._index = index
        self._geometry = geometry
        self._lock = lock
        self._tally = tally
        self._pause = pause
        self._changed = changed

    def look(self) -> Iterator[Finding]:
        with self._lock:  # the only long hold, a second for some 300,000 contents: nothing else may change the counts
            before = self._catalogue.counts()
            ids, hashes = self._catalogue.live()
            dropped = _dropped(before, self._catalogue.counts())
        yield from dropped
        damaged: set[ContentHash] = set()
        for finding in self._look_at_features(set(hashes)):
            damaged.update([finding.hash] if finding.hash else [])
            yield finding
        suspects: list[Finding] = []
        for start in range(0, len(hashes), STEP):
            step = hashes[start : start + STEP]
            yield from self._look_at_paths(ids[start : start + STEP])
            found = self._compare(step)
            suspects += [each for each in found if each.hash not in damaged]
            self._tally.contents += len(step)
            self._tally.rows += len(step) - sum(each.flaw is Flaw.MISSING for each in found)
            self._pause(0)
        if suspects:
            self._pause(LOOK_AGAIN_S)
            yield from self.remaining(suspects)
        yield from self._orphans()

    def remaining(self, findings: Sequence[Finding]) -> list[Finding]:
        by_hash = {each.hash: each for each in findings if each.hash is not None}
        rowless = {each.vector_id: each for each in findings if each.flaw is Flaw.ORPHANED and each.vector_id}
        still = [by_hash[each.hash] for step in _steps(by_hash) for each in self._compare(step) if each.hash]
        with self._lock:
            dead = self._dead(np.fromiter(rowless, dtype=np.int64, count=len(rowless)))
        return still + [rowless[i] for i in dead.tolist()]

    def mend(self, findings: Sequence[Finding]) -> Sequence[ContentHash]:
        self._remove_orphans([each.vector_id for each in findings if each.flaw is Flaw.ORPHANED and each.vector_id])
        lacking: list[ContentHash] = []
        for step in _steps([each.hash for each in findings if each.hash is not None]):
            lacking += self._restore(step)
            self._pause(0)
        return lacking

    # ------------------------------------------------------------ looking

    def _look_at_features(self, live: Set[ContentHash]) -> Iterator[Finding]:
        """Checksums of all features, also of those that are merely kept."""
        for step in _steps(self._cache.hashes()):
            whole = self._cache.get_many(step)
            bad = [hash for hash in step if hash not in whole]
            yield from (Finding(Flaw.DAMAGED, "the feature fails its checksum", hash) for hash in bad)
            self._tally.features += len(step)
            self._tally.kept += sum(hash not in live for hash in whole)
            self._pause(0)

    def _look_at_paths(self, ids: Ids) -> list[Finding]:
        """Checksums of the catalogue's rows of these contents."""
        with self._lock:
            before = self._catalogue.counts()
            self._catalogue.images(ids.tolist())
            return _dropped(before, self._catalogue.counts())

    def _compare(self, hashes: Sequence[ContentHash]) -> list[Finding]:
        """What is wrong with these contents, at one moment."""
        stored = self._cache.get_many(hashes)
        with self._lock:
            live = self._catalogue.ids_of(hashes)
            ids = np.fromiter(live.values(), dtype=np.int64, count=len(live))
            there = self._index.contains(ids)
            rows, norms = self._index.rows(ids), self._index.norms(ids)
        agree = np.ones(len(ids), dtype=bool)
        both = [i for i, hash in enumerate(live) if there[i] and hash in stored]
        if both:
            features = np.stack([stored[hash].feature for i, hash in enumerate(live) if there[i] and hash in stored])
            agree[both] = self._geometry.agrees(features, rows[both], norms[both])
        found = []
        for i, (hash, vector_id) in enumerate(live.items()):
            if hash not in stored:
                found.append(Finding(Flaw.MISSING, "no feature is stored", hash, vector_id))
            elif not there[i]:
                found.append(Finding(Flaw.MISSING, "the index has no row", hash, vector_id))
            elif not agree[i]:
                found.append(Finding(Flaw.DRIFTED, "the row differs from its feature", hash, vector_id))
        return found

    def _orphans(self) -> list[Finding]:
        ids = self._index.ids()  # before the look at what is live: a content is live before it has its row
        suspects: Ids = np.setdiff1d(ids, self._catalogue.live()[0], assume_unique=True)
        with self._lock:
            dead = self._dead(suspects)
        return [Finding(Flaw.ORPHANED, "the row is of no live content", vector_id=i) for i in dead.tolist()]

    def _dead(self, ids: Ids) -> Ids:
        """Those that have a row and no live content; the lock is held."""
        live = self._catalogue.images(ids.tolist()).keys()
        dead: Ids = np.array([i for i in ids.tolist() if i not in live], dtype=np.int64)
        return dead[self._index.contains(dead)]

    # ------------------------------------------------------------ mending

    def _remove_orphans(self, ids: Sequence[int]) -> None:
        with self._lock:
            dead = self._dead(np.array(ids, dtype=np.int64))
            if len(dead):
                self._changed(self._index.remove(dead))

    def _restore(self, hashes: Sequence[ContentHash]) -> list[ContentHash]:
        """Write rows from features; returns the live contents without one."""
        stored = self._cache.get_many(hashes)
        with self._lock:
            live = self._catalogue.ids_of(hashes)
            ids = {hash: vector_id for hash, vector_id in live.items() if hash in stored}
            if ids:
                rows, norms = self._geometry.rows(np.stack([stored[hash].feature for hash in ids]))
                self._index.upsert(np.fromiter(ids.values(), dtype=np.int64, count=len(ids)), rows, norms)
                self._changed(len(ids))
        return [hash for hash in live if hash not in stored]


def _dropped(before: Counts, after: Counts) -> list[Finding]:
    """A finding for each row that the catalogue let go of while nobody committed."""
    n_contents, n_files = max(0, before.contents - after.contents), max(0, before.files - after.files)
    return [Finding(Flaw.DAMAGED, "a row of the catalogue failed its checksum and was dropped")] * max(
        n_contents, n_files
    )


def _steps(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while step := list(islice(rest, STEP)):
        yield step
