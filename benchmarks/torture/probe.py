"""The program itself, noting in a file each picture before it is encoded, and with a fault if one is named.

`python -m benchmarks.torture.probe LOG FAULT serve …`
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.torture.counting import Log
from indexer.cli import main
from indexer.encoder.lane import EncoderLane
from indexer.encoder.worker import Slot
from indexer.ports import Encoder
from indexer.types import Features, Pixels


def probe(log: str) -> None:
    """Note what the encoder is given."""
    noted = Log(Path(log))
    init = EncoderLane.__init__

    def probed(self: EncoderLane, *slots: Slot, **settings: Any) -> None:
        def noting(build: Callable[[], Encoder]) -> Encoder:
            encoder = build()
            encode = encoder.encode_pixels

            def encode_pixels(pixels: Pixels) -> Features:
                noted.note([hashlib.sha384(picture.tobytes()).digest() for picture in pixels])
                return encode(pixels)

            encoder.encode_pixels = encode_pixels  # type: ignore[method-assign]
            return encoder

        init(self, *(replace(slot, build=partial(noting, slot.build)) for slot in slots), **settings)

    EncoderLane.__init__ = probed  # type: ignore[method-assign]


def hasty() -> None:
    """A stop finishes nothing."""
    from indexer.cli.signals import StopSignals

    StopSignals._handle = lambda *_: os._exit(0)  # type: ignore[method-assign]  # noqa: SLF001


def lockless() -> None:
    """The lock keeps nobody out."""
    from indexer.store.data_dir import DataDir

    DataDir._take = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001


FAULTS: dict[str, Callable[[], None]] = {"none": lambda: None, "hasty": hasty, "lockless": lockless}

if __name__ == "__main__":
    probe(sys.argv.pop(1))
    FAULTS[sys.argv.pop(1)]()
    main()
