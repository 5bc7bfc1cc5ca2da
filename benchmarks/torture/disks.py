"""Disks whose power can be cut: what a store would find on them after that, while the process that writes goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from benchmarks.torture import vfs

_PAGE_BYTES = 4096
_IMAGE_BYTES = 96 << 20


class Disk(Protocol):
    """Holds a store that a child process writes.

    Attributes:
        store: The store's folder.
        prepare: Called first in the child.
    """

    store: Path

    @property
    def prepare(self) -> Callable[[], None]: ...

    def cut(self, pid: int, rng: random.Random) -> contextlib.AbstractContextManager[Path]:
        """A copy of the store as a power cut at this moment would leave it; the process is halted meanwhile."""
        ...

    def close(self) -> None: ...


def memory() -> Path:
    """A folder whose writes cost no disk: the machine's memory where it can be had."""
    shared = Path("/dev/shm")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


@contextlib.contextmanager
def halted(pid: int) -> Iterator[None]:
    """Every thread of a process stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while any(_state(Path(task)) not in "TtZX" for task in Path(f"/proc/{pid}/task").iterdir()):
            os.sched_yield()
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


class ImageDisk:
    """A small ext4 in a file, mounted by loop (root only); a cut is a copy of the file.

    The copy holds what has reached the block layer: whatever still waits in ext4's page cache is lost, as in a power
    cut. What it cannot show is a drive that keeps what it was told to write in a cache of its own, in another order;
    `ShadowDisk` does that.
    """

    def __init__(self, folder: Path) -> None:
        self._image, self._copy = folder / "disk.img", folder / "copy.img"
        self._mount, self._seen = folder / "disk", folder / "seen"
        for path in (self._mount, self._seen):
            path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-m", "0", self._image)
        _run("mount", "-o", "loop,data=ordered,barrier=1", self._image, self._mount)
        self.store = self._mount / "data"

    @property
    def prepare(self) -> Callable[[], None]:
        return _nothing

    @contextlib.contextmanager
    def cut(self, pid: int, rng: random.Random) -> Iterator[Path]:  # the kernel is random enough
        with halted(pid):
            while True:
                before = self._n_written()
                _run("cp", "--sparse=always", self._image, self._copy)
                if self._n_written() == before:
                    break  # no block was written while they were copied
        _run("mount", "-o", "loop,data=ordered", self._copy, self._seen)
        try:
            yield self._seen / "data"
        finally:
            _run("umount", self._seen)

    def close(self) -> None:
        _run("umount", self._mount)

    def _n_written(self) -> str:
        device = os.stat(self._mount).st_dev
        return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text()


def can_mount() -> bool:
    """Whether this process may mount a file."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        return False
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        try:
            ImageDisk(Path(folder)).close()
        except (OSError, subprocess.CalledProcessError):
            return False
    return True


class ShadowDisk:
    """An ordinary folder beside which a shadow is kept of what was synced; needs nobody's permission.

    After a cut a file holds what it held when it was last synced; of what was written since, each page may be there or
    not. A name is there if its folder was synced; what changed in a folder since is there as a whole or not at all.
    (Pillai et al., All File Systems Are Not Created Equal, OSDI 2014, call such states what an application must bear.)
    """

    def __init__(self, folder: Path) -> None:
        self.store, self._shadow, self._seen = folder / "data", folder / "shadow", folder / "seen"
        self.store.mkdir()
        for path in ("inodes", "names", "graves"):
            (self._shadow / path).mkdir(parents=True)

    @property
    def prepare(self) -> Callable[[], None]:
        return partial(_keep_shadow, os.fspath(self.store), os.fspath(self._shadow))

    @contextlib.contextmanager
    def cut(self, pid: int, rng: random.Random) -> Iterator[Path]:
        shutil.rmtree(self._seen, ignore_errors=True)
        with halted(pid):
            self._leave(self.store, self._seen, rng)
        yield self._seen

    def close(self) -> None: ...

    def _leave(self, real: Path, left: Path, rng: random.Random) -> None:
        """What is left of a folder."""
        left.mkdir()
        now = _listing(real)
        synced = self._shadow / "names" / str(real.stat().st_ino)
        durable = json.loads(synced.read_text()) if synced.exists() else {}
        names = now if rng.random() < 0.3 else durable
        places = {inode: real / name for name, (inode, _) in now.items()}
        for name, (inode, is_folder) in names.items():
            place = places.get(inode, self._shadow / "graves" / str(inode))
            if is_folder and place.is_dir():
                self._leave(place, left / name, rng)
            elif not is_folder:
                (left / name).write_bytes(self._content(inode, place, rng))

    def _content(self, inode: int, place: Path, rng: random.Random) -> bytes:
        blob = self._shadow / "inodes" / str(inode)
        synced = blob.read_bytes() if blob.exists() else b""
        written = place.read_bytes() if place.exists() else synced
        luck = rng.random()
        if luck < 0.5 or written == synced:
            return synced
        return written if luck < 0.6 else _torn(synced, written, rng)


def _torn(synced: bytes, written: bytes, rng: random.Random) -> bytes:
    """Some pages of one, some of the other; what neither has is zero."""
    n_bytes = rng.choice([len(synced), len(written)])
    pages = []
    for start in range(0, n_bytes, _PAGE_BYTES):
        end = min(start + _PAGE_BYTES, n_bytes)
        pages.append(rng.choice([synced, written])[start:end].ljust(end - start, b"\0"))
    return b"".join(pages)


# ---------------------------------------------------------------- in the child


def _keep_shadow(store: str, shadow: str) -> None:
    """From now on every sync of a file or folder below `store` is noted, and not done: that is the shadow's part."""
    keeper = _Shadow(store, shadow)
    for name in ("unlink", "remove"):
        setattr(os, name, partial(keeper.removing, getattr(os, name)))
    for name in ("rename", "replace"):
        setattr(os, name, partial(keeper.renaming, getattr(os, name)))
    os.fsync = partial(keeper.syncing, os.fsync)
    vfs.watch(keeper.sqlite)


class _Shadow:
    def __init__(self, store: str, shadow: str) -> None:
        self._store, self._shadow = store, shadow
        self._rename, self._lock = os.rename, threading.Lock()

    def syncing(self, really: Callable[[int], None], descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = os.readlink(f"/proc/self/fd/{number}")
        if not self._is_ours(path):
            really(number)
        elif os.path.isdir(path):
            self._note_names(path)
        else:
            self._note_content(path)

    def sqlite(self, call: vfs.Call, path: str) -> int | None:
        if call != "sync":
            return None
        self._note_content(path)
        folder = os.path.dirname(path)
        if not os.path.exists(self._of_folder(folder)) or path.endswith(("-wal", "-journal")):
            self._note_names(folder)  # SQLite syncs the folder of a log that it has just made
        return vfs.OK

    def removing(self, really: Callable[..., None], path: Any, **options: Any) -> None:
        self._bury(path)
        really(path, **options)

    def renaming(self, really: Callable[..., None], source: Any, target: Any, **options: Any) -> None:
        self._bury(target)
        really(source, target, **options)

    def _is_ours(self, path: str) -> bool:
        return path == self._store or path.startswith(self._store + os.sep)

    def _bury(self, path: Any) -> None:
        """Keep what loses its name: a cut may bring it back, and its inode must not become another file's."""
        if self._is_ours(os.path.abspath(os.fsdecode(path))):
            with contextlib.suppress(OSError):
                os.link(path, f"{self._shadow}/graves/{os.stat(path).st_ino}")

    def _of_folder(self, folder: str) -> str:
        return f"{self._shadow}/names/{os.stat(folder).st_ino}"

    def _note_names(self, folder: str) -> None:
        self._put(self._of_folder(folder), json.dumps(_listing(Path(folder))).encode())

    def _note_content(self, path: str) -> None:
        self._put(f"{self._shadow}/inodes/{os.stat(path).st_ino}", Path(path).read_bytes())

    def _put(self, path: str, data: bytes) -> None:
        """Whole or not at all, whenever the process is halted."""
        with self._lock:
            Path(path + ".new").write_bytes(data)
            self._rename(path + ".new", path)


def _listing(folder: Path) -> dict[str, tuple[int, bool]]:
    return {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(folder)}


def _nothing() -> None: ...


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
