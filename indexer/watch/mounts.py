"""The mount table: which file system holds a folder, and of which kind."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from indexer.errors import SHORTAGE, CapacityError
from indexer.types import FilePath, is_at_or_below

_TABLE = "/proc/self/mountinfo"

# Changes made by other machines send no events here. FUSE may be local, but cannot be told from sshfs and its like.
_REMOTE = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs",
    "nfs", "nfs4", "ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip


class Mount(NamedTuple):
    """One line of the mount table. `id` is new with each mount."""

    id: int
    point: FilePath
    kind: str

    @property
    def remote(self) -> bool:
        """Whether files may change here without this machine's kernel knowing."""
        return self.kind in _REMOTE or self.kind.startswith("fuse.")


def mounts(table: str = _TABLE) -> tuple[Mount, ...]:
    """All mounts that this process sees, later ones over earlier ones; empty where the system has no such table.

    Source: proc(5), /proc/pid/mountinfo.

    Raises:
        CapacityError: No descriptor is left to read it with. A disk must not seem to be gone for that.
    """
    try:
        with open(table, "rb") as file:
            return _parse(file.read())
    except OSError as e:
        if e.errno in SHORTAGE:
            raise CapacityError(f"the mounts cannot be listed: {e.strerror}") from e
        return ()


@lru_cache(maxsize=1)  # asked for at every deletion; it seldom changes, and may have hundreds of lines
def _parse(table: bytes) -> tuple[Mount, ...]:
    found = []
    for line in table.splitlines():
        fields = line.split(b" ")
        kind = fields[fields.index(b"-") + 1]
        found.append(Mount(int(fields[0]), FilePath(_unescape(fields[4])), kind.decode("ascii", "replace")))
    return tuple(found)


def mount_of(folder: FilePath, among: Sequence[Mount]) -> Mount | None:
    """The mount that holds a folder: the longest mount point above it, the latest of several."""
    real = os.path.realpath(folder)
    holding = [mount for mount in among if is_at_or_below(real, mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def mounts_below(folder: FilePath, among: Sequence[Mount]) -> tuple[Mount, ...]:
    """Mounts whose point is inside a folder, in the table's order."""
    real = os.path.realpath(folder)
    return tuple(mount for mount in among if mount.point != real and is_at_or_below(mount.point, real))


def _unescape(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field)
