"""The feature cache on diskcache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

from indexer.errors import Stopped, StoreCorrupt, StoreError, StoreFull
from indexer.features.rawdisk import DATABASE
from indexer.features.record import check, pack, unpack
from indexer.features.writer import CacheWriter
from indexer.sqlite import Readers, complaint
from indexer.types import ContentHash, EmbeddingSpace, StoredFeature

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Rows as `RawDisk` keeps them; others were planted, count as absent, and are overwritten by the next put.
_SELECT = (
    "SELECT rowid, value FROM Cache"
    " WHERE raw = 1 AND mode = 1 AND filename IS NULL AND typeof(value) = 'blob' AND key IN"
)
_CHUNK = 128
_PAGE_KEYS = 5000
_KEY_LENGTH = 16 + 1 + 64


class FeatureReader:
    """Reads the features of one embedding space, beside a writer or when there is none.

    Args:
        folder: The folder of the cache, shared by all spaces.
        space: Whose features.
    """

    def __init__(self, folder: Path, space: EmbeddingSpace) -> None:
        self._path = folder / DATABASE
        self._space = space
        self._fingerprint = space.fingerprint  # worked out anew at each look
        self._space_bytes = bytes.fromhex(self._fingerprint)
        self._readers = self._connect()

    def get_many(self, hashes: Sequence[ContentHash]) -> dict[ContentHash, StoredFeature]:
        """As the port says. About 100,000 a second and core, also for long lists; the features are read-only views.

        Raises:
            StoreError: The database cannot be read, nor mended.
        """
        return self._mending(lambda readers: self._read(readers, hashes))

    def hashes(self) -> Iterator[ContentHash]:
        """As the port says. Keys alone are read; `get_many` tells whether a feature is whole."""
        prefix, end = f"{self._fingerprint}:", f"{self._fingerprint};"
        last = prefix
        while keys := self._mending(partial(_keys, start=last, end=end)):
            for key in keys:
                with suppress(ValueError):  # a damaged key
                    yield _content_of(key)
            if keys[-1] <= last:
                return  # a damaged tree has no order
            last = keys[-1]

    def spaces(self) -> dict[str, int]:
        """Number of features by fingerprint, of every space that has some."""
        with self._readers.snapshot() as con:
            query = "SELECT substr(key, 1, 16), count(*) FROM Cache WHERE raw = 1 AND length(key) = ? GROUP BY 1"
            return dict(con.execute(query, (_KEY_LENGTH,)).fetchall())

    def check(self) -> None:
        """Look at the whole database, some seconds for a million features and longer if the disk is slow, and mend it.

        Raises:
            StoreCorrupt: It is damaged, and this is a mere reader.
        """
        self._mending(self._check)

    def close(self) -> None:
        self._readers.close()

    def _connect(self) -> Readers:
        return Readers(self._path)

    def _check(self, readers: Readers) -> None:
        with readers.snapshot() as con:
            found = complaint(con, thorough=True, budget_s=float("inf"))
        if found is not None:
            raise StoreCorrupt(f"{self._path} is damaged: {found}")

    def _read(self, readers: Readers, hashes: Iterable[ContentHash]) -> dict[ContentHash, StoredFeature]:
        found: dict[ContentHash, StoredFeature] = {}
        bad: list[int] = []
        for chunk in _chunks(hashes):
            with readers.connection() as con:
                keys = [self._key(hash_) for hash_ in chunk]
                rows = con.execute(f"{_SELECT} ({','.join('?' * len(keys))})", keys).fetchall()
            wanted = set(chunk)
            for rowid, value in rows:
                kept = unpack(value, self._space_bytes, self._space.dim)
                if kept is None:
                    bad.append(rowid)
                elif kept[0] not in wanted:
                    raise StoreCorrupt(f"{self._path} is damaged: its index leads astray")
                else:
                    found[kept[0]] = kept[1]
        if bad:
            self._drop_bad(bad)
        return found

    def _key(self, hash_: ContentHash) -> str:
        return f"{self._fingerprint}:{hash_.hex()}"

    def _mending(self, task: Callable[[Readers], T]) -> T:
        return task(self._readers)

    def _drop_bad(self, rowids: Sequence[int]) -> None:
        logger.warning("%d features fail their check and are left out", len(rowids))


class DiskFeatureCache(FeatureReader):
    """The port `FeatureCache`. One per folder at a time: the caller holds the store's lock.

    Args:
        folder: Made if need be, for the owner only.
        space: Whose features.
        clock: Seconds since the epoch.

    Raises:
        StoreFull: No room or no permission to write.
    """

    def __init__(self, folder: Path, space: EmbeddingSpace, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(folder, space)
        _make_private(folder)
        self._writer = CacheWriter(folder, clock, self._renew_readers)

    @property
    def notices(self) -> tuple[str, ...]:
        """What was mended since the start, one line each, for people."""
        return tuple(self._writer.notices)

    def put_many(self, features: Mapping[ContentHash, StoredFeature]) -> None:
        check(features, self._space.dim)
        if features:
            self._writer.put([(self._key(h), pack(self._space_bytes, h, stored)) for h, stored in features.items()])

    def drop_many(self, hashes: Sequence[ContentHash]) -> None:
        self._writer.forget([self._key(hash_) for hash_ in hashes])

    def close(self) -> None:
        super().close()
        self._writer.close()

    def _mending(self, task: Callable[[Readers], T]) -> T:
        readers = self._readers
        try:
            return task(readers)
        except StoreCorrupt as error:
            self._writer.mend(error, still_needed=lambda: self._readers is readers)
        except Stopped:
            if self._readers is readers:
                raise  # closed for good, not renewed
        return task(self._readers)

    def _renew_readers(self) -> None:
        old, self._readers = self._readers, self._connect()
        old.close()

    def _drop_bad(self, rowids: Sequence[int]) -> None:
        super()._drop_bad(rowids)
        try:
            self._writer.drop(rowids)
        except StoreError as error:
            logger.warning("they stay for now: %s", error)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise StoreFull(f"{folder} cannot be made private to this user: {error}") from error


def _content_of(key: str) -> ContentHash:
    """The content that a key is of; raises ValueError for what is no key."""
    if len(key) != _KEY_LENGTH:
        raise ValueError(key)
    return ContentHash(bytes.fromhex(key[-64:]))


def _keys(readers: Readers, start: str, end: str) -> list[str]:
    """The next keys in order, from the index alone."""
    query = "SELECT key FROM Cache WHERE key > ? AND key < ? AND raw = 1 ORDER BY key LIMIT ?"
    with readers.snapshot() as con:
        return [key for (key,) in con.execute(query, (start, end, _PAGE_KEYS)) if type(key) is str]


def _chunks(values: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
