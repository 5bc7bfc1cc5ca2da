"""A file system and its clocks in memory, for tests of the settle queue."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple, cast

from indexer.types import FilePath, Stamp

START_WALL_NS = 1_800_000_000 * 10**9


class Node(NamedTuple):
    mode: int
    stamp: Stamp


class World:
    """Files by path. Time passes only by `tick`. `skew_s` is how far the file system's clock is ahead of ours."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.now_s = 1_000.0
        self.skew_s = skew_s
        self.nodes: dict[FilePath, Node] = {}
        self.writers: set[FilePath] = set()
        self.unreadable: set[FilePath] = set()
        self.changed_s: dict[FilePath, float] = {}
        self.shown_s: dict[FilePath, float] = {}
        """When the queue was last shown a file at a path."""
        self.n_lstat = 0
        self._inode = 10

    def monotonic(self) -> float:
        return self.now_s

    def wall_ns(self) -> int:
        return START_WALL_NS + round(self.now_s * 1e9)

    def tick(self, seconds: float) -> None:
        self.now_s += seconds

    # what others do to the files

    def write(self, path: bytes, size: int = 1, *, mtime_ns: int | None = None, age_s: float = 0.0) -> FilePath:
        """New content, `age_s` ago; with `mtime_ns` the writer set the time of modification afterwards."""
        p = FilePath(path)
        now_ns = self.wall_ns() + round((self.skew_s - age_s) * 1e9)
        old = self.nodes.get(p)
        if old is None or not stat.S_ISREG(old.mode):
            self._inode += 1
        inode = old.stamp.inode if old is not None and stat.S_ISREG(old.mode) else self._inode
        self.nodes[p] = Node(stat.S_IFREG | 0o644, Stamp(1, inode, size, mtime_ns or now_ns, now_ns))
        self.changed_s[p] = self.now_s - age_s
        return p

    def fifo(self, path: bytes) -> FilePath:
        p = self.write(path)
        self.nodes[p] = Node(stat.S_IFIFO | 0o644, self.nodes[p].stamp)
        return p

    def delete(self, path: bytes) -> FilePath:
        p = FilePath(path)
        self.nodes.pop(p, None)
        self.writers.discard(p)
        self.changed_s[p] = self.now_s
        return p

    def rename(self, old: bytes, new: bytes) -> None:
        node = self.nodes[FilePath(old)]
        now_ns = self.wall_ns() + round(self.skew_s * 1e9)
        self.nodes[FilePath(new)] = Node(node.mode, node.stamp._replace(ctime_ns=now_ns))
        self.changed_s[FilePath(new)] = self.now_s
        self.delete(old)

    # what the queue asks

    def lstat(self, path: FilePath) -> os.stat_result:
        self.n_lstat += 1
        if path in self.unreadable:
            raise PermissionError(13, "Permission denied", path)
        if path not in self.nodes:
            raise FileNotFoundError(2, "No such file or directory", path)
        if self.stamp(path) is not None:
            self.shown_s[path] = self.now_s
        return cast(os.stat_result, _Status(self.nodes[path]))

    def has_writer(self, path: FilePath) -> bool:
        return path in self.writers

    def stamp(self, path: FilePath) -> Stamp | None:
        node = self.nodes.get(path)
        return node.stamp if node is not None and stat.S_ISREG(node.mode) else None


class _Status:
    def __init__(self, node: Node) -> None:
        self.st_mode = node.mode
        self.st_dev, self.st_ino, self.st_size, self.st_mtime_ns, self.st_ctime_ns = node.stamp
