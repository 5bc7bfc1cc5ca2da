"""Index = f(catalogue, features): fill, mend or make anew the index from what is already encoded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from indexer.geometry import Geometry
from indexer.ports import Catalogue, CatalogueReading, FeatureCache, FeatureReading, VectorIndex
from indexer.types import ContentHash, FilePath, Gone, Ids, StoredFeature, is_at_or_below

logger = logging.getLogger(__name__)

# Rows per step: enough to spare the calls, few enough that searches are not held up and progress moves.
STEP = 2048


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restoration did.

    Attributes:
        n_live: Contents that ought to be searchable.
        n_restored: Rows written from the feature cache.
        n_removed: Rows taken out because their content is not live.
        missing: Contents whose feature is in no cache: they must be encoded.
    """

    n_live: int
    n_restored: int
    n_removed: int
    missing: Sequence[ContentHash]


def restore(
    catalogue: CatalogueReading,
    cache: FeatureReading,
    index: VectorIndex,
    geometry: Geometry,
    lock: Lock,
    *,
    anew: bool = False,
    on_progress: Callable[[int, int], None] = lambda _n_done, _n_total: None,
) -> Restored:
    """Make the index hold exactly the live contents that have a feature.

    Searches are answered meanwhile. A row's content never changes under its id, so comparing ids is enough: no log of
    changes is replayed, and whatever a snapshot lacks or has too much is mended the same way.

    Args:
        catalogue: What is live.
        cache: Where features come from.
        index: What is filled or mended.
        geometry: Makes rows of features.
        lock: The committer's; held for each write, and while what died meanwhile is taken out.
        anew: Write every row again, not only those that are absent.
        on_progress: Called with rows done and rows to do.
    """
    ids, hashes = catalogue.live()
    wanted = np.ones(len(ids), dtype=bool) if anew else ~index.contains(ids)
    todo = np.flatnonzero(wanted)
    missing: list[ContentHash] = []
    on_progress(0, len(todo))
    for start in range(0, len(todo), STEP):
        places = todo[start : start + STEP]
        missing += _restore_step(cache, index, geometry, lock, ids[places], [hashes[i] for i in places])
        on_progress(min(start + STEP, len(todo)), len(todo))
    n_removed = _remove_dead(catalogue, index, lock)
    return Restored(len(ids), len(todo) - len(missing), n_removed, missing)


def forget_unwatched(catalogue: Catalogue, folders: Sequence[FilePath]) -> None:
    """Files recorded outside the watched folders are gone for the service; their features stay in the cache."""
    n_forgotten = 0
    for folder in list(catalogue.folders_under(FilePath(b"/"))):
        if not any(is_at_or_below(folder, root) for root in folders):
            gone = [Gone(FilePath(folder.rstrip(b"/") + b"/" + name)) for name in catalogue.folder(folder)]
            catalogue.commit(gone)
            n_forgotten += len(gone)
    if n_forgotten:
        logger.info("%d files are below no watched folder any more and were forgotten", n_forgotten)


def unsearchable(catalogue: CatalogueReading, index: VectorIndex, below: FilePath) -> list[FilePath]:
    """Recorded paths below a folder whose content is live and has no row in the index."""
    if catalogue.counts().contents == len(index):
        return []
    ids, hashes = catalogue.live()
    absent = np.flatnonzero(~index.contains(ids))
    return [path for path in catalogue.paths_of([hashes[i] for i in absent]) if is_at_or_below(path, below)]


def _restore_step(
    cache: FeatureReading, index: VectorIndex, geometry: Geometry, lock: Lock, ids: Ids, hashes: Sequence[ContentHash]
) -> list[ContentHash]:
    """Write the rows of these contents; returns those without a feature.

    One that died since it was listed gets a row all the same: no answer names it, and `_remove_dead` takes it out.
    """
    stored = cache.get_many(hashes)
    there = [i for i, hash in enumerate(hashes) if hash in stored]
    if there:
        rows, norms = geometry.rows(np.stack([stored[hashes[i]].feature for i in there]))
        with lock:
            index.upsert(ids[there], rows, norms)
    return [hash for hash in hashes if hash not in stored]


def _remove_dead(catalogue: CatalogueReading, index: VectorIndex, lock: Lock) -> int:
    with lock:
        live, _ = catalogue.live()
        dead = np.setdiff1d(index.ids(), live, assume_unique=True)
        return index.remove(dead) if len(dead) else 0


def refill(
    catalogue: CatalogueReading,
    cache: FeatureCache,
    index: VectorIndex,
    geometry: Geometry,
    *,
    go_on: Callable[[], bool] = lambda: True,
) -> list[ContentHash]:
    """Give back to the cache the features that it has lost and whose rows the index still holds.

    Where the index is of the visual space, a row is a feature. Where it is not, their contents are returned: they must
    be encoded, and keep their rows until then.
    """
    _, hashes = catalogue.live()
    present = set(cache.hashes())  # asked second: what was live before has had its feature
    lost = [hash for hash in hashes if hash not in present]
    to_encode: list[ContentHash] = []
    n_lost = 0  # what has neither feature nor row was never encoded in this space
    for start in range(0, len(lost), STEP):
        if not go_on():
            break
        ids = catalogue.ids_of(lost[start : start + STEP])
        records = list(catalogue.images(list(ids.values())).values())
        rows = index.rows(np.array([record.vector_id for record in records], dtype=np.int64))
        held = [(record, row) for record, row in zip(records, rows, strict=True) if np.isfinite(row).all()]
        n_lost += len(held)
        if geometry.space == "visual":
            cache.put_many({record.hash: StoredFeature(row, record.info) for record, row in held})
        else:
            to_encode += [record.hash for record, _ in held]
    if n_lost:
        logger.warning("the feature cache had lost %d features", n_lost)
    return to_encode
