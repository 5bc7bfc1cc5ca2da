"""What a service may run short of, each for as long as a block lasts."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.torture import vfs


@contextlib.contextmanager
def full(disk: Path, n_free_bytes: int) -> Iterator[None]:
    """A file takes all room but this."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    n_bytes = state.f_bavail * state.f_bsize - n_free_bytes
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, n_bytes))
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def barred(code: int, calls: Sequence[vfs.Call], n_let: int, among: str = "") -> Iterator[None]:
    """After `n_let` of these calls, on files whose path has `among`, every further one fails with SQLite's `code`."""
    left = n_let

    def before(call: vfs.Call, path: str) -> int | None:
        nonlocal left
        if call not in calls or among not in path:
            return None
        left -= 1
        return code if left < 0 else None

    vfs.watch(before)
    try:
        yield
    finally:
        vfs.watch(None)


@contextlib.contextmanager
def without_descriptors(n_spare: int) -> Iterator[None]:
    """This process may open `n_spare` more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        for _ in range(min(n_spare, len(taken))):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
