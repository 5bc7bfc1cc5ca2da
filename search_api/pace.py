"""How fast one client may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

SAVED_S: Final = 5.0
"""Who has asked nothing for so long may ask that many seconds' worth at once: a page shows many pictures."""

MAX_CLIENTS: Final = 10_000
"""Clients that are remembered; then those that asked longest ago are forgotten, and begin anew."""


class Pace:
    """Lets each client through at `per_s` requests a second, after up to `SAVED_S` seconds' worth at once.

    For each client one time is kept, by which all that it asked would have been due at an even pace (the generic cell
    rate algorithm, ITU-T I.371): no timers, and nothing to refill. Clients are addresses; all of one IPv6 network of 64
    bits are one client, for whoever has one of these has all of them. Belongs to the event loop.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = 1 / per_s
        self._ahead_s = max(SAVED_S - self._every_s, 0.0)
        self._clock = clock
        self._due_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """0.0 when a request of this client may pass, and is counted; else how long it should wait, seconds."""
        client = network_of(address)
        now = self._clock()
        due = max(self._due_at.get(client, now), now)
        if due - now > self._ahead_s:
            return due - now - self._ahead_s
        self._due_at[client] = due + self._every_s
        self._due_at.move_to_end(client)
        if len(self._due_at) > MAX_CLIENTS:
            self._due_at.popitem(last=False)
        return 0.0


def network_of(address: str) -> str:
    """What one client has of the address space: an IPv4 address, or 64 bits of an IPv6 one."""
    if ":" not in address or "." in address:  # IPv4, also as IPv6 writes it
        return address.rpartition(":")[2]
    head, gap, tail = address.partition("%")[0].partition("::")
    groups = head.split(":") if head else []
    if gap:
        last = tail.split(":") if tail else []
        groups += ["0"] * (8 - len(groups) - len(last)) + last
    return ":".join(group.lstrip("0") or "0" for group in groups[:4])
