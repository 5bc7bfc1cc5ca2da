"""A handler for the pool's children that does to them what hostile files might: the bytes say what."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

import numpy as np

from indexer.errors import ImageRefused
from indexer.images.limits import Limits
from indexer.types import Decoded, ImageInfo, Preprocess, Reason

_hoard: list[bytes] = []
_damaged: list[bool] = []


def prepare(limits: Limits) -> None:
    pass


class ImageDecoder:
    def __init__(self, preprocess: Preprocess, limits: Limits) -> None:
        self.side_px = preprocess.side_px

    def decode(self, data: bytes) -> Decoded:
        """A picture whose width is the child's pid, its height the file's length, its colour the last byte."""
        _obey(data)
        colour = data[-1] if data else 0
        side = self.side_px + (1 if data.startswith(b"lie") else 0)
        pixels = np.full((side, side, 3), colour, np.uint8)
        return Decoded(pixels, ImageInfo("png", os.getpid(), len(data), len(data)))

    def thumbnail(self, data: bytes, side_px: int) -> bytes:
        _obey(data)
        return data[::-1] * (10_000 if data.startswith(b"long") else 1)


def _obey(data: bytes) -> None:
    order, _, rest = data.partition(b":")
    if _damaged:
        os.abort()
    if order == b"abort":
        os.abort()
    elif order == b"segfault":
        ctypes.string_at(0)
    elif order == b"exit":
        os._exit(3)
    elif order == b"orphan":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    elif order == b"sleep":
        time.sleep(600)
    elif order == b"spin":
        while True:
            pass
    elif order == b"allocate":
        bytearray(4 << 30)
    elif order == b"grow":
        while True:
            _hoard.append(b"x" * (16 << 20))
    elif order == b"hoard":
        _hoard.append(b"x" * (300 << 20))
    elif order == b"damage":
        _damaged.append(True)
    elif order == b"raise":
        raise LookupError("no such table")
    elif order == b"refuse":
        raise ImageRefused(Reason.CORRUPT, "as told " + "x" * 1000)
    elif order == b"print":
        for stream in (sys.stdout, sys.stderr):
            stream.write("written by a child")
            stream.flush()
    elif order == b"gate":
        # A FIFO: the other end opens it when the test goes on.
        with open(rest.split(b"\0")[0], "rb") as gate:
            gate.read()
