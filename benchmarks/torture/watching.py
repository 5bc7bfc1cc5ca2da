"""Floods, moved folders, lost roots and odd files: what is searchable equals the folders soon after they are quiet."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.report import Row, at_most, skipped
from benchmarks.torture.daemon import Daemon
from benchmarks.torture.stub import BAD
from indexer.rescan import Rescans

GOAL_S = 10.0
_FLOOD = 60_000


class Scene:
    """A daemon over a folder, and what a change came to.

    Attributes:
        quiet_s: Seconds from the end of the last change until all that follows from the folders held.
        n_encoded: Pictures encoded because of it.
        found: In what the daemon still differs after the goal's time and more.
    """

    def __init__(self, root: Path, prepare: Callable[[], None] | None = None) -> None:
        self.daemon = Daemon(root, prepare=prepare).start()
        self.pictures = self.daemon.pictures
        self.quiet_s = 0.0
        self.n_encoded = 0
        self.found: list[str] = []
        self.settle()

    def change(self, *steps: Callable[[], object]) -> Scene:
        """Do these one after another, then wait until the daemon agrees with the folders again."""
        before = self.daemon.ask("stats").encoded_total
        for step in steps:
            step()
        self.settle()
        self.n_encoded = self.daemon.ask("stats").encoded_total - before
        return self

    def settle(self, within_s: float = 2 * GOAL_S) -> None:
        """Wait until the daemon agrees with the folders, but no longer than this from when it came to rest."""
        began = time.monotonic()
        self.daemon.ask("rest")
        deadline = time.monotonic() + within_s
        while True:
            self.daemon.ask("rest")
            asked = time.monotonic()
            self.found = self.daemon.ask("check")
            if not self.found or asked > deadline:
                self.quiet_s = asked - began
                return
            time.sleep(0.1)

    def rows(self, id: str, what: str, *, encoded_at_most: int | None = None) -> Iterator[Row]:
        for line in self.found:
            print(line)
        yield at_most(id + "a", f"{what}: unlike the folders", len(self.found), "findings", 0)
        yield at_most(id + "b", f"{what}: until they agree", self.quiet_s, "s", GOAL_S)
        if encoded_at_most is not None:
            yield at_most(id + "c", f"{what}: pictures encoded", self.n_encoded, "", encoded_at_most)


def deaf_to_folders() -> None:
    """A fault put in on purpose, in the child: nobody looks at a folder that has gone."""
    Rescans.request = lambda self, folder, reason: None  # type: ignore[method-assign]


def run(args: argparse.Namespace) -> Iterator[Row]:
    n = args.rounds or _FLOOD
    for scenario in (flood, renames, folder_out_and_in, root_made_anew, root_unmounted, odd_files):
        with tempfile.TemporaryDirectory() as root:
            scene: Scene | None = None
            try:
                scene = Scene(Path(root))
                yield from scenario(scene, n)
            finally:
                if scene is not None:
                    scene.daemon.kill()


def flood(scene: Scene, n: int) -> Iterator[Row]:
    """So many files at once that the kernel's queue of events runs over: the daemon is stopped while they come."""
    process = scene.daemon.process.pid
    scene.change(
        lambda: os.kill(process, signal.SIGSTOP),
        lambda: write(scene.pictures / "flood", n),
        lambda: os.kill(process, signal.SIGCONT),
    )
    yield from scene.rows("R4a", f"{n:,} new files, more than the event queue holds", encoded_at_most=n)


def renames(scene: Scene, n: int) -> Iterator[Row]:
    n = max(1, n // 6)
    scene.change(lambda: write(scene.pictures / "a", n))
    names = [f"{i}.jpg" for i in range(n)]
    (scene.pictures / "b").mkdir()
    scene.change(lambda: [(scene.pictures / "a" / name).rename(scene.pictures / "b" / name) for name in names])
    yield from scene.rows("R4b", f"{n:,} renames", encoded_at_most=0)


def folder_out_and_in(scene: Scene, n: int) -> Iterator[Row]:
    n = max(1, n // 60)
    write(scene.pictures / "stays", n)
    scene.change(lambda: write(scene.pictures / "moves" / "deep", n))
    away = scene.daemon.root / "away"
    scene.change(lambda: (scene.pictures / "moves").rename(away))
    yield from scene.rows("R4c", f"a folder of {n:,} files moved out", encoded_at_most=0)
    scene.change(lambda: away.rename(scene.pictures / "back"))
    yield from scene.rows("R4d", f"a folder of {n:,} files moved back in", encoded_at_most=0)


def root_made_anew(scene: Scene, n: int) -> Iterator[Row]:
    n = max(1, n // 60)
    scene.change(lambda: write(scene.pictures, n))
    scene.change(
        lambda: shutil.rmtree(scene.pictures),
        lambda: time.sleep(1.0),
        lambda: write(scene.pictures, n // 2),
        lambda: write(scene.pictures, n, first=10_000_000),
    )
    yield from scene.rows(
        "R4e", f"the watched folder deleted and made again with {n + n // 2:,} files", encoded_at_most=n
    )


def root_unmounted(scene: Scene, n: int) -> Iterator[Row]:
    """The watched folder is a mounted disk that goes away and comes back."""
    n = max(1, n // 60)
    scene.daemon.stop()
    disk = scene.daemon.root / "disk"
    write(disk, n)
    if not mount(disk, scene.pictures):
        yield skipped("R4f", "a watched disk unmounted and mounted again", "needs root")
        return
    try:
        scene.daemon.start()
        scene.settle()
        before = scene.daemon.ask("stats")
        subprocess.run(["umount", "--lazy", scene.pictures], check=True)
        deadline = time.monotonic() + GOAL_S
        while not (away := scene.daemon.ask("stats")).notices and time.monotonic() < deadline:
            time.sleep(0.05)
        scene.daemon.ask("rescan")
        scene.daemon.ask("rest")
        kept = scene.daemon.ask("stats")
        yield at_most(
            "R4f", f"files lost of {n:,} when the watched disk is unmounted", before.files - kept.files, "", 0
        )
        yield at_most("R4g", "notices that tell nothing of it", int(not (away.notices or kept.notices)), "", 0)
        mount(disk, scene.pictures)
        scene.change()
        yield from scene.rows("R4h", "the watched disk mounted again", encoded_at_most=0)
    finally:
        subprocess.run(["umount", "--lazy", scene.pictures], check=False, capture_output=True)


def odd_files(scene: Scene, n: int) -> Iterator[Row]:
    scene.change(lambda: write_odd_files(scene.pictures))
    yield from scene.rows("R4i", "loops of links, pipes, devices, odd names, empty and sparse files")


def write(folder: Path, n: int, first: int = 0) -> None:
    """So many files, each with a content of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        (folder / f"{i}.jpg").write_bytes(b"picture %d" % i)


def write_odd_files(folder: Path) -> None:
    """One of everything that a file system can hold and nobody expects."""
    (folder / "loop").symlink_to(folder)
    (folder / "ring-1").symlink_to(folder / "ring-2")
    (folder / "ring-2").symlink_to(folder / "ring-1")
    (folder / "dangling.jpg").symlink_to(folder / "nothing")
    (folder / "plain.jpg").write_bytes(b"plain")
    (folder / "linked.jpg").symlink_to(folder / "plain.jpg")
    os.link(folder / "plain.jpg", folder / "hard.jpg")
    os.mkfifo(folder / "pipe.jpg")
    with suppress(PermissionError):
        os.mknod(folder / "device.jpg", 0o600 | 0o020000, os.makedev(1, 5))
    os.makedirs(os.fsencode(folder) + b"/\xff\xfe caf\xe9")
    for name in (
        b"\xff.jpg",
        b"caf\xe9.jpg",
        "café.jpg".encode(),
        "cafe\u0301.jpg".encode(),
        b"new\nline.jpg",
        b"-rf.jpg",
    ):
        for place in (b"", b"/\xff\xfe caf\xe9"):
            path = os.fsencode(folder) + place + b"/" + name
            with open(path, "wb") as file:
                file.write(b"odd " + path[-20:])
    (folder / ("n" * 251 + ".jpg")).write_bytes(b"long name")
    (folder / "empty.jpg").touch()
    (folder / "bad.jpg").write_bytes(BAD)
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(50_000_000)
    deep = folder.joinpath(*(["deep"] * 60))
    write(deep, 2, first=20_000_000)


def mount(source: Path, target: Path) -> bool:
    """Mount a folder at another one, as a disk would be; False where that is not allowed."""
    return subprocess.run(["mount", "--bind", source, target], check=False, capture_output=True).returncode == 0
