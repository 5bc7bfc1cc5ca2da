"""Whether files that are missing below a watched folder may be believed to be gone.

An unmounted disk looks like a folder whose files were all deleted. Features cost hours; so a loss that looks like it is
not believed until a person confirms it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Literal, NamedTuple

from indexer.types import FilePath, display_path
from indexer.watch.mounts import mount_of, mounts

HELD_ABOVE_FILES = 1_000
HELD_ABOVE_SHARE = 0.2


class RootIdentity(NamedTuple):
    """What tells a watched folder from another one at the same path.

    `device` and `mount` change when a disk is unmounted or another one mounted (a bind mount changes `mount` alone),
    `inode` also when the folder is made anew.
    """

    device: int
    inode: int
    mount: FilePath


@dataclass(frozen=True, slots=True)
class Judgement:
    """`ok`: missing files are gone. `vanished`, `held`: nothing is gone, and why."""

    verdict: Literal["ok", "vanished", "held"]
    reason: str = ""


def identify(root: FilePath) -> RootIdentity | None:
    """The identity of a watched folder now, or None when no folder can be reached there."""
    try:
        status = os.stat(root)
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    mount = mount_of(root, mounts())
    return RootIdentity(status.st_dev, status.st_ino, mount.point if mount else FilePath(b""))


def judge(
    root: FilePath,
    now: RootIdentity | None,
    remembered: RootIdentity | None,
    n_recorded: int,
    n_missing: int,
    n_lost: int,
) -> Judgement:
    """Decide over a scan's missing files.

    Args:
        root: The watched folder.
        now: Its identity; taken after the scan, so that an unmount during it shows.
        remembered: Its identity when its files were recorded; None if that is not known.
        n_recorded: Files recorded at or below it.
        n_missing: How many of them the scan missed.
        n_lost: How many of those are not known under another name, and were not seen to go.
    """
    name = display_path(root)
    if now is None:
        return Judgement("vanished", f"{name} cannot be reached; its files are kept as they are")
    if n_missing == 0:
        return Judgement("ok")
    # The inode is left out: a folder removed and made again by hand, on the same file system, is what it seems.
    moved = remembered is not None and (now.device, now.mount) != (remembered.device, remembered.mount)
    if moved and n_missing >= n_recorded:
        return Judgement(
            "held", f"{name} is on another file system than before; all its {n_recorded} files are missing"
        )
    if n_lost > HELD_ABOVE_FILES and n_lost > HELD_ABOVE_SHARE * n_recorded:
        return Judgement("held", f"{n_lost} of {n_recorded} files in {name} are missing at once")
    return Judgement("ok")
