"""Memory that a child and its keeper both see. It has no name, so nothing can be left behind."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

_KEPT_BYTES: Final = 8 << 20
"""What was longer is given back to the system at once."""

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Slot:
    """Room for one file on its way in, or one result on its way out. Takes up memory only as far as it was filled.

    Args:
        fd: Descriptor of the memory, from another process's slot; closed with this one.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self._bytes = np.frombuffer(self._map, np.uint8)

    @classmethod
    def create(cls, n_bytes: int) -> Slot:
        """Fresh memory. Its size is sealed, so that neither side can pull it from under the other."""
        fd = os.memfd_create("picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, n_bytes)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    def put(self, data: bytes | NDArray[np.uint8]) -> int:
        """Fill from the start; how many bytes that took. Raises `ValueError` when there is not enough room."""
        source = np.frombuffer(data, np.uint8)
        # NumPy copies without holding the interpreter's lock; a slice of the map would hold it.
        self._bytes[: source.size] = source
        return int(source.size)

    def take(self, n_bytes: int) -> bytes:
        """The first bytes, copied; a large slot is empty afterwards."""
        data = self._bytes[:n_bytes].tobytes()
        if n_bytes > _KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE)
        return data

    def take_pixels(self, side_px: int) -> NDArray[np.uint8]:
        """The first bytes as pixels (side, side, 3), copied."""
        return self._bytes[: 3 * side_px**2].reshape(side_px, side_px, 3).copy()

    def close(self) -> None:
        del self._bytes
        self._map.close()
        os.close(self.fd)
