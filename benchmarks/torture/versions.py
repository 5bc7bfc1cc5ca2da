"""Other models, precision classes and preprocessings on one store; schemas and formats that are newer or older."""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.report import Row, at_least, at_most, skipped
from benchmarks.torture import shim
from benchmarks.torture.aftermath import read_left
from benchmarks.torture.counting import CountedEncoder, Encodings
from benchmarks.torture.daemon import Daemon, Died
from benchmarks.torture.load import Load
from benchmarks.torture.mutants import VERSIONED, next_schema
from benchmarks.torture.stub import DIM, feature_in, space_of
from indexer.engine.parts import IMAGES_ON_THEIR_WAY
from indexer.features.record import unpack
from indexer.index.manifest import manifest_digest

ROUNDS = 20
_VERSIONS = 4
_CHANGES = 60
_LONGEST_RUN_S = 0.6


def run(args: argparse.Namespace) -> Iterator[Row]:
    if not shim.preloaded() and shim.compiler() is not None:
        given = ["versions", "--seed", str(args.seed)] + ["--mutants"] * args.mutants
        yield from shim.rows_of_preloaded(given + (["--rounds", str(args.rounds)] if args.rounds else []))
        return
    if args.mutants:
        yield from _caught(args.rounds or ROUNDS, args.seed)
        return
    n_rounds = args.rounds or ROUNDS
    for id, kills in (("R12a", False), ("R12b", True)):
        with tempfile.TemporaryDirectory() as root:
            faults = switch(Path(root), args.seed, n_rounds, kills=kills)
        what = f"mixed, lost or encoded in vain in {n_rounds} changes between {_VERSIONS} embedding spaces"
        yield _row(id, what + (", each after a kill" if kills else ""), faults)
    with tempfile.TemporaryDirectory() as root:
        yield _row("R12c", "a later schema not refused, or changed", newer_schema(Path(root)))
    with tempfile.TemporaryDirectory() as root:
        yield _row("R12d", "a later snapshot not left alone, or missed", newer_snapshot(Path(root)))
    if not shim.preloaded():
        yield skipped("R12e", "an end at every change of a migration", "no C compiler")
        return
    with tempfile.TemporaryDirectory() as root:
        n, faults = migrate(Path(root), next_schema)
    yield _row("R12e", f"lost or stuck after an end at each of {n} changes of a migration", faults)


def _row(id: str, what: str, faults: list[str]) -> Row:
    for fault in faults:
        print(fault)
    return at_most(id, what, len(faults), "findings", 0)


def _caught(n_rounds: int, seed: int) -> Iterator[Row]:
    for mutant in VERSIONED:
        with tempfile.TemporaryDirectory() as root:
            if mutant.what.startswith("migration"):
                _, faults = migrate(Path(root), mutant.prepare, until_found=True)
            else:
                faults = switch(Path(root), seed, n_rounds, mutant.prepare, until_found=True)
        told = faults[0] if faults else "never found"
        yield at_least("R12m", f"mutant: {mutant.what}; {told}", len(faults), "findings", 1)


# ---------------------------------------------------------------- spaces


def switch(
    root: Path,
    seed: int,
    n_rounds: int,
    prepare: Callable[[], None] | None = None,
    *,
    kills: bool = False,
    until_found: bool = False,
) -> list[str]:
    """Serve one store with one embedding space after another; everything in which that went wrong.

    Args:
        root: An empty folder.
        seed: Of the changes, and of the order of the spaces.
        n_rounds: Starts.
        prepare: Called first in every child.
        kills: Kill a child of each space at a random moment before it is looked at.
        until_found: End at the first fault.
    """
    rng, load = random.Random(seed), Load(root / "pictures", seed)
    daemon = Daemon(root, prepare=prepare)
    encoded: dict[int, set[str]] = {}
    encodings: dict[int, Encodings] = {}
    faults: list[str] = []
    version = 0
    for n in range(n_rounds):
        version = rng.choice([other for other in range(_VERSIONS) if other != version])
        if n % 2 == 0:  # every other time nothing has changed but the space
            for _ in range(_CHANGES):
                load.change()
        log = root / f"encodings-{version}"
        daemon.build = partial(CountedEncoder, log, version)
        others = _indexes(daemon.store, version)
        if kills:
            daemon.launch()
            time.sleep(rng.uniform(0, _LONGEST_RUN_S))
            daemon.kill()
        counted = encodings.setdefault(version, Encodings(log))
        n_encoded = counted.count(2 * n)
        daemon.start()
        daemon.ask("rest")
        n_encoded += counted.count(2 * n + 1) - counted.redone[2 * n]
        with counted.ignored(2 * n + 1):
            found = daemon.check(1.0 if until_found else 10.0)
        live = {hash for hash in load.wanted().values() if hash is not None}
        known = encoded.setdefault(version, set())
        n_new = len(live - known)
        if n_encoded != n_new or counted.redone[2 * n] > IMAGES_ON_THEIR_WAY["cpu"]:
            found.append(f"{n_encoded} encoded, where {n_new} are new here; {counted.redone[2 * n]} again")
        known |= live
        found += _misnamed(daemon, version, encoded)
        daemon.stop()
        if _indexes(daemon.store, version) != others:
            found.append("the index of another space was touched")
        found += _mixed(daemon.store, load.contents)
        faults += [f"start {n}, space {version}: {what}" for what in found]
        if until_found and faults:
            break
    return faults


def _misnamed(daemon: Daemon, version: int, encoded: Mapping[int, set[str]]) -> Iterator[str]:
    """In what the stats do not name every space that the store has an index of."""
    told = {space["fingerprint"]: space["active"] for space in daemon.ask("stats").spaces}
    wanted = {space_of(v).fingerprint: v == version for v in encoded}
    if told != wanted:
        yield f"the stats name {told}, not {wanted}"


def _indexes(store: Path, but: int) -> dict[str, str]:
    """Digest of every file of every index, but of one space."""
    files = (file for file in (store / "index").glob("*/*") if file.parent.name != space_of(but).fingerprint)
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _mixed(store: Path, contents: Mapping[str, bytes]) -> Iterator[str]:
    """Stored features that are not those of the space under whose name they are kept."""
    spaces = {space_of(v).fingerprint: space_of(v) for v in range(_VERSIONS)}
    wrong = []
    with closing(sqlite3.connect(store / "features" / "cache.db")) as con:
        for key, value in con.execute("SELECT key, value FROM Cache"):
            fingerprint, _, hash = key.partition(":")
            kept = unpack(value, bytes.fromhex(fingerprint), DIM)
            right = feature_in(contents[hash], spaces[fingerprint]) if fingerprint in spaces else None
            if kept is None or right is None or kept[0].hex() != hash or kept[1].feature.tobytes() != right.tobytes():
                wrong.append(key)
    if wrong:
        yield f"{len(wrong)} features are not of the space under whose name they are kept: {wrong[0][:29]}"


# ---------------------------------------------------------------- schemas and formats


def _filled(root: Path, *, saves: int = 1) -> tuple[Daemon, Load]:
    """A store that was served and closed in order."""
    load = Load(root / "pictures", 7)
    daemon = Daemon(root, build=partial(CountedEncoder, root / "encodings"))
    for _ in range(_CHANGES):
        load.change()
    daemon.start()
    daemon.check()
    for _ in range(saves):
        daemon.ask("save")
    daemon.stop()
    return daemon, load


def newer_schema(root: Path) -> list[str]:
    """A catalogue of a later schema is refused in words, and not touched."""
    daemon, _ = _filled(root)
    with closing(sqlite3.connect(daemon.store / "catalogue.db")) as con:
        con.execute("PRAGMA user_version = 99")
    before, faults = _digests(daemon.store), []
    try:
        daemon.start()
        daemon.kill()
        faults.append("it was opened")
    except RuntimeError as e:
        daemon.wait_gone()
        faults += [
            f"{word!r} is not said in: {e}"
            for word in ("StoreTooNew", "schema 99", "later version")
            if word not in str(e)
        ]
    if _digests(daemon.store) != before:
        faults.append("it was changed")
    return faults


def newer_snapshot(root: Path) -> list[str]:
    """A generation of a later format is left alone; the one before it, or the features, take its place."""
    daemon, _ = _filled(root, saves=2)
    faults: list[str] = []
    newest = sorted((daemon.store / "index").glob("*/gen-*.json"))
    for n, manifest in enumerate(reversed(newest)):
        facts = json.loads(manifest.read_bytes())
        del facts["digest"]
        facts["format"] = 99
        manifest.write_text(json.dumps({**facts, "digest": manifest_digest(facts)}))
        before = manifest.read_bytes()
        daemon.start()
        daemon.ask("rest")
        if daemon.ask("stats").encoded_total:
            faults.append("pictures were encoded again")
        faults += daemon.check()
        if not manifest.exists() or manifest.read_bytes() != before:
            faults.append(f"the later generation was touched, with {n} others of its kind")
        daemon.kill()
    return faults


def migrate(root: Path, prepare: Callable[[], None], *, until_found: bool = False) -> tuple[int, list[str]]:
    """End a start that migrates the catalogue at each of its changes; how many there were, and what went wrong."""
    daemon, _ = _filled(root)
    daemon.store.rename(root / "template")
    files = read_left(root / "template", space_of()).files
    counter, encodings = root / "points", Encodings(root / "encodings")
    encodings.count(0)
    n_encoded, faults = encodings.n, list[str]()
    for k in range(1, 100_000):
        shutil.rmtree(daemon.store, ignore_errors=True)
        shutil.copytree(root / "template", daemon.store)
        counter.unlink(missing_ok=True)
        daemon.prepare = partial(_armed, prepare, counter, daemon.store, k)
        ended = _ends(daemon)
        left = read_left(daemon.store, space_of())
        found = [*left.torn, *_wrong_backup(daemon.store, len(files))]
        found += ["files are missing"] * (left.files != files)
        daemon.prepare = prepare
        found += _goes_on(daemon, encodings, k)
        found += _wrong_backup(daemon.store, len(files), must_be=True)
        if encodings.n > n_encoded:
            found.append("pictures were encoded again")
        faults += [f"change {k}, {shim.reached(counter).what}: {what}" for what in found]
        if not ended or (until_found and faults):
            return k - 1, faults
    raise AssertionError("a migration without end")


def _goes_on(daemon: Daemon, encodings: Encodings, k: int) -> list[str]:
    """What is wrong with the start after one that was ended."""
    try:
        daemon.start()
        daemon.ask("rest")
        with encodings.ignored(k):
            found = daemon.check()
        daemon.stop()
    except (RuntimeError, Died) as e:
        daemon.kill()
        return [f"the next start: {e}"]
    return found


def _armed(prepare: Callable[[], None], counter: Path, store: Path, k: int) -> None:
    prepare()
    shim.arm(counter, store, k)


def _ends(daemon: Daemon) -> bool:
    """Whether the child ends by itself before it answers."""
    try:
        daemon.start()
    except Died:
        return daemon.wait_gone() == shim.CODE
    daemon.kill()
    return False


def _wrong_backup(store: Path, n_files: int, *, must_be: bool = False) -> Iterator[str]:
    """Beside a migrated catalogue lies a whole copy of what it was; beside one not migrated yet such a copy or none."""
    version, _ = _version_and_files(store / "catalogue.db")
    copy = store / "catalogue.db.v1.bak"
    if must_be and version != 2:
        yield f"the schema is still {version}"
    if version == 2 and not copy.exists():
        yield "migrated without a copy"
    if copy.exists() and _version_and_files(copy) != (1, n_files):
        yield f"the copy is schema {_version_and_files(copy)[0]} with {_version_and_files(copy)[1]} of {n_files} files"


def _version_and_files(database: Path) -> tuple[int, int]:
    with tempfile.TemporaryDirectory() as copied:
        for file in (database, database.with_name(database.name + "-wal")):
            if file.exists():
                shutil.copy(file, copied)
        with closing(sqlite3.connect(Path(copied, database.name))) as con:
            ((version,),) = con.execute("PRAGMA user_version")
            ((n_files,),) = con.execute("SELECT count(*) FROM file")
    return version, n_files


def _digests(store: Path) -> dict[str, str]:
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in store.rglob("*")
        if file.is_file() and file.name != "lock"
    }
