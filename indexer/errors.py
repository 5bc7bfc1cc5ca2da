"""Everything that is raised on purpose.

    IndexerError                          CLI exit  HTTP
    ├─ ConfigError                            2      -
    ├─ InputError                             1     422
    │  ├─ NotFound                            1     404
    │  ├─ NotTuned                            1     404
    │  ├─ ImageRefused                        1     413 · 415 · 422 by its reason
    │  └─ NoTextTower                         1     422
    ├─ ModelError                             1     503
    │  ├─ ModelUnavailable                    1     503
    │  └─ CheckpointMismatch                  1     503
    ├─ StoreError                             1     503
    │  ├─ StoreLocked                         4      -
    │  ├─ StoreTooNew                         1      -
    │  ├─ StoreCorrupt                        1     503
    │  └─ StoreFull                           1     503
    ├─ CapacityError                          1     503
    │  ├─ Overloaded                          1     503 with Retry-After
    │  └─ DeviceOutOfMemory                   1     503
    ├─ DeviceFailed                           1     503
    ├─ Stopped                                1     503
    ├─ FileChanged                            -      -   (inside: the path becomes dirty again)
    └─ Unreachable                            4      -

Rooms raise, and wrap what their library raises; only the doors (CLI, HTTP) translate. A message names what was wrong
and what to do. What goes wrong with one file of many is data (`indexer.types.Refused`), not an exception.
"""

from __future__ import annotations

import errno

from indexer.types import Reason

SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of the system that say nothing about a file, only that the machine lacks what it takes to look at it."""


class IndexerError(Exception):
    """Root of everything that this program raises on purpose."""


class ConfigError(IndexerError):
    """A setting cannot be used. The message starts with its key and says how to mend it."""


class InputError(IndexerError):
    """A question or an upload cannot be answered as it was put."""


class NotFound(InputError):
    """No live image has this id."""


class NotTuned(InputError):
    """No batch was measured on this device with this model."""


class ImageRefused(InputError):
    """A picture could not be decoded or encoded.

    Attributes:
        hash: Of its bytes, where several were asked about; else None.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.hash: bytes | None = None

    def __reduce__(self) -> tuple[type[ImageRefused], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


class NoTextTower(InputError):
    """The checkpoint holds the image tower alone, so words cannot be searched."""


class ModelError(IndexerError):
    """The model cannot be used."""


class ModelUnavailable(ModelError):
    """The weights are neither here nor to be had. The message tells the ways out."""


class CheckpointMismatch(ModelError):
    """The weights do not fit the architecture."""


class StoreError(IndexerError):
    """The data directory cannot serve."""


class StoreLocked(StoreError):
    """Another process writes to this store."""

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class StoreTooNew(StoreError):
    """A later version of the program wrote this store."""


class StoreCorrupt(StoreError):
    """Stored bytes fail their check."""


class StoreFull(StoreError):
    """No room, or no permission, to write. Nothing that was acknowledged is lost."""


class CapacityError(IndexerError):
    """More was asked than fits now."""


class Overloaded(CapacityError):
    """The queue is full; try again in `retry_after_s`."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeviceOutOfMemory(CapacityError):
    """A batch did not fit into the device's memory."""


class DeviceFailed(IndexerError):
    """The device answers no more; its owner must be replaced."""


class Stopped(IndexerError):
    """The service is going down and takes no more work."""


class FileChanged(IndexerError):
    """A file is not, or did not stay, what its stamp said."""


class Unreachable(IndexerError):
    """No server answers at the address."""


def may_pass(error: Exception) -> bool:
    """Whether waiting may cure it: the store or the machine is to blame, and no file."""
    if isinstance(error, OSError):
        return error.errno in SHORTAGE
    return isinstance(error, StoreError | CapacityError) and not isinstance(error, StoreCorrupt)
