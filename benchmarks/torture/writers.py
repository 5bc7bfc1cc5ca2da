"""Slow, preallocated, in-place, replacing and time-restoring writers: no half-written file is ever searchable."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.report import Row, at_most
from benchmarks.torture.daemon import Daemon
from indexer.engine import parts
from indexer.watch.settle import SettleQueue

WRITERS = 200
_AT_ONCE = 24
_GOAL_S = 5.0
_SIZE_BYTES = 40_000
_CHUNKS = 8

Pause = Callable[[], object]


def run(args: argparse.Namespace) -> Iterator[Row]:
    n = args.rounds or WRITERS
    with tempfile.TemporaryDirectory() as root:
        result = torture(Path(root), n, args.seed)
    for line in result.half_written + result.differing:
        print(line)
    yield at_most("R5a", f"half-written contents ever recorded, {n} writers", len(result.half_written), "", 0)
    yield at_most("R5b", "from the last write to searchable, slowest", max(result.delays_s, default=0.0), "s", _GOAL_S)
    yield at_most("R5c", "unlike the folders at the end", len(result.differing), "findings", 0)


class Result:
    """What came of it: `delays_s` from each writer's last write until its content was recorded."""

    def __init__(self) -> None:
        self.half_written: list[str] = []
        self.differing: list[str] = []
        self.delays_s: list[float] = []


def torture(
    root: Path,
    n_writers: int,
    seed: int,
    *,
    longest_pause_s: float = 1.5,
    settle_s: float = 0.5,
    prepare: Callable[[], None] | None = None,
) -> Result:
    """Let so many writers, two dozen at a time, write one file each; look at all that was ever recorded."""
    daemon = Daemon(root, settings={"watch.settle_s": settle_s}, prepare=prepare).start()
    rng = random.Random(seed)
    whole: dict[str, list[bytes]] = {}
    ended_at: dict[str, float] = {}
    result, lock = Result(), threading.Lock()

    def write(i: int, kind: str, seed: float) -> None:
        mine = random.Random(seed)
        path = daemon.pictures / f"{i}-{kind}.jpg"
        final = mine.randbytes(_SIZE_BYTES)
        before = mine.randbytes(_SIZE_BYTES)
        with lock:
            whole[os.fsencode(path).hex()] = [before, final]
        pause = lambda: time.sleep(mine.uniform(0, longest_pause_s))  # noqa: E731
        KINDS[kind](path, before, final, pause)
        with lock:
            ended_at[os.fsencode(path).hex()] = time.monotonic()

    kinds = [kind for kind in KINDS for _ in range(-(-n_writers // len(KINDS)))][:n_writers]
    rng.shuffle(kinds)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(write, i, kind, rng.random()) for i, kind in enumerate(kinds)]:
            done.result()
    result.differing = daemon.check()
    daemon.stop()
    allowed = {path: [hashlib.sha256(data).hexdigest() for data in both] for path, both in whole.items()}
    for ack in daemon.acks:
        for path, hash in ack.paths.items():
            if hash is not None and hash not in allowed.get(path, []):
                result.half_written.append(f"{bytes.fromhex(path)!r}: {hash[:12]}")
    for path, (_, final) in allowed.items():
        recorded = [ack.heard_s for ack in daemon.acks if ack.paths.get(path) == final]
        result.delays_s.append(max(0.0, recorded[0] - ended_at[path]) if recorded else float("inf"))
    return result


def nobody_writes() -> None:
    """A fault put in on purpose, in the child: the writers of a file are not asked for."""
    vars(parts)["SettleQueue"] = partial(SettleQueue, has_writer=lambda path: False)


def slow(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """Bit by bit, the file open all the while."""
    with path.open("wb", buffering=0) as file:
        for chunk in chunks(final):
            file.write(chunk)
            pause()


def preallocated(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """Its full length first, as downloaders do, then the bytes in any order."""
    with path.open("wb", buffering=0) as file:
        os.posix_fallocate(file.fileno(), 0, len(final))
        for start, chunk in reversed(list(enumerate_chunks(final))):
            pause()
            os.pwrite(file.fileno(), chunk, start)


def in_place(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """Over a finished file of the same length."""
    path.write_bytes(before)
    pause()
    with path.open("r+b", buffering=0) as file:
        for start, chunk in enumerate_chunks(final):
            pause()
            os.pwrite(file.fileno(), chunk, start)


def in_place_with_the_old_time(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """As above, and then the time of the last change is set back."""
    path.write_bytes(before)
    old = path.stat().st_mtime_ns
    pause()
    with path.open("r+b", buffering=0) as file:
        for start, chunk in enumerate_chunks(final):
            pause()
            os.pwrite(file.fileno(), chunk, start)
        os.utime(file.fileno(), ns=(old, old))


def like_rsync(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """Into a hidden file beside it, its time set, then renamed."""
    hidden = path.with_name(f".{path.name}.Xq3bTz")
    slow(hidden, before, final, pause)
    os.utime(hidden, ns=(10**18, 10**18))
    hidden.rename(path)


def replaced(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """A finished file is replaced by another that was written outside."""
    path.write_bytes(before)
    pause()
    outside = path.parent.parent / f"outside-{path.name}"
    slow(outside, before, final, pause)
    outside.rename(path)


def replaced_with_the_old_time(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """As above, and length and time are those of the file that was there."""
    path.write_bytes(before)
    old = path.stat().st_mtime_ns
    pause()
    outside = path.parent.parent / f"outside-{path.name}"
    slow(outside, before, final, pause)
    os.utime(outside, ns=(old, old))
    outside.rename(path)


def reopened(path: Path, before: bytes, final: bytes, pause: Pause) -> None:
    """Closed and opened again for each part, with pauses shorter than the time to settle."""
    path.touch()
    for chunk in chunks(final):
        with path.open("ab", buffering=0) as file:
            file.write(chunk)
        time.sleep(0.1)


KINDS: dict[str, Callable[[Path, bytes, bytes, Pause], None]] = {
    kind.__name__: kind
    for kind in (
        slow, preallocated, in_place, in_place_with_the_old_time, like_rsync, replaced, replaced_with_the_old_time,
        reopened,
    )
}  # fmt: skip


def chunks(data: bytes) -> Iterator[bytes]:
    """Data in eight parts."""
    return (chunk for _, chunk in enumerate_chunks(data))


def enumerate_chunks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each part with its place."""
    size = -(-len(data) // _CHUNKS)
    return ((start, data[start : start + size]) for start in range(0, len(data), size))
