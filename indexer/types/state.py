"""The state of a running engine, and the news of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indexer.types.measured import OperatingPoint
from indexer.types.memory import GpuMemory, Leak
from indexer.types.progress import Progress
from indexer.types.questions import Match
from indexer.types.verification import VerifyReport


@dataclass(frozen=True, slots=True)
class Stats:
    """The state of a running engine, for `/api/stats` and `indexer status`."""

    model: str
    fingerprint: str
    precision: str
    device: str
    started_at: float
    files: int
    indexed: int
    errors: int
    errors_by_reason: Mapping[str, int]
    pending: int
    """Paths known to be dirty and not yet committed."""
    oldest_pending_s: float
    encoded_total: int
    cache_hits_total: int
    removed_total: int
    generation: int
    index_bytes: int
    images_per_s: float
    """Encoded over the last ten seconds."""
    limited_by: str
    """The stage that sets the pace now: `idle`, `scan`, `settle`, `read`, `decode`, `encode` or `store`; `stopped`."""
    progress: tuple[Progress, ...]
    watching: Mapping[str, str]
    """State of each watched folder: `events`, `polling`, or what is wrong."""
    notices: tuple[str, ...]
    """What a person should know or do, one line each."""
    spaces: tuple[Mapping[str, Any], ...] = ()
    """Every embedding space that this store has an index of; one of them is `active`."""
    verify: VerifyReport | None = None
    """The last verification, also over restarts."""
    batch_size: int = 0
    """Pictures in a batch at most; 0 where no model is loaded."""
    leaks: tuple[Leak, ...] = ()
    """Memory that grows without end."""
    batch_size_from: str = ""
    """Where that number is from: `configured`, `tuned` or `recommended`."""
    point: OperatingPoint | None = None
    """How the index is searched; None: exactly."""
    queue: QueueState | None = None
    """The queue before the encoders; None where no model is loaded."""


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """One encoder, now.

    Attributes:
        device: Where it runs, as torch names it; several may run on one.
        state: `open`; `closed`, until there is work; `stopped`, because fewer are enough; `lost`.
        images_per_s: Encoded over the last ten seconds, queries' pictures included.
        busy_share: Share of them that it was at work, 0 to 1.
        batch_size: Pictures that its next batch may hold.
        encoded_total: Pictures from folders since the start.
        weights_bytes: The model's, on the device.
        trouble: Why it is lost.
    """

    device: str
    state: str
    images_per_s: float
    busy_share: float
    batch_size: int
    encoded_total: int
    weights_bytes: int
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queues before the encoder, now.

    Attributes:
        depth: Pictures and texts that wait.
        oldest_s: For how long the first of them has waited, seconds.
        images_per_s: Encoded over the last ten seconds.
        batch_size: Pictures that the next batch may hold.
        rejected_total: Queries refused since the start because too many waited.
        busy_share: Share of the last ten seconds that the encoders were at work, 0 to 1.
        limited_by: As in `Stats`.
        devices: Each encoder.
    """

    depth: int
    oldest_s: float
    images_per_s: float
    batch_size: int
    rejected_total: int
    busy_share: float
    limited_by: str = "idle"
    devices: tuple[DeviceLoad, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexNews:
    """What can be found now, and what has changed since this was told last.

    Attributes:
        indexed, files, pending, errors, generation: As in `Stats`.
        added: Ids that have become searchable, the newest last; at most fifty.
        removed: How many ids are searchable no more.
    """

    indexed: int
    files: int
    pending: int
    errors: int
    generation: int
    added: tuple[str, ...] = ()
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that listeners are told, under one of `TOPICS`."""

    topic: str
    data: IndexNews | QueueState | GpuMemory | Match


TOPICS = ("index", "queue", "gpu", "match")
"""`index` is told when something has changed, `queue` and `gpu` each second, `match` when a standing query has one."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether searches can be answered, and each check by name: `ok`, `warn: …` or `fail: …`."""

    ready: bool
    checks: Mapping[str, str]
