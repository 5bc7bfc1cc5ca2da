"""Whether somebody still has a file open for writing."""

from __future__ import annotations

import os
import signal
import sys

from indexer.types import FilePath

if sys.platform == "linux":
    import fcntl

    def has_writer(path: FilePath) -> bool:
        """Whether any process has this file open for writing, or mapped so; False where that cannot be known.

        The kernel grants a read lease (fcntl(2), F_SETLEASE) only on a file that nobody has open for writing. It is
        given back at once: an opener that comes in between waits for microseconds. Needs the file's owner or CAP_LEASE,
        and a file system with leases (not NFS, CIFS or FUSE).
        """
        try:
            # A FIFO or a file leased to another process must not hang the open.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except BlockingIOError:  # leased for writing (a file server's client may hold unwritten bytes)
            return True
        except OSError:
            return False
        try:
            # Who opens the file while we hold the lease has us signalled; SIGIO, the default, would end the process.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)  # close alone would not, if a fork holds a copy
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return False

else:

    def has_writer(path: FilePath) -> bool:  # noqa: ARG001 - other systems do not tell
        """Whether any process has this file open for writing; not known here."""
        return False
