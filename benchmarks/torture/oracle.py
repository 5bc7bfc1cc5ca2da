"""The oracle: a fresh walk of the watched folders, and everything that must follow from it once things are at rest."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.torture.stub import feature_in, is_good
from indexer.engine import RunningEngine
from indexer.ports import CatalogueReading
from indexer.types import ContentHash, EmbeddingSpace, FilePath, ImageQuery, content_hash
from indexer.watch.accept import Exclude

_SHOWN = 5
_ASKED_AS_A_USER = 20


class Truth:
    """What the watched folders hold now: for each file its content, for each good content its feature."""

    def __init__(self, folders: Sequence[FilePath], exclude: Exclude | None, space: EmbeddingSpace) -> None:
        self.good: dict[FilePath, ContentHash] = {}
        self.bad: set[FilePath] = set()
        self.features: dict[ContentHash, np.ndarray] = {}
        self.examples: dict[ContentHash, bytes] = {}
        for folder in folders:
            for path in regular_files(folder):
                if exclude is None or not exclude.excludes(path):
                    self._add(path, Path(os.fsdecode(path)).read_bytes(), space)

    def _add(self, path: FilePath, data: bytes, space: EmbeddingSpace) -> None:
        if not is_good(data):
            self.bad.add(path)
            return
        hash = self.good[path] = content_hash(data)
        if hash not in self.features:
            self.features[hash] = feature_in(data, space)
            if len(self.examples) < _ASKED_AS_A_USER:
                self.examples[hash] = data


def differences(engine: RunningEngine, folders: Sequence[Path], exclude: Sequence[str] = ()) -> list[str]:
    """Everything in which an engine at rest is not what its folders demand; empty when all is well."""
    roots = [FilePath(os.fsencode(folder)) for folder in folders]
    truth = Truth(roots, Exclude(exclude, roots), engine.space)
    found = list(_in_the_catalogue(engine.parts.catalogue, truth))
    found += _in_the_features(engine, truth)
    found += _in_the_index(engine, truth)
    found += _in_the_answers(engine, truth)
    return found


def regular_files(folder: FilePath) -> Iterator[FilePath]:
    """Every regular file below a folder; links are not followed."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield FilePath(path)


def _in_the_catalogue(catalogue: CatalogueReading, truth: Truth) -> Iterator[str]:
    recorded: dict[FilePath, ContentHash] = {}
    refused = {record.path for record in catalogue.refused(1 << 30)}
    _, hashes = catalogue.live()
    for record in catalogue.images(list(catalogue.ids_of(hashes).values())).values():
        recorded |= dict.fromkeys(record.paths, record.hash)
    yield from _said("not in the catalogue", truth.good.keys() - recorded.keys())
    yield from _said("in the catalogue but not there", recorded.keys() - truth.good.keys())
    both = recorded.keys() & truth.good.keys()
    yield from _said("recorded with another content", {path for path in both if recorded[path] != truth.good[path]})
    yield from _said("bad but not refused", truth.bad - refused)
    yield from _said("refused but not bad", refused - truth.bad)


def _in_the_features(engine: RunningEngine, truth: Truth) -> Iterator[str]:
    stored = engine.parts.cache.get_many(list(truth.features))
    yield from _said("without a feature", truth.features.keys() - stored.keys())
    wrong = {hash for hash, s in stored.items() if s.feature.tobytes() != truth.features[hash].tobytes()}
    yield from _said("with another feature than the encoder's", wrong)


def _in_the_index(engine: RunningEngine, truth: Truth) -> Iterator[str]:
    index, catalogue = engine.parts.index, engine.parts.catalogue
    ids, hashes = catalogue.live()
    if not np.array_equal(np.sort(index.ids()), ids):
        yield f"the index holds {len(index)} rows, {len(ids)} contents are live, and their ids differ"
        return
    known = [i for i, hash in enumerate(hashes) if hash in truth.features]
    if not known:
        return
    features = np.stack([truth.features[hashes[i]] for i in known])
    rows, _ = engine.parts.geometry.rows(features)
    different = np.flatnonzero((index.rows(ids[known]) != rows).any(axis=1))
    yield from _said("with another row than its feature's", {hashes[known[i]] for i in different})
    top = index.search(rows.astype(np.float32), 1).ids[:, 0]
    yield from _said("not its own top hit", {hashes[known[i]] for i in np.flatnonzero(top != ids[known])})


def _in_the_answers(engine: RunningEngine, truth: Truth) -> Iterator[str]:
    paths_of = defaultdict(set)
    for path, hash in truth.good.items():
        paths_of[hash].add(path)
    for hash, data in truth.examples.items():
        hits = engine.search(ImageQuery(data), limit=5).hits
        if not hits or set(hits[0].paths) != paths_of[hash]:
            yield f"{hash.hex()[:12]}: asked as a user, the first hit is {hits[:1]}"
        yield from _said("dead, but an answer", {path for hit in hits for path in hit.paths} - truth.good.keys())


def _said(what: str, which: set[bytes] | set[FilePath] | set[ContentHash]) -> Iterator[str]:
    if which:
        shown = ", ".join(
            w.hex()[:12] if len(w) == 32 and not w.startswith(b"/") else repr(w) for w in sorted(which)[:_SHOWN]
        )
        yield f"{len(which)} {what}: {shown}"
