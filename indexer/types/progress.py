"""Where a long task stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a long task stands: `index` (what has changed in the folders), `rebuild`, `reencode`, `verify`, ...

    `summary` and `error` are there at its end.
    """

    task: str
    running: bool
    n_done: int
    n_total: int
    rate_per_s: float
    eta_s: float | None
    summary: Mapping[str, int | float] = field(default_factory=dict)
    error: str = ""
