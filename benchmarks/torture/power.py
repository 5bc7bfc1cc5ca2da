"""Power cuts: what was acknowledged is there, and nothing half-written is believed.

A child serves a store under load while the power is cut again and again: the store is copied as the cut would leave it,
opened, and compared with what was acknowledged and with the files. Mutants of the product, in which one precaution is
missing, prove that the cuts bite.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.report import Row, at_least, at_most, skipped
from benchmarks.torture import daemon as daemon_module
from benchmarks.torture.daemon import Ack, Daemon
from benchmarks.torture.disks import Disk, ImageDisk, ShadowDisk, can_mount, memory
from benchmarks.torture.oracle import differences
from benchmarks.torture.shelf import Shelf
from benchmarks.torture.stub import feature_of, open_stub
from indexer.config import Config
from indexer.engine import RunningEngine, open_engine
from indexer.errors import IndexerError
from indexer.sqlite import open_writer

N_CUTS = 300
MUTANT_CUTS = 60  # each mutant must be caught within this many


@dataclass
class Cuts:
    """What some cuts showed: how many, and everything that was wrong, as `cut 7: …`."""

    n: int = 0
    n_acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        return self.lost + self.wrong


def torture(make: Callable[[Path], Disk], n: int, seed: int, mutant: str = "", *, until_caught: bool = False) -> Cuts:
    """Cut the power `n` times; with `until_caught`, until something is wrong."""
    rng = random.Random(seed)
    cuts = Cuts()
    reading, evidence = (MUTANTS[mutant].reading, MUTANTS[mutant].evidence) if mutant else (nullcontext, "")
    with tempfile.TemporaryDirectory(prefix="power-", dir=memory()) as name:
        folder = Path(name)
        disk = make(folder)
        settings = {"store.dir": str(disk.store)}
        daemon = Daemon(folder, settings, prepare=partial(_prepare, disk.prepare, mutant))
        shelf = Shelf(daemon.pictures, rng)
        try:
            daemon.start()
            for _ in range(n):
                with reading():
                    _one_cut(daemon, disk, shelf, rng, cuts)
                if until_caught and any(evidence in what for what in cuts.all):
                    break
        finally:
            if daemon.process is not None and daemon.process.is_alive():
                daemon.kill()
            disk.close()
    cuts.n_acknowledged = sum(len(ack.paths) for ack in daemon.acks)
    return cuts


def _one_cut(daemon: Daemon, disk: Disk, shelf: Shelf, rng: random.Random, cuts: Cuts) -> None:
    shelf.disturb(rng.randrange(1, 30))
    promised = 0
    if rng.random() < 0.3:
        promised = daemon.ask("generation")
        shelf.disturb(rng.randrange(0, 10))
    time.sleep(rng.uniform(0, 0.25))
    acks = list(daemon.acks)
    cuts.n += 1
    with disk.cut(daemon.process.pid, rng) as store:
        config = Daemon(daemon.root, {"store.dir": str(store)}).config
        audit = Audit(shelf, acks, promised)
        audit.run(config)
    cuts.lost += [f"cut {cuts.n}: {what}" for what in audit.lost]
    cuts.wrong += [f"cut {cuts.n}: {what}" for what in audit.wrong]


class Audit:
    """Opens a store that a cut has left and looks for what must not be.

    Args:
        shelf: The files, and every state that they had.
        acks: What was acknowledged before the cut.
        promised: Number of the last generation that is known to have been saved before it.
    """

    def __init__(self, shelf: Shelf, acks: Sequence[Ack], promised: int) -> None:
        self._shelf, self._acks, self._promised = shelf, acks, promised
        self.lost: list[str] = []
        self.wrong: list[str] = []

    def run(self, config: Config) -> None:
        try:
            with open_engine(config, watch=False, model=open_stub) as engine:
                self._as_it_opens(engine)
            with open_engine(config, model=open_stub) as engine:
                self.wrong += [] if engine.wait_idle(30) else ["it does not come to rest"]
                self.wrong += differences(engine, config.folders, config.watch.exclude)
        except IndexerError as e:
            self.lost.append(f"it does not open: {type(e).__name__}: {e}")

    def _as_it_opens(self, engine: RunningEngine) -> None:
        """Before anything was read again from the files."""
        catalogue = engine.parts.catalogue
        ids, hashes = catalogue.live()
        recorded: dict[bytes, str | None] = {bytes(r.path): None for r in catalogue.refused(1 << 30)}
        for record in catalogue.images(ids.tolist()).values():
            recorded |= dict.fromkeys(map(bytes, record.paths), record.hash.hex())
        lost = self._shelf.lost(recorded, self._acks)
        self.lost += [f"{len(lost)} acknowledged paths are lost, such as {lost[0]!r}"] if lost else []
        engine.wait_idle(30)
        if engine.parts.embedder.n_encoded:
            self.lost.append(f"{engine.parts.embedder.n_encoded} acknowledged features are lost")
        self.wrong += engine.stats().notices
        self.wrong += [f"a generation is damaged: {path.name}" for path in engine.parts.index_dir.rglob("*.bad")]
        if engine.stats().generation < self._promised:
            self.wrong.append(f"generation {self._promised} was saved, {engine.stats().generation} is there")
        known = [i for i, hash in enumerate(hashes) if hash.hex() in self._shelf.contents]
        if known:
            features = np.stack([feature_of(self._shelf.contents[hashes[i].hex()]) for i in known])
            rows, _ = engine.parts.geometry.rows(features)
            if (engine.parts.index.rows(ids[known]) != rows).any():
                self.wrong.append("a row is not its content's: a bad generation is served")


# ---------------------------------------------------------------- in the child


def _prepare(prepare_disk: Callable[[], None], mutant: str) -> None:
    from indexer.engine import keeper

    keeper.SNAPSHOT_S = keeper.SNAPSHOT_SHARE = 0  # as often as it looks
    questions: Any = daemon_module.QUESTIONS
    questions["generation"] = _save
    if mutant:
        MUTANTS[mutant].plant()
    prepare_disk()


def _save(engine: RunningEngine) -> int:
    engine._keeper.save_anew()  # noqa: SLF001 # no door asks for it
    return engine._keeper.generation  # noqa: SLF001


def _catalogue(synchronous: str) -> None:
    def careless(path: Path) -> Any:
        con = open_writer(path)
        con.execute(f"PRAGMA synchronous = {synchronous}")
        return con

    patch("indexer.catalogue.opening.open_writer", careless).start()


def _features(synchronous: int) -> None:
    from indexer.features import rawdisk

    rawdisk._SETTINGS["sqlite_synchronous"] = synchronous  # noqa: SLF001


class _RowsUnsynced:
    """The module `os`, whose fsync leaves a snapshot's rows out."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        if not os.readlink(f"/proc/self/fd/{descriptor}").endswith(".rows.tmp"):
            os.fsync(descriptor)


def _snapshot_unsynced() -> None:
    patch("indexer.index.snapshot.os", _RowsUnsynced()).start()


def _snapshot_unsynced_and_unchecked() -> None:
    _snapshot_unsynced()
    for each in _unchecked():
        each.start()


def _unchecked() -> list[Any]:
    return [
        patch("indexer.index.snapshot.chunk_digest", lambda *parts: ""),
        patch("indexer.index.manifest.manifest_digest", lambda facts: ""),
    ]


@contextmanager
def unchecked() -> Iterator[None]:
    """Nobody looks at the digests of a snapshot and its manifest."""
    with ExitStack() as stack:
        for each in _unchecked():
            stack.enter_context(each)
        yield


@dataclass(frozen=True, slots=True)
class Mutant:
    """The product without one precaution.

    Attributes:
        plant: Takes it away, in the child that writes.
        reading: Takes it away where the store is opened after the cut.
        evidence: What catches it, if not anything does.
    """

    plant: Callable[[], None]
    reading: Callable[[], AbstractContextManager[None]] = nullcontext
    evidence: str = ""


MUTANTS: Mapping[str, Mutant] = {
    "the catalogue's synchronous=NORMAL": Mutant(partial(_catalogue, "NORMAL")),
    "the catalogue's synchronous=OFF": Mutant(partial(_catalogue, "OFF")),
    "the features' synchronous=NORMAL": Mutant(partial(_features, 1)),
    "the features' synchronous=OFF": Mutant(partial(_features, 0)),
    "a snapshot's rows without fsync": Mutant(_snapshot_unsynced),
    "the same without checksums": Mutant(_snapshot_unsynced_and_unchecked, unchecked, "is served"),
}


# ---------------------------------------------------------------- figures


def run(args: argparse.Namespace) -> Iterator[Row]:
    logging.disable(logging.CRITICAL)
    mounts = can_mount()
    if mounts:
        yield from _rows(("R2a", "R2b"), "ext4 image copied", ImageDisk, args)
    else:
        yield skipped("R2a", "power cuts, ext4 image copied", "needs root and mkfs.ext4", "lost", "<= 0")
    yield from _rows(("R2c", "R2d"), "pages since the last sync dropped or torn", ShadowDisk, args)
    kinds: dict[str, Callable[[Path], Disk]] = {"image": ImageDisk} if mounts else {}
    for mutant in MUTANTS:
        caught = []
        for name, make in (kinds | {"shadow": ShadowDisk}).items():
            cuts = torture(make, MUTANT_CUTS, args.seed, mutant, until_caught=True)
            caught += [f"{name}: {what}" for what in cuts.all if MUTANTS[mutant].evidence in what][:1]
        what = f"mutant: {mutant}: ways of cutting that catch it ({'; '.join(caught)})"
        yield at_least("R2e", what, len(caught), "ways", 1)


def _rows(ids: tuple[str, str], what: str, make: Callable[[Path], Disk], args: argparse.Namespace) -> Iterator[Row]:
    cuts = torture(make, args.rounds or N_CUTS, args.seed)
    told = f"; {'; '.join(cuts.all[:3])}" if cuts.all else ""
    whole = f"{cuts.n} power cuts ({what}), {cuts.n_acknowledged:,} paths acknowledged, seed {args.seed}"
    yield at_most(ids[0], f"{whole}: acknowledged but lost{told}", len(cuts.lost), "", 0)
    yield at_most(ids[1], "the same: damaged databases, bad generations, differences at rest", len(cuts.wrong), "", 0)
