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
from benchmarks.torture.aftermath import broken_promises, read_left
from benchmarks.torture.counting import Encodings, counted_encoder
from benchmarks.torture.daemon import Daemon, Died
from benchmarks.torture.load import Load
from benchmarks.torture.mutants import KILLED, Mutant, quickened
from benchmarks.torture.stub import space_of
from indexer.engine.parts import BATCH_SIZE

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
        most_redone: Contents encoded again because of one kill, at most.
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
        f"most contents encoded again after one kill ({tally.n_redone} of {tally.n_encoded:,} in all)",
        tally.most_redone, "contents", BATCH_SIZE["cpu"],
    )  # fmt: skip


def torture(
    root: Path, seed: int, n_kills: int, prepare: Callable[[], None] = quickened, *, until_found: bool = False
) -> Tally:
    """Kill so many children on one store, one after another, and look at it after each.

    Args:
        root: An empty folder.
        seed: Of the load and of the moments.
        n_kills: How many.
        prepare: Called first in every child.
        until_found: End at the first fault.
    """
    began = time.monotonic()
    rng = random.Random(seed)
    log = root / "encodings"
    daemon = Daemon(root, prepare=prepare, build=partial(counted_encoder, log, image_s=_IMAGE_S))
    load, encodings, tally = Load(daemon.pictures, seed), Encodings(log), Tally()
    seq = 0
    with load.running(_CHANGES_PER_S):
        while tally.n_kills < n_kills and not (until_found and tally.faults):
            daemon.launch()
            try:
                if tally.n_kills % _REST_EVERY == _REST_EVERY - 1:
                    _rest(daemon, load, encodings, tally)
                tally.fell_in[_wait_for_a_moment(daemon, rng)] += 1
            except (RuntimeError, TimeoutError, Died) as e:
                tally.broken.append(f"kill {tally.n_kills}: {type(e).__name__}: {e}")
            daemon.kill()
            tally.n_kills += 1
            seq = _look(daemon, load, tally, seq)
            encodings.count(tally.n_kills)
            tally.most_redone = max(encodings.redone.values(), default=0)
        if not until_found:
            daemon.launch()
            _rest(daemon, load, encodings, tally)
            daemon.stop()
    tally.n_changes, tally.n_acknowledged = load.n_changes, len(daemon.acks)
    tally.n_encoded, tally.n_redone = encodings.n, sum(encodings.redone.values())
    if encodings.n_twice:
        tally.broken.append(f"{encodings.n_twice} contents were encoded twice by one child")
    if tally.most_redone > 2 * BATCH_SIZE["cpu"]:
        tally.broken.append(f"{tally.most_redone} contents were encoded again after one kill")
    tally.seconds = time.monotonic() - began
    return tally


def _wait_for_a_moment(daemon: Daemon, rng: random.Random) -> str:
    """Return when the child is to be killed; where that is."""
    kind = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    if kind == "start":
        if not daemon.is_ready(rng.uniform(0, _LONGEST_RUN_S / 2)):
            return "start-up"
        return "work"
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


def _rest(daemon: Daemon, load: Load, encodings: Encodings, tally: Tally) -> None:
    """Compare with the oracle while nothing changes."""
    daemon.wait_ready()
    tally.n_rests += 1
    with load.paused():
        daemon.ask("rest")
        with encodings.ignored(tally.n_kills + 1):
            tally.differing += daemon.check()


def _look(daemon: Daemon, load: Load, tally: Tally, seq: int) -> int:
    """Hold what is left against what was promised, and take it as the promise from now on."""
    space = space_of()
    left = read_left(daemon.store, space)
    heard = max((ack.seq for ack in daemon.acks[-1:]), default=0)
    found = broken_promises(left, max(seq, heard), daemon.acknowledged, load.held, load.contents, space)
    tally.broken += [f"kill {tally.n_kills}: {what}" for what in found]
    daemon.acknowledged = dict(left.files)
    return left.seq


def caught(n_kills: int, seed: int) -> Iterator[Row]:
    """Each mutant under the same torture: it must be found out."""
    for mutant in KILLED:
        with tempfile.TemporaryDirectory() as root:
            tally = torture(Path(root), seed, n_kills, mutant.prepare, until_found=True)
        told = tally.faults[0] if tally.faults else "never"
        yield at_least("R1m", _what(mutant, f"after {tally.n_kills} kills: {told}"), len(tally.faults), "findings", 1)


def _what(mutant: Mutant, found: str) -> str:
    return f"mutant: {mutant.what}; {found}"
