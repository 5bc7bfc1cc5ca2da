"""What the kernel and the C library say of memory that a test takes."""

from __future__ import annotations

import os
import subprocess
import sys

from indexer.gpu.process import LinuxProcess

MEASURE = """
import ctypes, sys
from indexer.gpu.process import LinuxProcess
gauge = LinuxProcess()
before = gauge.read(())
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
pieces = []
for _ in range(64 * 1024):  # too small to be mapped each on its own
    piece = library.malloc(1024)
    ctypes.memset(piece, 1, 1024)
    pieces.append(piece)
kept = pieces.pop()  # the top of the heap stays in use, so that nothing goes back by itself
full = gauge.read(())
for piece in pieces:
    library.free(ctypes.c_void_p(piece))
freed = gauge.read(())
resident = gauge.resident_bytes()
gauge.release()
print((full.heap_bytes - before.heap_bytes) >> 20, (freed.free_bytes - before.free_bytes) >> 20,
      (resident - gauge.resident_bytes()) >> 20, full.own_bytes > full.heap_bytes // 2, full.file_bytes > 1 << 20)
"""


def test_what_the_allocator_keeps_is_told_and_comes_back_when_released() -> None:
    """In a process of its own: what other tests' threads give back meanwhile would be counted."""
    outcome = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=60, check=True)
    heap_mib, kept_mib, back_mib, own, files = outcome.stdout.split()
    assert 63 <= int(heap_mib) <= 90
    assert int(kept_mib) >= 60
    assert int(back_mib) >= 55
    assert (own, files) == ("True", "True")


def test_children_are_told_with_their_names_and_sizes() -> None:
    (told,) = LinuxProcess().read([os.getpid()]).children
    assert told.pid == os.getpid()
    assert told.name
    assert told.bytes > 1 << 20
    (gone,) = LinuxProcess().read([2**22 + 1]).children
    assert (gone.name, gone.bytes) == ("", 0)


def test_there_is_room() -> None:
    reading = LinuxProcess().read(())
    assert reading.room_bytes > 1 << 20
    assert reading.shared_bytes >= 0
