"""A loss that looks like an unmounted disk is not believed; one that looks like somebody's work is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import CapacityError
from indexer.types import FilePath
from indexer.watch.mounts import Mount, mount_of, mounts, mounts_below
from indexer.watch.roots import RootIdentity, identify, judge

ROOT = FilePath(b"/srv/photos")
BEFORE = RootIdentity(device=50, inode=2, mount=ROOT)
UNMOUNTED = RootIdentity(device=1, inode=77, mount=FilePath(b"/"))
BIND_UNMOUNTED = RootIdentity(device=50, inode=77, mount=FilePath(b"/"))
MADE_ANEW = RootIdentity(device=50, inode=99, mount=ROOT)


def verdict(now: RootIdentity | None, n_recorded: int, n_gone: int, before: RootIdentity | None = BEFORE) -> str:
    judgement = judge(ROOT, now, before, n_recorded, n_gone, n_gone)
    assert bool(judgement.reason) == (judgement.verdict != "ok")
    return judgement.verdict


def test_ordinary_deletions_are_believed() -> None:
    assert verdict(BEFORE, n_recorded=100, n_gone=100) == "ok"
    assert verdict(BEFORE, n_recorded=1_000_000, n_gone=150_000) == "ok"
    assert verdict(BEFORE, n_recorded=0, n_gone=0) == "ok"


def test_a_root_that_is_not_there_has_lost_nothing() -> None:
    assert verdict(None, n_recorded=5, n_gone=0) == "vanished"
    assert verdict(None, n_recorded=5, n_gone=5) == "vanished"


@pytest.mark.parametrize("now", [UNMOUNTED, BIND_UNMOUNTED])
def test_an_empty_mount_point_in_place_of_a_disk_is_held(now: RootIdentity) -> None:
    assert verdict(now, n_recorded=1, n_gone=1) == "held"
    assert verdict(now, n_recorded=10**6, n_gone=10**6) == "held"


def test_another_number_for_the_same_disk_is_no_loss() -> None:
    assert verdict(BEFORE._replace(device=51), n_recorded=100, n_gone=0) == "ok"
    assert verdict(BEFORE._replace(device=51), n_recorded=100, n_gone=3) == "ok"


def test_a_folder_removed_and_made_again_by_hand_is_what_it_seems() -> None:
    assert verdict(MADE_ANEW, n_recorded=100, n_gone=100) == "ok"


def test_many_files_missing_at_once_are_held_until_confirmed() -> None:
    assert verdict(BEFORE, n_recorded=5_000, n_gone=1_001) == "held"
    assert verdict(BEFORE, n_recorded=5_005, n_gone=1_001) == "ok"  # exactly a fifth
    assert verdict(BEFORE, n_recorded=1_000, n_gone=1_000) == "ok"
    assert verdict(MADE_ANEW, n_recorded=2_000, n_gone=2_000) == "held"
    assert verdict(BEFORE, n_recorded=2_000, n_gone=2_000, before=None) == "held"


@given(n_recorded=st.integers(0, 10**7), n_gone=st.integers(0, 10**7))
def test_a_root_exchanged_never_loses_everything(n_recorded: int, n_gone: int) -> None:
    if 0 < n_gone <= n_recorded:
        assert verdict(UNMOUNTED, n_recorded, n_recorded) == "held"
        assert verdict(None, n_recorded, n_gone) == "vanished"


def test_files_known_elsewhere_make_a_loss_smaller_but_no_other_disk_the_same() -> None:
    assert judge(ROOT, BEFORE, BEFORE, 4_000, 3_000, 900).verdict == "ok"
    assert judge(ROOT, UNMOUNTED, BEFORE, 4_000, 4_000, 900).verdict == "held"


def test_the_reason_names_folder_and_figures() -> None:
    reason = judge(ROOT, BEFORE, BEFORE, 4_000, 3_500, 3_000).reason
    assert "/srv/photos" in reason
    assert "3000 of 4000" in reason


def test_a_folder_is_identified_until_it_is_made_anew(tmp_path: Path) -> None:
    root = FilePath(os.fsencode(tmp_path / "root"))
    assert identify(root) is None
    os.mkdir(root)
    first = identify(root)
    assert first is not None
    assert first.device == os.stat(root).st_dev
    assert identify(root) == first
    os.rename(root, root + b".old")
    assert identify(root) is None
    os.mkdir(root)
    second = identify(root)
    assert second is not None
    assert (second.device, second.mount) == (first.device, first.mount)
    assert second.inode != first.inode
    os.rmdir(root)
    (tmp_path / "root").write_bytes(b"a file")
    assert identify(root) is None


# ---------------------------------------------------------------- the mount table

TABLE = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
40 27 0:50 / /mnt/my\040disk\134x rw - nfs4 server:/x rw
41 27 254:0 /data /srv/photos rw,relatime shared:1 master:2 - ext4 /dev/vda rw
42 41 0:51 / /srv/photos/usb rw - fuse.sshfs me@host: rw
43 27 0:52 / /srv rw - tmpfs tmpfs rw
44 43 0:53 / /srv rw - xfs /dev/vdb rw
"""


@pytest.fixture
def table(tmp_path: Path) -> Sequence[Mount]:
    file = tmp_path / "mountinfo"
    file.write_bytes(TABLE)
    return mounts(str(file))


def test_the_mount_of_a_folder_is_the_nearest_and_latest_above_it(table: Sequence[Mount]) -> None:
    def kind(path: bytes) -> tuple[bytes, str, bool]:
        mount = mount_of(FilePath(path), table)
        assert mount is not None
        return mount.point, mount.kind, mount.remote

    assert kind(b"/home") == (b"/", "ext4", False)
    assert kind(b"/srv/photos/a") == (b"/srv/photos", "ext4", False)
    assert kind(b"/srv/photosX") == (b"/srv", "xfs", False)
    assert kind(b"/mnt/my disk\\x/sub") == (b"/mnt/my disk\\x", "nfs4", True)
    assert kind(b"/srv/photos/usb/x") == (b"/srv/photos/usb", "fuse.sshfs", True)


def test_a_lack_of_descriptors_is_told_and_no_disk_seems_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str, mode: str) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(CapacityError, match="Too many open files"):
        mounts()


def test_mounts_inside_a_folder_are_found(table: Sequence[Mount]) -> None:
    assert [mount.id for mount in mounts_below(FilePath(b"/srv"), table)] == [41, 42]
    assert [mount.id for mount in mounts_below(FilePath(b"/srv/photos"), table)] == [42]
    assert mounts_below(FilePath(b"/srv/photos/usb"), table) == ()


@pytest.mark.parametrize(
    ("kind", "remote"),
    [("nfs", True), ("cifs", True), ("9p", True), ("fuse.rclone", True), ("fuse", True), ("virtiofs", True)]
    + [(kind, False) for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk", "zfs", "vfat")],
)
def test_file_systems_that_change_behind_our_back_are_known(kind: str, remote: bool) -> None:
    assert Mount(1, ROOT, kind).remote == remote


def test_without_a_mount_table_there_are_no_mounts(tmp_path: Path) -> None:
    assert mounts(str(tmp_path / "none")) == ()
    assert mount_of(ROOT, []) is None


REAL = """
import os, subprocess, sys
from indexer.watch.roots import identify, judge
disk, root = os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2])
os.mkdir(disk); os.mkdir(root)
mount = lambda *words: subprocess.run(["mount", *words], check=True)
umount = lambda: subprocess.run(["umount", root], check=True)
empty = identify(root)
mount("--bind", disk, root)
bound = identify(root)
umount()
assert identify(root) == empty
assert judge(root, identify(root), bound, 3, 3, 3).verdict == "held"
mount("-t", "tmpfs", "none", root)
memory = identify(root)
assert judge(root, memory, bound, 3, 3, 3).verdict == "held"
umount()
assert judge(root, identify(root), memory, 3, 3, 3).verdict == "held"
assert judge(root, identify(root), empty, 3, 3, 3).verdict == "ok"
print("held")
"""


def test_a_real_unmount_is_held(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount, not even in a namespace of one's own")
    command = [unshare, "-rm", sys.executable, "-c", REAL, str(tmp_path / "disk"), str(tmp_path / "root")]
    outcome = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert outcome.stdout == b"held\n", outcome.stderr
