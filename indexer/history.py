"""The course of the memory's parts: fine for the last minutes, coarse for the last day, and no longer."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from typing import Final, TypeAlias

from indexer.types import MemoryHistory, MemorySeries

FINE_S: Final = 1
FINE_N: Final = 600
COARSE_S: Final = 60
COARSE_N: Final = 1440

Values: TypeAlias = Mapping[tuple[str, str], int]
"""Bytes by device and part."""


class History:
    """Two rings of readings. Of each minute the largest value of each part is kept: peaks are what people look for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fine: deque[tuple[float, Values]] = deque(maxlen=FINE_N)
        self._coarse: deque[tuple[float, Values]] = deque(maxlen=COARSE_N)

    def add(self, at: float, values: Values) -> None:
        """A reading, made `at` seconds since the epoch."""
        with self._lock:
            self._fine.append((at, values))
            minute = at // COARSE_S * COARSE_S
            if self._coarse and self._coarse[-1][0] == minute:
                _, largest = self._coarse.pop()
                values = {key: max(largest.get(key, 0), values.get(key, 0)) for key in {**largest, **values}}
            self._coarse.append((minute, values))

    def read(self, seconds: int) -> MemoryHistory:
        """The last `seconds` second by second where they are at most ten minutes, else minute by minute."""
        is_fine = seconds <= FINE_S * FINE_N
        step_s = FINE_S if is_fine else COARSE_S
        with self._lock:
            readings = list(self._fine if is_fine else self._coarse)[-math.ceil(seconds / step_s) :]
        keys = dict.fromkeys(key for _, values in readings for key in values)
        series = (MemorySeries(*key, tuple(values.get(key) for _, values in readings)) for key in keys)
        return MemoryHistory(step_s, tuple(at for at, _ in readings), tuple(series))
