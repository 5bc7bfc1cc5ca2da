"""kill -9 at random moments under a load that runs on: start-up, work, snapshots and the orderly end are all hit."""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.report import Row, at_least, at_most
from benchmarks.torture.aftermath import broken_promises, litter, read_left
from benchmarks.torture.counting import CountedEncoder, Encodings
from benchmarks.torture.daemon import Daemon, Died
from benchmarks.torture.load import Load
from benchmarks.torture.mutants import KILLED, quickened
from benchmarks.torture.stub import space_of
from indexer.engine.parts import IMAGES_ON_THEIR_WAY
from indexer.recommend import MOST_PICTURES

ROUNDS = 1_000
_REST_EVERY = 25
_MUTANT_ROUNDS = 200
_CHANGES_PER_S = 120.0
_LONGEST_RUN_S = 0.8
_IMAGE_S = 0.001

# A kill falls where a child spends its time; these shares see to it that it falls everywhere.
_SHARES = {"start": 30, "work": 45, "snapshot": 15, "stop": 10}


@dataclass
class Tally:
    """What a run of kills came to.

    Attributes:
        fell_in: Kills by where they fell. A snapshot counts when it was found half written.
        broken: Acknowledged and lost, torn, made up or wrong: found right after a kill.
        differing: In what a child differed from its folders when it was let rest.
        n_redone, most_redone: Contents encoded again: in all, and because of one kill at most.
    """

    n_kills: int = 0
    fell_in: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    n_rests: int = 0
    n_acknowledged: int = 0
    n_changes: int = 0
    n_encoded: int = 0
    n_redone: int = 0
    most_redone: int = 0
    seconds: float = 0.0

    @property
    def faults(self) -> list[str]:
        return self.broken + self.differing


def run(args: argparse.Namespace) -> Iterator[Row]:
    if args.mutants:
        yield from caught(args.rounds or _MUTANT_ROUNDS, args.seed)
        return
    with tempfile.TemporaryDirectory() as root:
        tally = torture(Path(root), args.seed, args.rounds or ROUNDS)
    for fault in tally.faults:
        print(fault)
    where = ", ".join(f"{n} in {place}" for place, n in sorted(tally.fell_in.items()))
    yield at_most(
        "R1a",
        f"lost, torn, phantom, duplicate or wrong after {tally.n_kills:,} kills ({where}); {tally.n_changes:,} changes,"
        f" {tally.n_acknowledged:,} transactions acknowledged, {tally.seconds:,.0f} s",
        len(tally.broken), "findings", 0,
    )  # fmt: skip
    yield at_most("R1b", f"unlike the folders, in {tally.n_rests} rests between", len(tally.differing), "findings", 0)
    yield at_most(
        "R1c",
        f"most contents encoded again after one kill ({tally.n_redone:,} of {tally.n_encoded:,} in all); a batch is"
        f" {MOST_PICTURES['cpu']}, and while one is committed the next is encoded",
        tally.most_redone, "contents", IMAGES_ON_THEIR_WAY["cpu"],
    )  # fmt: skip


def torture(
    root: Path, seed: int, n_kills: int, prepare: Callable[[], None] = quickened, *, until_found: bool = False
) -> Tally:
    """Kill so many children on one store, one after another, and look at what each leaves.

    Args:
        root: An empty folder.
        seed: Of the load and of the moments.
        n_kills: How many.
        prepare: Called first in every child.
        until_found: End at the first fault, and with no rest at the end.
    """
    began = time.monotonic()
    under = _Torture(root, seed, prepare)
    with under.load.running(_CHANGES_PER_S):
        while under.tally.n_kills < n_kills and not (until_found and under.tally.faults):
            under.live_and_die()
        if not until_found:
            under.close_in_order()
    tally = under.told()
    tally.seconds = time.monotonic() - began
    return tally


class _Torture:
    """One store, its load, and what was found so far; arguments as for `torture`."""

    def __init__(self, root: Path, seed: int, prepare: Callable[[], None]) -> None:
        log = root / "encodings"
        self._rng = random.Random(seed)
        self._encodings = Encodings(log)
        self._daemon = Daemon(root, prepare=prepare, build=partial(CountedEncoder, log, image_s=_IMAGE_S))
        self._seq = 0
        self.load = Load(self._daemon.pictures, seed)
        self.tally = Tally()

    def live_and_die(self) -> None:
        """One child, from its start to its kill, and a look at what it left."""
        daemon, tally = self._daemon, self.tally
        daemon.launch()
        try:
            if tally.n_kills % _REST_EVERY == _REST_EVERY - 1:
                self._rest()
            tally.fell_in[_wait_for_a_moment(daemon, self._rng)] += 1
        except (RuntimeError, TimeoutError, Died) as e:
            self._broken(f"{type(e).__name__}: {e}")
        daemon.kill()
        tally.n_kills += 1
        self._look()
        self._encodings.count(tally.n_kills)

    def close_in_order(self) -> None:
        self._daemon.launch()
        self._rest()
        self._daemon.ask("save")  # which clears up after one that was cut off
        self._daemon.stop()
        for what in litter(self._daemon.store):
            self._broken(what)

    def told(self) -> Tally:
        """The tally, whole."""
        tally, redone = self.tally, self._encodings.redone
        tally.n_changes, tally.n_acknowledged = self.load.n_changes, len(self._daemon.acks)
        tally.n_encoded, tally.n_redone = self._encodings.n, redone.total()
        tally.most_redone = max(redone.values(), default=0)
        if self._encodings.n_twice:
            self._broken(f"{self._encodings.n_twice} contents were encoded twice by one child")
        return tally

    def _rest(self) -> None:
        """Compare with the oracle while nothing changes."""
        self._daemon.wait_ready()
        self.tally.n_rests += 1
        with self.load.paused():
            self._daemon.ask("rest")
            with self._encodings.ignored(self.tally.n_kills + 1):
                self.tally.differing += self._daemon.check()

    def _look(self) -> None:
        """Hold what is left against what was promised, and take it as the promise from now on."""
        daemon, load, space = self._daemon, self.load, space_of()
        left = read_left(daemon.store, space)
        seq = max(self._seq, max((ack.seq for ack in daemon.acks[-1:]), default=0))
        for what in broken_promises(left, seq, daemon.acknowledged, load.held, load.contents, space):
            self._broken(what)
        daemon.acknowledged = dict(left.files)
        self._seq = left.seq

    def _broken(self, what: str) -> None:
        self.tally.broken.append(f"kill {self.tally.n_kills}: {what}")


def _wait_for_a_moment(daemon: Daemon, rng: random.Random) -> str:
    """Return when the child is to be killed; where that is."""
    kind = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    if kind == "start":
        return "work" if daemon.is_ready(rng.uniform(0, _LONGEST_RUN_S / 2)) else "start-up"
    daemon.wait_ready()
    if kind == "snapshot":
        return "snapshot" if _writes_a_snapshot(daemon) else "work"
    time.sleep(rng.uniform(0, _LONGEST_RUN_S))
    if kind == "stop":
        daemon.tell("stop")
        time.sleep(rng.uniform(0, 0.1))
        return "end"
    return "work"


def _writes_a_snapshot(daemon: Daemon, within_s: float = 1.0) -> bool:
    """Wait for the first sign of a snapshot being written."""
    deadline_s = time.monotonic() + within_s
    folders = [folder.path for folder in os.scandir(daemon.store / "index")]
    while time.monotonic() < deadline_s:
        with suppress(FileNotFoundError):
            if any(name.endswith(".tmp") for folder in folders for name in os.listdir(folder)):
                return True
    return False


def caught(n_kills: int, seed: int) -> Iterator[Row]:
    """Each mutant under the same torture: it must be found out."""
    for mutant in KILLED:
        with tempfile.TemporaryDirectory() as root:
            tally = torture(Path(root), seed, n_kills, mutant.prepare, until_found=True)
        told = tally.faults[0] if tally.faults else "never"
        what = f"mutant: {mutant.what}; after {tally.n_kills} kills: {told}"
        yield at_least("R1m", what, len(tally.faults), "findings", 1)
