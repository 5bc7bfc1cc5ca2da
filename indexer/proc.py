"""What the kernel tells of this machine and its processes: proc(5), and the control groups. Elsewhere all is 0."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_M_ARENA_MAX: Final = -8


def kib(name: str, path: Path) -> int:
    """A value that a file gives in KiB, in bytes; 0 where there is none."""
    found = re.search(rf"^{name}:\s*(\d+) kB$", text(path), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def text(path: Path) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def share_heaps() -> None:
    """Have this process's threads share two heaps; nothing where the C library is another than glibc.

    By default glibc gives nearly every thread a heap of its own, and what one has freed no other can use. Beside
    a hundred threads that come and go those grow for hours by some megabytes a minute. Source: mallopt(3).
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    except (OSError, AttributeError):
        return


def keep_for_good() -> None:
    """Leave what is there now out of every later collection of garbage.

    A model's libraries are half a million objects: looking through them takes a third of a second, in which no thread
    answers anything.
    """
    gc.collect()
    gc.freeze()


def resident_bytes() -> int:
    """Resident memory of this process; quick enough to be asked after every request. Source: proc(5), `statm`."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def own_share_bytes(pid: int, root: Path = _ROOT) -> int:
    """Memory of a process; what it shares with others counts as its part (`Pss`), so that a sum counts nothing twice.

    Where the kernel does not tell that, all that is resident.
    """
    folder = root / "proc" / str(pid)
    return kib("Pss", folder / "smaps_rollup") or kib("VmRSS", folder / "status")


def process_name(pid: int, root: Path = _ROOT) -> str:
    """The program's name; empty for a process that is not there."""
    return text(root / "proc" / str(pid) / "comm").strip()


def room_bytes(root: Path = _ROOT) -> int:
    """What is free of the machine's memory, and of what this process's control groups may take."""
    available = kib("MemAvailable", root / "proc/meminfo")
    return max(0, min([available, *(limit - used for limit, used in group_limits(root))]))


def group_limits(root: Path = _ROOT) -> list[tuple[int, int]]:
    """Limit and use, bytes, of the control group that is mounted as this process's own, where it has a limit.

    The use is without file pages that can be dropped. Source: the kernel's cgroup-v2 and memory (v1) documents.
    """
    found = []
    for folder, limit_name, used_name in (
        ("sys/fs/cgroup", "memory.max", "memory.current"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        limit, used = (text(root / folder / name).strip() for name in (limit_name, used_name))
        if limit.isdecimal() and used.isdecimal():
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", text(root / folder / "memory.stat"), re.MULTILINE)
            found.append((int(limit), int(used) - (int(cached[1]) if cached else 0)))
    return found
