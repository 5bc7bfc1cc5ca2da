"""This process's main memory, by the kernel and by the C library's allocator."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from indexer.proc import kib, own_share_bytes, process_name, resident_bytes, room_bytes
from indexer.types import ProcessMemory, ProcessReading

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
            children=tuple(ProcessMemory(pid, process_name(pid), own_share_bytes(pid)) for pid in children),
            room_bytes=room_bytes(),
        )

    def resident_bytes(self) -> int:
        return resident_bytes()

    def release(self) -> None:
        gc.collect()
        if hasattr(self._library, "malloc_trim"):
            self._library.malloc_trim(0)
