"""Those who listen are told what happens: changes a few times a second, states each second."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from indexer.errors import InputError
from indexer.types import ContentHash, Event

logger = logging.getLogger(__name__)

N_NEWEST: Final = 50
"""Ids that one event carries; who wants more asks for them."""


class Changes:
    """What has become searchable and what is so no more, until somebody takes it. Safe in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._added: deque[ContentHash] = deque(maxlen=N_NEWEST)
        self._n_removed = 0
        self.also_tell: Callable[[Sequence[ContentHash]], None] = lambda _added: None
        """Called with what was added; cheap."""

    def note(self, added: Sequence[ContentHash], n_removed: int) -> None:
        """These contents are searchable from now on, and so many others no more."""
        with self._lock:
            self._added.extend(added)
            self._n_removed += n_removed
        self.also_tell(added)

    def take(self) -> tuple[tuple[str, ...], int]:
        """Ids added, the newest last, and how many were removed, since this was last called."""
        with self._lock:
            added, n_removed = tuple(hash.hex() for hash in self._added), self._n_removed
            self._added.clear()
            self._n_removed = 0
            return added, n_removed


@dataclass(frozen=True, slots=True)
class Topic:
    """Something that can be listened to.

    Attributes:
        every_s: How often it is looked at while somebody listens.
        state: What one is told who has just come.
        news: What all are told; None where there is nothing new. By default the state.
    """

    every_s: float
    state: Callable[[], Any]
    news: Callable[[], Any] | None = None


@dataclass(eq=False, slots=True)
class _Listener:
    topics: frozenset[str]
    tell: Callable[[Event], None]
    unmet: set[str] = field(default_factory=set)
    """Topics whose state it has not been told yet."""


class Live:
    """One thread that looks at the topics that somebody listens to, and tells. It sleeps while nobody does.

    Args:
        topics: By name.
    """

    def __init__(self, topics: Mapping[str, Topic]) -> None:
        self._topics = topics
        self._due_at = dict.fromkeys(topics, 0.0)
        self._listeners: list[_Listener] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def listen(self, topics: Collection[str], tell: Callable[[Event], None]) -> Callable[[], None]:
        """As `indexer.ports.Engine.listen`."""
        unknown = sorted(set(topics) - set(self._topics))
        if unknown:
            raise InputError(f"there is no topic {', '.join(unknown)}; there are {', '.join(self._topics)}")
        listener = _Listener(frozenset(topics), tell, set(topics))
        with self._changed:
            self._listeners.append(listener)
            self._changed.notify()
        return lambda: self._drop(listener)

    def publish(self, topic: str, data: Any) -> None:
        """Tell an event now, in the calling thread."""
        with self._changed:
            listeners = [listener for listener in self._listeners if topic in listener.topics]
        self._tell(Event(topic, data), listeners)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while self._wait():
            for name, topic in self._topics.items():
                try:
                    self._look(name, topic)
                except Exception:  # a worker's loop: the next look may go better
                    logger.exception("the state of %s cannot be told", name)

    def _wait(self) -> bool:
        """Until a topic is due or somebody comes; False at the end."""
        with self._changed:
            while not self._closed:
                if any(listener.unmet for listener in self._listeners):
                    return True
                wanted = {name for listener in self._listeners for name in listener.topics}
                wait_s = min((self._due_at[name] - time.monotonic() for name in wanted), default=None)
                if wait_s is not None and wait_s <= 0:
                    return True
                self._changed.wait(wait_s)
            return False

    def _look(self, name: str, topic: Topic) -> None:
        with self._changed:
            listeners = [listener for listener in self._listeners if name in listener.topics]
            new = {listener for listener in listeners if name in listener.unmet}
            for listener in new:
                listener.unmet.discard(name)
        old = set(listeners) - new
        if (old and time.monotonic() >= self._due_at[name]) or (new and not old):
            self._due_at[name] = time.monotonic() + topic.every_s
            news = (topic.news or topic.state)()  # what happened while nobody listened is told to nobody
            self._tell(Event(name, news), old)
        if new:
            self._tell(Event(name, topic.state()), new)

    def _tell(self, event: Event, listeners: Collection[_Listener]) -> None:
        for listener in listeners if event.data is not None else ():
            try:
                listener.tell(event)
            except Exception:  # one listener's trouble is not the others'
                logger.warning("a listener failed and is told no more", exc_info=True)
                self._drop(listener)

    def _drop(self, listener: _Listener) -> None:
        with self._changed:
            if listener in self._listeners:
                self._listeners.remove(listener)
