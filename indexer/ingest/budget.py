"""How much may be on its way at once."""

from __future__ import annotations

import threading


class Budget:
    """Bounds the pictures between reading and commit, by number and by bytes of their files.

    A single picture larger than the whole byte bound passes alone, so that nothing waits for ever.

    Args:
        n_images: Pictures on their way at most.
        n_bytes: Bytes of their files at most.
    """

    def __init__(self, n_images: int, n_bytes: int) -> None:
        self.n_images = n_images
        self.n_bytes = n_bytes
        self._images = 0
        self._bytes = 0
        self._closed = False
        self._changed = threading.Condition()

    def acquire(self, size_bytes: int) -> bool:
        """Wait for room and take it; False once the budget is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._fits(size_bytes))
            if self._closed:
                return False
            self._images += 1
            self._bytes += size_bytes
            return True

    def release(self, size_bytes: int) -> None:
        """Give back what one `acquire` took."""
        with self._changed:
            self._images -= 1
            self._bytes -= size_bytes
            self._changed.notify_all()

    @property
    def in_use(self) -> tuple[int, int]:
        """Pictures and bytes on their way now."""
        with self._changed:
            return self._images, self._bytes

    def close(self) -> None:
        """Refuse everyone who waits, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fits(self, size_bytes: int) -> bool:
        if self._images == 0:
            return True
        return self._images < self.n_images and self._bytes + size_bytes <= self.n_bytes
