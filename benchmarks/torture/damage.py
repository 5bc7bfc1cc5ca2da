"""Damage: a store whose files rot, are cut, exchanged or lost answers nothing wrong, starts, and heals by itself."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.report import Row, at_least, at_most
from benchmarks.torture.daemon import Daemon
from benchmarks.torture.deeds import damage
from benchmarks.torture.disks import memory
from benchmarks.torture.oracle import differences
from benchmarks.torture.stores import N_FILES, Stores, make_stores
from benchmarks.torture.stub import feature_of, open_stub
from indexer.config import Config
from indexer.engine import RunningEngine, open_engine, rebuild_offline
from indexer.engine.spaces import read_projection
from indexer.errors import StoreCorrupt
from indexer.types import ContentHash, FilePath, ImageQuery

N_MUTANTS = 10_000
_CHUNK = 50
_ASKED = 3


@dataclass
class Verdict:
    """What became of one damaged store.

    Attributes:
        wrong: Answers that were wrong, before or after it came to rest.
        error: Why it did not start; empty if it did.
        left: What was still missing after two starts.
        n_encoded_again: Contents that were encoded though their feature was unhurt.
        deleted: A database that is no longer there under any name.
    """

    case: str
    wrong: list[str] = field(default_factory=list)
    error: str = ""
    left: list[str] = field(default_factory=list)
    n_encoded_again: int = 0
    deleted: str = ""
    s: float = 0.0


def try_one(stores: Stores, work: Path, number: int, seed: int, among: str = "") -> Verdict:
    """Damage a copy of a store, open it, ask, let it heal, ask again.

    Every other store is opened as if it were large: then SQLite's full check is left out, and the rows' own checksums
    stand alone.
    """
    with ExitStack() as stack:
        if number % 2:
            for module in ("catalogue.opening", "features.rawdisk"):
                stack.enter_context(patch(f"indexer.{module}._SMALL_BYTES", 0))
        return _try(stores, work, number, seed, among)


def _try(stores: Stores, work: Path, number: int, seed: int, among: str) -> Verdict:
    began = time.perf_counter()
    rng = random.Random(f"{seed}/{number}")
    store = work / "data"
    shutil.rmtree(store, ignore_errors=True)
    base = rng.choice(["mine", "running"])
    shutil.copytree(stores.copies[base], store)
    verdict = Verdict(f"{number}: {base}: {damage(store, stores.copies['other'], rng, among)}")
    kept = b"".join(path.read_bytes() for path in (store / "features").iterdir())
    n_hurt = sum(record not in kept for record in stores.records().values())
    databases = {path: path.stat().st_ino for path in store.rglob("*.db")}
    config = Daemon(stores.root, {"store.dir": str(store)}).config
    for _ in range(2):
        try:
            _rebuild_if_projection(verdict, store, config)
            with open_engine(config, model=open_stub) as engine:
                verdict.wrong += wrong_answers(engine, stores, rng, stores.states)
                engine.wait_idle(30)
                verdict.n_encoded_again += engine.parts.embedder.n_encoded
                verdict.wrong += wrong_answers(engine, stores, rng, stores.states[-1:])
                verdict.left = differences(engine, config.folders)
        except StoreCorrupt as e:  # told, not answered wrongly; the next start mends it
            verdict.left = [f"{e}"]
        except Exception as e:  # whatever it is, a damaged store must start
            verdict.error = f"{type(e).__name__}: {e}"
            break
        if not verdict.left:
            break
    verdict.n_encoded_again = max(0, verdict.n_encoded_again - n_hurt)
    for path, inode in databases.items():
        if inode not in {there.stat().st_ino for there in path.parent.iterdir()}:
            verdict.deleted = path.name
    verdict.s = time.perf_counter() - began
    return verdict


def _rebuild_if_projection(verdict: Verdict, store: Path, config: Config) -> None:
    """What stands beside an index is used without the model only: by a rebuild, if it is believed."""
    if "projection.npy" not in verdict.case:
        return
    for folder in (store / "index").iterdir():
        with suppress(StoreCorrupt):
            read_projection(folder)
            rebuild_offline(config, reencode=False)


def wrong_answers(
    engine: RunningEngine, stores: Stores, rng: random.Random, states: Sequence[Mapping[FilePath, ContentHash]]
) -> list[str]:
    """What is answered but not so. Nothing is missed here: a store that heals may not know everything yet.

    Args:
        engine: What answers.
        stores: The truth.
        rng: Chooses what is asked.
        states: What each path may hold: before the folder is read, what another store remembers is not known to be old.
    """
    held: defaultdict[ContentHash, set[FilePath]] = defaultdict(set)
    for state in states:
        for path, hash in state.items():
            held[hash].add(path)
    catalogue, index = engine.parts.catalogue, engine.parts.index
    records = catalogue.images(index.ids().tolist())
    wrong = [f"{r.paths} do not hold {r.hash.hex()[:8]}" for r in records.values() if not set(r.paths) <= held[r.hash]]
    wrong += [f"{r.hash.hex()[:8]} is no {r.info}" for r in records.values() if r.info != stores.info(r.hash)]
    known = [record for record in records.values() if record.hash in stores.contents]
    if known:
        ids = np.array([record.vector_id for record in known])
        features = np.stack([feature_of(stores.contents[record.hash]) for record in known])
        rows, norms = engine.parts.geometry.rows(features)
        there, there_norms = index.rows(ids), index.norms(ids)
        differ = (there != rows).any(axis=1) | ~np.isclose(there_norms, norms, rtol=1e-5)
        differ &= ~(np.isnan(there).all(axis=1) | np.isnan(there_norms))  # removed since the question for its id
        wrong += [f"the row of {known[i].hash.hex()[:8]} is another's" for i in np.flatnonzero(differ)[:3]]
    for hash in rng.sample(sorted(stores.contents), _ASKED):
        wrong += _wrong_hits(engine, stores.contents, hash, held)
    return wrong


def _wrong_hits(
    engine: RunningEngine,
    contents: Mapping[ContentHash, bytes],
    asked: ContentHash,
    held: Mapping[ContentHash, set[FilePath]],
) -> Iterator[str]:
    query = feature_of(contents[asked]).astype(np.float32)
    for hit in engine.search(ImageQuery(contents[asked]), limit=5).hits:
        hash = ContentHash(bytes.fromhex(hit.id))
        if hash not in contents or not set(hit.paths) <= held.get(hash, set()):
            yield f"{hit.paths} are said to hold {hit.id[:8]}"
        elif abs(hit.score - float(query @ feature_of(contents[hash]).astype(np.float32))) > 1e-3:
            yield f"{hit.id[:8]} has the score {hit.score:.3f}"


# ---------------------------------------------------------------- figures


def torture(n: int, seed: int, n_processes: int = 2, n_files: int = N_FILES, among: str = "") -> Iterator[Verdict]:
    """Damage `n` stores in files whose path has `among`; one that ends its process has a verdict too."""
    with tempfile.TemporaryDirectory(prefix="damage-", dir=memory()) as name:
        stores = make_stores(Path(name), seed, n_files)
        waiting = [range(start, min(n, start + _CHUNK)) for start in range(0, n, _CHUNK)]
        if n_processes == 0:
            for numbers in waiting:
                yield from _try_some(stores, numbers, seed, among)
            return
        context = multiprocessing.get_context("forkserver")
        while waiting:
            with ProcessPoolExecutor(n_processes, context, logging.disable, (logging.CRITICAL,)) as pool:
                tried = [(numbers, pool.submit(_try_some, stores, numbers, seed, among)) for numbers in waiting]
                waiting = []
                for numbers, future in tried:
                    yield from _verdicts(future, numbers, waiting)


def _verdicts(future: Future[list[Verdict]], numbers: range, waiting: list[range]) -> Iterator[Verdict]:
    """Of a chunk in which a process ended, each case is tried again alone."""
    try:
        yield from future.result()
    except BrokenProcessPool:
        if len(numbers) == 1:
            yield Verdict(f"{numbers[0]}", error="it ended the process")
        else:
            waiting += [range(number, number + 1) for number in numbers]


def _try_some(stores: Stores, numbers: range, seed: int, among: str) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="work-", dir=stores.root) as work:
        return [try_one(stores, Path(work), number, seed, among) for number in numbers]


UNCHECKED = {
    "seals in the catalogue": ("catalogue.db", "indexer.catalogue.seals.crc32", lambda *data: 0),
    "checksums of features": ("features", "indexer.features.record.crc32", lambda *data: 0),
    "digests of a snapshot": ("gen-", "indexer.index.snapshot.chunk_digest", lambda *parts: ""),
}
"""Mutants of the product in which nobody looks at one kind of checksum: what is damaged, and what is replaced."""


def n_until_caught(mutant: str, n: int, seed: int, n_files: int = N_FILES) -> int:
    """How many damaged stores it takes until one shows that there are no such checksums; 0 if `n` do not."""
    among, name, careless = UNCHECKED[mutant]
    with patch(name, careless):
        for i, verdict in enumerate(torture(n, seed, 0, n_files, among)):
            if verdict.wrong or verdict.left or verdict.error:
                return i + 1
    return 0


def run(args: argparse.Namespace) -> Iterator[Row]:
    began = time.perf_counter()
    verdicts = list(torture(args.rounds or N_MUTANTS, args.seed))
    minutes = (time.perf_counter() - began) / 60
    yield from rows(verdicts, f"{len(verdicts):,} damaged stores, seed {args.seed}, {minutes:.0f} min")
    logging.disable(logging.CRITICAL)
    for mutant in UNCHECKED:
        n_tried = n_until_caught(mutant, 1_000, args.seed)
        yield at_least("R3f", f"mutant without {mutant}: caught by store number {n_tried}", int(n_tried > 0), "", 1)


def rows(verdicts: Sequence[Verdict], what: str) -> Iterator[Row]:
    """The figures of some verdicts."""
    wrong = [f"{v.case}: {v.wrong[0]}" for v in verdicts if v.wrong]
    failed = [f"{v.case}: {v.error}" for v in verdicts if v.error]
    gone = [f"{v.case}: {v.deleted}" for v in verdicts if v.deleted]
    sick = [v for v in verdicts if v.error or v.left or v.n_encoded_again]
    told = [f"{v.case}: {v.error or v.left or f'{v.n_encoded_again} encoded again'}" for v in sick]
    healed = 100 * (1 - len(sick) / max(1, len(verdicts)))
    deeds = Counter(v.case.split()[2] for v in verdicts if len(v.case.split()) > 2)
    yield at_most("R3a", f"{what}: wrong answers{_some(wrong)}", len(wrong), "", 0)
    yield at_most("R3b", f"the same: crashes, and stores that do not start{_some(failed)}", len(failed), "", 0)
    yield at_least("R3c", f"the same: healed, no unhurt file encoded again{_some(told)}", healed, "%", 99)
    yield at_most("R3d", f"the same: databases deleted{_some(gone)}", len(gone), "", 0)
    yield Row("R3e", f"what was done: {dict(deeds)}", len(deeds), "kinds")


def _some(cases: Sequence[str]) -> str:
    return f" ({'; '.join(cases[:3])})" if cases else ""
