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

# SQLite's write-ahead log needs shared memory, which network file systems do not give. Names as the kernel lists them.
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "ncpfs"})

_CONTENT_BYTES = 512

# Whoever asks for the holder takes the lock for an instant. Such an instant must not keep a server from starting.
_TRIES, _TRY_AGAIN_S = 20, 0.005


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
        tuned: What was measured of batches.
        tuned_index: What was measured of searches.
        gated: What was measured of precisions.
        standing: Standing queries.
        looks: What was seen of pictures in search of duplicates.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.catalogue = path / "catalogue.db"
        self.features = path / "features"
        self.index = path / "index"
        self.tuned = path / "tuned.json"
        self.tuned_index = path / "tuned-index.json"
        self.gated = path / "gated.json"
        self.standing = path / "standing.json"
        self.looks = path / "looks"
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
            self._take(descriptor)
            self._descriptor = descriptor
            self._write(None)
            yield
            os.ftruncate(descriptor, 0)
        finally:
            self._descriptor = None
            os.close(descriptor)

    def require_free(self) -> None:
        """Refuse at once what `lock` would refuse later, when much has been imported and opened for nothing.

        Raises:
            StoreLocked: Another process holds the lock; names its pid.
        """
        holder = self.holder()
        if holder is not None:
            raise self._locked(holder.pid)

    def publish(self, url: str) -> None:
        """Tell other commands where the API listens. Only while this object holds the lock."""
        self._write(url)

    def holder(self) -> Holder | None:
        """Who holds the lock now; None when nobody does, whatever an earlier holder left in the file.

        The pid is 0 when the holder has only just come, or is no process that can be seen from here (in a container).
        """
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
            _sync(self.path)
            with contextlib.suppress(PermissionError):  # the folder above may be one that only can be passed through
                _sync(self.path.parent)
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
            raise StoreFull(
                f"store.dir: {self._lock_file} cannot be written: {e.strerror}; mend its permissions"
            ) from e

    def _take(self, descriptor: int) -> None:
        for _ in range(_TRIES):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self.holder()
            if holder is not None:
                raise self._locked(holder.pid)
            time.sleep(_TRY_AGAIN_S)  # it was no holder, but someone who looked for one
        raise self._locked(0)

    def _locked(self, pid: int) -> StoreLocked:
        who = f"process {pid}" if pid else "another process"
        return StoreLocked(
            f"store.dir: {self.path} is in use by {who}; stop it (indexer stop) or name another folder", pid or None
        )

    def _write(self, url: str | None) -> None:
        assert self._descriptor is not None, "only the holder writes"
        pid = os.getpid()
        content = {"pid": pid, "born": _born(pid), "started": time.time(), "url": url}
        # One write of a fixed length: never half of two contents.
        os.pwrite(self._descriptor, json.dumps(content).encode().ljust(_CONTENT_BYTES), 0)


def _read_holder(descriptor: int) -> Holder:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        pid, born, url = int(content["pid"]), content["born"], content["url"]
    except (ValueError, KeyError, TypeError):
        return Holder(0, None)  # locked this very moment, not yet written
    return Holder(pid if _born(pid) == born else 0, url)


def _born(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None where that cannot be known.

    A number alone does not name a process: another may have taken it over, and a container has numbers of its own.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
