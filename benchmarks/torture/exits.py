"""An end at every single write, fsync, rename, removal and new file of a full cycle, one child for each."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.report import Row, at_least, at_most, skipped
from benchmarks.torture import shim
from benchmarks.torture.aftermath import broken_promises, litter, read_left
from benchmarks.torture.counting import CountedEncoder, Encodings
from benchmarks.torture.daemon import Daemon, Died
from benchmarks.torture.load import Pictures
from benchmarks.torture.mutants import EXITED
from benchmarks.torture.stub import BAD, space_of

_FEWEST = 200
"""Points below which the cycle would not be a full one."""

# The number of points differs a little from run to run, with what falls into one batch.
_BEYOND = 12


@dataclass
class Tally:
    """What ending at one point after another came to.

    Attributes:
        ended: At which points a child ended, and what it was about to do.
    """

    ended: dict[int, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    n_completed: int = 0
    most_redone: int = 0
    seconds: float = 0.0


def run(args: argparse.Namespace) -> Iterator[Row]:
    if shim.compiler() is None:
        yield skipped("R1d", "an end at every change of the store", "no C compiler")
        return
    if not shim.preloaded():
        given = ["exits", "--seed", str(args.seed)] + ["--mutants"] * args.mutants
        yield from shim.rows_of_preloaded(given + (["--rounds", str(args.rounds)] if args.rounds else []))
        return
    with tempfile.TemporaryDirectory() as root:
        n_points = count(Path(root))
    yield at_least("R1d", "changes of the store in one cycle", n_points, "points", _FEWEST)
    if args.mutants:
        yield from caught(n_points, args.seed, args.rounds)
        return
    every = list(range(1, n_points + _BEYOND + 1))
    whole = torture(sorted(random.Random(args.seed).sample(every, args.rounds)) if args.rounds else every)
    yield _row("R1e", "before", whole)
    writes = [k for k, what in whole.ended.items() if what.startswith(("write", "pwrite"))]
    yield _row("R1f", "in the middle of", torture(writes, half=True))


def _row(id: str, where: str, tally: Tally) -> Row:
    for fault in tally.faults:
        print(fault)
    kinds = Counter(what.partition(" ")[0] for what in tally.ended.values())
    told = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    return at_most(
        id,
        f"lost, torn or wrong after an end {where} each of {len(tally.ended)} changes ({told}); at most"
        f" {tally.most_redone} encoded again, {tally.n_completed} cycles completed, {tally.seconds:,.0f} s",
        len(tally.faults), "findings", 0,
    )  # fmt: skip


def caught(n_points: int, seed: int, rounds: int | None) -> Iterator[Row]:
    """Each mutant, ended at one point after another in seeded order until it is found out."""
    for mutant in EXITED:
        order = random.Random(seed).sample(range(1, n_points + 1), rounds or n_points)
        tally = torture(order, mutant.prepare, until_found=True)
        told = tally.faults[0] if tally.faults else "never"
        what = f"mutant: {mutant.what}; after {len(tally.ended)} ends: {told}"
        yield at_least("R1m", what, len(tally.faults), "findings", 1)


def count(root: Path) -> int:
    """Changes of the store in one cycle."""
    counter = root / "points"
    daemon = Daemon(root, prepare=partial(shim.arm, counter, root / "data", 0))
    cycle(daemon, Pictures(daemon.pictures))
    return shim.reached(counter).n


def torture(
    points: list[int], prepare: Callable[[], None] | None = None, *, half: bool = False, until_found: bool = False
) -> Tally:
    """End a child at each of the points, look at what it left, and let another go on from there."""
    began, tally = time.monotonic(), Tally()
    for k in points:
        with tempfile.TemporaryDirectory() as root:
            _end_at(k, Path(root), prepare, half, tally)
        if until_found and tally.faults:
            break
    tally.seconds = time.monotonic() - began
    return tally


def _end_at(k: int, root: Path, prepare: Callable[[], None] | None, half: bool, tally: Tally) -> None:
    counter, log = root / "points", root / "encodings"
    armed = partial(_prepared, prepare, partial(shim.arm, counter, root / "data", k, half=half))
    daemon = Daemon(root, prepare=armed, build=partial(CountedEncoder, log))
    pictures, encodings = Pictures(daemon.pictures), Encodings(log)
    found: list[str] = []
    try:
        cycle(daemon, pictures)
        tally.n_completed += 1
    except Died:
        tally.ended[k] = shim.reached(counter).what
        if (code := daemon.wait_gone()) != shim.CODE:
            found.append(f"exit code {code}")
    except (RuntimeError, TimeoutError) as e:
        found.append(f"{type(e).__name__}: {e}")
        daemon.kill()
    encodings.count(0)
    left, seq = read_left(daemon.store, space_of()), max((ack.seq for ack in daemon.acks), default=0)
    found += broken_promises(left, seq, daemon.acknowledged, pictures.held, pictures.contents, space_of())
    daemon.prepare = prepare
    found += _next_one(daemon, encodings)
    tally.most_redone = max(tally.most_redone, encodings.redone[0])
    tally.faults += [f"point {k}, {shim.reached(counter).what}: {what}" for what in found]


def _next_one(daemon: Daemon, encodings: Encodings) -> list[str]:
    """What is wrong with the child that comes after."""
    found: list[str] = []
    try:
        daemon.start()
        daemon.ask("rest")
        with encodings.ignored(1):
            found += daemon.check()
        daemon.ask("save")  # which clears up after one that was cut off
        daemon.stop()
        found += litter(daemon.store)
    except (RuntimeError, TimeoutError, Died) as e:
        found.append(f"the next one: {type(e).__name__}: {e}")
        daemon.kill()
    if encodings.n_twice:
        found.append(f"{encodings.n_twice} contents encoded twice")
    return found


def _prepared(first: Callable[[], None] | None, then: Callable[[], None]) -> None:
    if first:
        first()
    then()


def cycle(daemon: Daemon, pictures: Pictures) -> None:
    """Everything that a store goes through: made, filled, changed, saved until generations go, closed, opened again."""
    folder = daemon.pictures
    a, b, c, d, e = (folder / f"{name}.png" for name in "abcde")
    daemon.start()
    for path in (a, b, c, folder / "sub" / "d.png"):
        pictures.write(path, f"first {path.name}".encode())
    pictures.write(d, pictures.files[a])
    pictures.write(e, BAD)
    _agree(daemon, pictures, save=True)
    pictures.write(b, b"second b")
    pictures.replace(c, b"second c")
    pictures.write(e, b"good now")
    _agree(daemon, pictures, save=True)
    pictures.rename(a, folder / "sub" / "a.png")
    pictures.rename_folder(folder / "sub", folder / "moved")
    _agree(daemon, pictures, save=True)
    pictures.remove(b)
    pictures.remove_folder(folder / "moved")
    _agree(daemon, pictures)
    daemon.stop()
    daemon.start()
    pictures.write(b, b"third b")
    _agree(daemon, pictures, save=True)
    daemon.stop()


def _agree(daemon: Daemon, pictures: Pictures, *, save: bool = False) -> None:
    daemon.wait_acknowledged(pictures.wanted())
    daemon.ask("rest")
    if save:
        daemon.ask("save")
