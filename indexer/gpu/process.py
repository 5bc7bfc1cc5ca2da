"""This process's main memory, by the kernel and by the C library's allocator."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from indexer.proc import kib, own_share_bytes, process_name, resident_bytes, room_bytes
from indexer.types import ProcessMemory, ProcessReading

CHILDREN_S: Final = 30.0
"""How often children are measured: the kernel walks all their pages for it, some 20 ms for each."""

_STATUS: Final = Path("/proc/self/status")


class _Mallinfo(ctypes.Structure):
    """Source: mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


class LinuxProcess:
    """Port `ProcessGauge` by proc(5) and glibc; elsewhere the figures that are not told are 0."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._children: dict[int, ProcessMemory] = {}
        self._children_read_at = -CHILDREN_S
        with suppress(AttributeError):  # another C library, or an old one
            self._library.mallinfo2.restype = _Mallinfo

    def read(self, children: Sequence[int]) -> ProcessReading:
        told = self._library.mallinfo2() if hasattr(self._library, "mallinfo2") else _Mallinfo()
        return ProcessReading(
            own_bytes=kib("RssAnon", _STATUS),
            file_bytes=kib("RssFile", _STATUS),
            shared_bytes=kib("RssShmem", _STATUS),
            heap_bytes=told.uordblks + told.hblkhd,
            free_bytes=told.fordblks,
            children=self._read_children(children),
            room_bytes=room_bytes(),
        )

    def _read_children(self, pids: Sequence[int]) -> tuple[ProcessMemory, ...]:
        now = time.monotonic()
        if now >= self._children_read_at + CHILDREN_S:
            self._children = {}
            self._children_read_at = now
        for pid in pids:
            if pid not in self._children:
                self._children[pid] = ProcessMemory(pid, process_name(pid), own_share_bytes(pid))
        return tuple(self._children[pid] for pid in pids)

    def resident_bytes(self) -> int:
        return resident_bytes()

    def release(self) -> None:
        gc.collect()
        if hasattr(self._library, "malloc_trim"):
            self._library.malloc_trim(0)
