"""Bytes are read once: hash and pixels come from the same buffer, and the stamp before equals the stamp after."""

from __future__ import annotations

import errno
import os
import stat

from indexer.errors import SHORTAGE, CapacityError, FileChanged, ImageRefused
from indexer.types import FileContent, FilePath, Reason, Stamp, content_hash

# O_NOFOLLOW: a link swapped in after the look is not followed. O_NONBLOCK: a FIFO swapped in does not hang the open.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_file(path: FilePath, max_bytes: int, expected: Stamp | None = None) -> FileContent:
    """Read a whole regular file and hash it.

    Args:
        path: The file; a symbolic link is not followed.
        max_bytes: Larger files are refused unread.
        expected: The stamp that the file must have; None takes it as it is.

    Raises:
        FileNotFoundError: Nothing is there.
        FileChanged: Its stamp is not `expected`, or changed while it was read.
        ImageRefused: Not a regular file, empty, too large, or unreadable (permissions, I/O).
        CapacityError: No descriptor or no memory is left to read it with.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise _in_our_words(e) from e
    try:
        return _read_open(descriptor, max_bytes, expected)
    except OSError as e:
        raise _in_our_words(e) from e
    finally:
        os.close(descriptor)


def _read_open(descriptor: int, max_bytes: int, expected: Stamp | None) -> FileContent:
    before = os.fstat(descriptor)
    stamp = Stamp.of(before)
    if expected is not None and stamp != expected:
        raise FileChanged
    if not stat.S_ISREG(before.st_mode):
        raise ImageRefused(Reason.NOT_REGULAR, "a folder, device, pipe or socket")
    if stamp.size_bytes > max_bytes:
        raise ImageRefused(Reason.TOO_MANY_BYTES, f"{stamp.size_bytes} bytes, the limit is {max_bytes}")
    if stamp.size_bytes == 0:
        raise ImageRefused(Reason.EMPTY, "the file holds no bytes")
    data = _read_exactly(descriptor, stamp.size_bytes)
    if Stamp.of(os.fstat(descriptor)) != stamp:
        raise FileChanged
    return FileContent(stamp, content_hash(data), data)


def _read_exactly(descriptor: int, n_bytes: int) -> bytes:
    parts: list[bytes] = []
    wanted = n_bytes
    while wanted and (part := os.read(descriptor, wanted)):
        parts.append(part)
        wanted -= len(part)
    if wanted or os.read(descriptor, 1):
        raise FileChanged
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _in_our_words(error: OSError) -> ImageRefused | CapacityError:
    if error.errno in SHORTAGE:
        return CapacityError(f"no file can be read: {error.strerror}")
    if error.errno in (errno.ELOOP, errno.ENXIO):
        return ImageRefused(Reason.NOT_REGULAR, "a symbolic link or a socket")
    return ImageRefused(Reason.UNREADABLE, error.strerror or type(error).__name__)


def stamp_of(path: FilePath) -> Stamp | None:
    """The stamp of what stands at a path now; None where nothing is, or where it cannot be looked at."""
    try:
        return Stamp.of(os.lstat(path))
    except OSError:
        return None
