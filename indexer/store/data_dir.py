"""Where everything is kept, and who holds it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.errors import StoreError, StoreFull, StoreLocked

# SQLite's write-ahead log needs shared memory, which network file systems do not give. Type names as the kernel lists them.
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "ncpfs"})


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that serves a store, and the address of its API if it has one."""

    pid: int
    url: str | None


class DataDir:
    """The layout below `path`. Nothing is made until it is locked.

    Attributes:
        path: The directory.
        catalogue: The catalogue's database.
        features: The feature cache's folder.
        index: Snapshots, a folder for each embedding space.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.catalogue = path / "catalogue.db"
        self.features = path / "features"
        self.index = path / "index"
        self._lock_file = path / "lock"
        self._descriptor: int | None = None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Make the directory if need be and hold it for as long as the context lasts, whatever ends the process.

        Raises:
            StoreLocked: Another process holds it; names its pid.
            StoreFull: It cannot be made or written.
            StoreError: It is on a network file system.
        """
        self._make()
        descriptor = self._open_lock()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._locked() from None
            self._descriptor = descriptor
            self._write({"pid": os.getpid(), "started": time.time(), "url": None})
            yield
            os.ftruncate(descriptor, 0)
        finally:
            self._descriptor = None
            os.close(descriptor)

    def publish(self, url: str) -> None:
        """Tell other commands where the API listens. Only while this object holds the lock."""
        self._write({"pid": os.getpid(), "started": time.time(), "url": url})

    def holder(self) -> Holder | None:
        """Who holds the lock now; None when nobody does, whatever an earlier holder left in the file."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as e:
            raise StoreError(f"store.dir: {self._lock_file} cannot be read: {e.strerror}") from e
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(descriptor)
        finally:
            os.close(descriptor)
        return None

    def _make(self) -> None:
        try:
            for folder in (self.path, self.features, self.index):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as e:
            raise StoreFull(f"store.dir: {self.path} cannot be made: {e.strerror}; name another folder") from e
        kind = _file_system(self.path)
        if kind in NETWORK_FILE_SYSTEMS:
            raise StoreError(
                f"store.dir: {self.path} is on a network file system ({kind}), which cannot hold a database safely; "
                "name a folder on a local disk"
            )

    def _open_lock(self) -> int:
        try:
            return os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise StoreFull(f"store.dir: {self._lock_file} cannot be written: {e.strerror}; mend its permissions") from e

    def _locked(self) -> StoreLocked:
        holder = self.holder()
        pid = holder.pid if holder else None
        who = f"process {pid}" if pid else "another process"
        return StoreLocked(f"store.dir: {self.path} is in use by {who}; stop it (indexer stop) or name another folder", pid)

    def _write(self, content: dict[str, object]) -> None:
        assert self._descriptor is not None, "only the holder writes"
        data = json.dumps(content).encode()
        os.pwrite(self._descriptor, data.ljust(256), 0)  # one write of a fixed length: never half of two contents


def _read_holder(descriptor: int) -> Holder | None:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(int(content["pid"]), content.get("url"))
    except (ValueError, KeyError, TypeError):
        return Holder(0, None)  # locked this very moment, not yet written


def _file_system(path: Path) -> str:
    """Type of the file system that holds `path`, as the kernel names it; empty where that cannot be known."""
    try:
        device = os.stat(path).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                fields = line.split()
                if fields[2] == wanted:
                    return fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    return ""
