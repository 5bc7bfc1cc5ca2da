"""Small pictures of indexed images, by id only: what is shown is what was indexed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from indexer.errors import FileChanged, ImageRefused, NotFound
from indexer.ports import Decoder
from indexer.types import FileContent, FilePath, ImageRecord

MIN_SIDE_PX, MAX_SIDE_PX = 16, 1024


class Thumbnails:
    """Makes thumbnails in the decoder's children and keeps the latest in memory.

    Args:
        decoder: Makes them.
        read: The file at a path, read whole; raises as `indexer.files.reading.read_file`.
        n_bytes: Memory for those kept.
    """

    def __init__(self, decoder: Decoder, read: Callable[[FilePath], FileContent], n_bytes: int = 64 << 20) -> None:
        self._decoder = decoder
        self._read = read
        self._n_bytes = n_bytes
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()

    def get(self, record: ImageRecord, side_px: int) -> bytes:
        """A JPEG that fits into `side_px` squared (held within 16 and 1024).

        Raises:
            NotFound: No path holds this content any more.
        """
        side_px = min(max(side_px, MIN_SIDE_PX), MAX_SIDE_PX)
        key = (record.hash, side_px)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        jpeg = self._decoder.thumbnail(self._content(record), side_px).result()
        self._keep(key, jpeg)
        return jpeg

    def _content(self, record: ImageRecord) -> bytes:
        """The bytes whose hash is the id, from the first path that still holds them: never another file's."""
        for path in record.paths:
            try:
                content = self._read(path)
            except (OSError, ImageRefused, FileChanged):
                continue
            if content.hash == record.hash:
                return content.data
        raise NotFound("the file has changed or gone since it was indexed")

    def _keep(self, key: tuple[bytes, int], jpeg: bytes) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = jpeg
            self._used += len(jpeg)
            while self._used > self._n_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._used -= len(dropped)
