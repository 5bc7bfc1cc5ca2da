"""`exit_at.c` built, preloaded and armed."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Row

CODE = 77
"""Exit code of a process that was ended."""


class Reached(NamedTuple):
    """How many changes were counted, and which one was the last, such as `pwrite catalogue.db-wal`."""

    n: int
    what: str


def compiler() -> str | None:
    """The C compiler here, if any."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def preloaded() -> bool:
    """Whether this process, and so its children, can be armed."""
    return hasattr(ctypes.CDLL(None), "exit_at_arm")


def rows_of_preloaded(arguments: Sequence[str]) -> Iterator[Row]:
    """Run `python -m benchmarks.torture ARGUMENTS --json` in a process that can be armed; the rows that it writes."""
    with tempfile.TemporaryDirectory() as folder:
        shim = Path(folder, "exit_at.so")
        source = Path(__file__).with_name("exit_at.c")
        subprocess.run([compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
        command = [sys.executable, "-m", "benchmarks.torture", *arguments, "--json"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "LD_PRELOAD": str(shim)}
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    yield Row(**json.loads(line))
                else:
                    sys.stderr.write(line)


def arm(counter: Path, folder: Path, k: int, *, half: bool = False) -> None:
    """End this process at the k-th change of a file below a folder, counted in a file over all that share it.

    Args:
        counter: The file; a new one counts from 0.
        folder: Its path must be as the program spells it.
        k: 0 only counts.
        half: The first half of the last write is done.
    """
    failed = ctypes.CDLL(None).exit_at_arm(
        os.fsencode(counter), os.fsencode(folder) + b"/", ctypes.c_uint64(k), int(half)
    )
    if failed:
        raise OSError(failed, os.strerror(failed), os.fspath(counter))


def reached(counter: Path) -> Reached:
    """What was counted."""
    if not counter.exists():
        return Reached(0, "")
    with counter.open("rb") as file:
        (n,), what = struct.unpack("Q", file.read(8)), file.read(248)
    return Reached(n, what.split(b"\0")[0].decode(errors="replace"))
