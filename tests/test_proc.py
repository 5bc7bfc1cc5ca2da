"""What is asked of the C library, and of the collector of garbage."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.proc import keep_for_good

_COUNT_HEAPS = """
import ctypes, sys, threading
from indexer.proc import share_heaps
if sys.argv[1] == "shared":
    share_heaps()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(8)
def take():
    together.wait()
    for _ in range(100):
        libc.malloc(5000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_threads_share_two_heaps_once_told_to(tmp_path: Path) -> None:
    heaps = {}
    for how in ("apart", "shared"):
        told = tmp_path / how
        subprocess.run([sys.executable, "-c", _COUNT_HEAPS, how, str(told)], check=True, timeout=60)
        heaps[how] = told.read_text().count("<heap nr=")
    assert heaps["apart"] > 2
    assert heaps["shared"] <= 2


def test_what_is_kept_for_good_is_not_looked_through_again() -> None:
    try:
        here = [[]]
        here.append(here)
        keep_for_good()
        assert gc.get_freeze_count() > 0
        assert all(each is not here for each in gc.get_objects())
    finally:
        gc.unfreeze()
