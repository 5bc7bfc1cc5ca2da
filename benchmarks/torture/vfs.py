"""SQLite's way to the disk, watched and barred: its writes and syncs pass through here, without root or a tool."""

from __future__ import annotations

import _sqlite3
import ctypes
import os
from collections.abc import Callable
from typing import Any, Literal

Call = Literal["write", "truncate", "sync"]
Watch = Callable[[Call, str], int | None]
"""Called before SQLite writes to, cuts or syncs the file at a path; None lets it, a number is the error it gets."""

OK, IOERR, FULL, READONLY = 0, 10, 13, 8
IOERR_WRITE, IOERR_FSYNC = IOERR | 3 << 8, IOERR | 4 << 8
_DATABASE_OR_LOG = 0x00000100 | 0x00080000


class _Vfs(ctypes.Structure):
    """The beginning of `sqlite3_vfs` (sqlite.org/c3ref/vfs.html)."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
    ]


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods` (sqlite.org/c3ref/io_methods.html)."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", ctypes.c_void_p),
        ("truncate", ctypes.c_void_p),
        ("sync", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 13),
    ]


class _File(ctypes.Structure):
    _fields_ = [("methods", ctypes.POINTER(_Methods))]


_Open = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.POINTER(_File),
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_int),
)
_Write = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
_Truncate = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_Sync = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

_BEFORE: list[Watch] = []
_KEPT: list[Any] = []  # what SQLite points at must not be collected
_PATHS: dict[int, str] = {}


def watch(before: Watch | None) -> None:
    """Have every write, cut and sync of a database or its log, opened from now on in this process, pass `before`."""
    _BEFORE[:] = [before] if before else []
    if not _KEPT:
        _install()


def _asked(call: Call, file: int) -> int | None:
    return _BEFORE[0](call, _PATHS[file]) if _BEFORE else None


def _install() -> None:
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    vfs = library.sqlite3_vfs_find(None).contents
    really_open = _Open(vfs.open)
    ours: dict[int, Any] = {}

    def open_watched(itself: int, name: int | None, file: Any, flags: int, out: Any) -> int:
        code = int(really_open(itself, name, file, flags, out))
        if code == OK and name and flags & _DATABASE_OR_LOG:
            theirs = ctypes.addressof(file.contents.methods.contents)
            if theirs not in ours:
                ours[theirs] = _watched(file.contents.methods.contents)
            _PATHS[ctypes.addressof(file.contents)] = os.fsdecode(ctypes.string_at(name))
            file.contents.methods = ctypes.pointer(ours[theirs])
        return code

    opened = _Open(open_watched)
    _KEPT.extend([opened, really_open, ours])
    vfs.open = ctypes.cast(opened, ctypes.c_void_p).value


def _watched(theirs: _Methods) -> _Methods:
    """A copy of one table of methods in which three ask first."""
    ours = _Methods.from_buffer_copy(theirs)
    write, truncate, sync = _Write(theirs.write), _Truncate(theirs.truncate), _Sync(theirs.sync)

    def ask_write(file: int, data: int, n_bytes: int, offset: int) -> int:
        code = _asked("write", file)
        return int(write(file, data, n_bytes, offset)) if code is None else code

    def ask_truncate(file: int, n_bytes: int) -> int:
        code = _asked("truncate", file)
        return int(truncate(file, n_bytes)) if code is None else code

    def ask_sync(file: int, flags: int) -> int:
        code = _asked("sync", file)
        return int(sync(file, flags)) if code is None else code

    for name, kind, function in (
        ("write", _Write, ask_write),
        ("truncate", _Truncate, ask_truncate),
        ("sync", _Sync, ask_sync),
    ):
        callback = kind(function)
        _KEPT.append(callback)
        setattr(ours, name, ctypes.cast(callback, ctypes.c_void_p).value)
    return ours
