"""What can be done to the files of a store: bits flip, pages are lost or exchanged, files are cut, lost or swapped."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path


def _flip_one(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_some(data: bytearray, rng: random.Random) -> None:
    for _ in range(int(2 ** rng.uniform(1, 7))):
        _flip_one(data, rng)


def _zero_page(data: bytearray, rng: random.Random) -> None:
    n_bytes = rng.choice([512, 4096])
    start = rng.randrange(len(data)) // n_bytes * n_bytes
    end = min(len(data), start + n_bytes)
    data[start:end] = bytes(end - start)


def _noise_page(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data)) // 512 * 512
    end = min(len(data), start + rng.choice([512, 4096]))
    data[start:end] = rng.randbytes(end - start)


def _exchange_pages(data: bytearray, rng: random.Random) -> None:
    n_bytes = rng.choice([512, 4096])
    a, b = (rng.randrange(max(1, len(data) // n_bytes)) * n_bytes for _ in range(2))
    data[a : a + n_bytes], data[b : b + n_bytes] = data[b : b + n_bytes], data[a : a + n_bytes]


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.choice([0, rng.randrange(len(data)), rng.randrange(len(data)) // 4096 * 4096]) :]


def _lengthen(data: bytearray, rng: random.Random) -> None:
    n_bytes = int(2 ** rng.uniform(0, 14))
    data += rng.randbytes(n_bytes) if rng.random() < 0.5 else bytes(n_bytes)


BYTES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_one,
    _flip_some,
    _zero_page,
    _noise_page,
    _exchange_pages,
    _cut,
    _lengthen,
)


def _remove(path: Path, others: Sequence[Path], rng: random.Random) -> None:
    path.unlink()


def _swap_generations(path: Path, others: Sequence[Path], rng: random.Random) -> None:
    """Exchange the newest two of this kind; a file that has no other generation is cut off at its middle."""
    like = sorted(path.parent.glob(f"gen-*{path.suffix}"))
    if path not in like or len(like) < 2:
        os.truncate(path, path.stat().st_size // 2)
        return
    a, b = like[-2].read_bytes(), like[-1].read_bytes()
    like[-2].write_bytes(b)
    like[-1].write_bytes(a)


def _swap_stores(path: Path, others: Sequence[Path], rng: random.Random) -> None:
    """The other store's file of this name stands here, sometimes with those beside it."""
    beside = [other for other in others if other.name.startswith(path.name.split("-")[0])]
    for other in beside if rng.random() < 0.5 else [o for o in others if o.name == path.name]:
        shutil.copyfile(other, path.with_name(other.name))


FILES: tuple[Callable[[Path, Sequence[Path], random.Random], None], ...] = (_remove, _swap_generations, _swap_stores)


def damage(store: Path, other: Path, rng: random.Random, among: str = "") -> str:
    """Hurt one file of a store, of those whose path has `among`; what was done to which."""
    files = sorted(
        path
        for path in store.rglob("*")
        if path.is_file()
        and path.name != "lock"
        and path.stat().st_size
        and among in os.fspath(path.relative_to(store))
    )
    # Every kind of file as often: there is one catalogue but a handful of snapshots.
    kinds = [list(group) for _, group in groupby(files, key=lambda path: (path.parent, path.suffix))]
    path = rng.choice(rng.choice(kinds))
    where = path.relative_to(store)
    number = rng.randrange(len(BYTES) + len(FILES))
    if number < len(BYTES):
        data = bytearray(path.read_bytes())
        BYTES[number](data, rng)
        path.write_bytes(data)
        return f"{BYTES[number].__name__.strip('_')} {where}"
    exchange = FILES[number - len(BYTES)]
    exchange(path, sorted((other / where.parent).iterdir()), rng)
    return f"{exchange.__name__.strip('_')} {where}"
