"""Real files and an independent walk over them: the oracle of what is there."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping

from indexer.types import FilePath, Stamp


def walk(root: bytes, excluded: frozenset[bytes] = frozenset()) -> dict[FilePath, Stamp]:
    """Every regular file at or below `root`, links not followed; names in `excluded` are passed over."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in excluded]
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            if stat.S_ISREG(status.st_mode) and name not in excluded:
                found[FilePath(os.path.join(folder, name))] = Stamp.of(status)
    return found


class Recorded:
    """What a catalogue knows: the two questions that a scanner asks, and a way to bring it up to date."""

    def __init__(self, files: Mapping[FilePath, Stamp] | None = None) -> None:
        self.files = dict(files or {})

    def folder(self, folder: FilePath) -> dict[bytes, Stamp]:
        prefix = folder.rstrip(b"/") + b"/"
        inside = {path[len(prefix) :]: stamp for path, stamp in self.files.items() if path.startswith(prefix)}
        return {name: stamp for name, stamp in inside.items() if b"/" not in name}

    def folders_under(self, root: FilePath) -> Iterator[FilePath]:
        folders = {FilePath(path.rpartition(b"/")[0]) for path in self.files}
        return iter(sorted(f for f in folders if f == root or f.startswith(root.rstrip(b"/") + b"/")))

    def set(self, path: FilePath, stamp: Stamp | None) -> None:
        if stamp is None:
            self.files.pop(path, None)
        else:
            self.files[path] = stamp


def remove(path: bytes) -> None:
    """Whatever is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def write(path: bytes, data: bytes = b"x") -> FilePath:
    """In place, with the folders above; a pipe there has no reader and raises OSError instead of hanging."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
    os.write(descriptor, data)
    os.close(descriptor)
    return FilePath(path)
