"""What waits before the encoders, who takes it, and what one who has asked is to do next."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, Protocol, TypeVar

from indexer.types import Pixels

T = TypeVar("T")


class Taker(Protocol):
    """What the desk needs to know of the thread that owns an encoder.

    Attributes:
        is_wanted: Whether it is to have an encoder at all.
        is_open: Whether it has one.
        is_lost: Whether it has none, though it is not for want of work.
        is_silent: Whether its device has not answered for so long that it is counted out; kept by the desk.
        silent_s: Seconds since its device was asked for what it has not answered; 0 where it owes nothing.
        rests_s: Seconds until a lost device is tried again.
        batch_size: Pictures that it may take at once.
        pace_s: What a picture takes it, seconds.
    """

    is_wanted: bool
    is_silent: bool

    @property
    def silent_s(self) -> float: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def is_lost(self) -> bool: ...
    @property
    def rests_s(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def pace_s(self) -> float: ...


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One picture, or one list of texts, and who waits for it."""

    item: T
    n: int
    came_at: float
    future: Future[Any] = field(default_factory=Future)
    n_lost: int = 0
    """How often a device was lost with this one in a batch."""
    lost_by: set[Taker] = field(default_factory=set)
    """Whose devices those were."""
    holder: Taker | None = None
    """Who is to answer it; an answer of another comes too late."""

    def start(self) -> bool:
        """False where nobody wants it any more. From now on it cannot be cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()


class Act(Enum):
    """What a taker does next."""

    ENCODE = auto()
    OPEN = auto()
    """Get an encoder in place of the lost one."""
    TRY = auto()
    """Time a batch of nobody's pictures."""
    LEAVE = auto()
    """Give the device's memory back: there is no work, or the encoder is one too many."""
    END = auto()


@dataclass(frozen=True, slots=True)
class Turn:
    """What a taker does next, and with what.

    Attributes:
        is_bulk: Whether the pictures are nobody's question.
        may_pass_on: Whether another device is there to take what this one is lost with.
    """

    act: Act
    texts: Sequence[Job[Sequence[str]]] = ()
    pictures: Sequence[Job[Pixels]] = ()
    is_bulk: bool = False
    may_pass_on: bool = False
