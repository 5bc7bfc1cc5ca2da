"""What Prometheus reads, in its text format (https://prometheus.io/docs/instrumenting/exposition_formats).

Nearly all of it is a state that the engine knows at the moment of asking. What is left to be counted here are answers
and the time of searches, so that a library, with its registry of globals and a lock for each sample, would replace no
more than the few lines of `Page`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from indexer.types import SearchResult

MEDIA_TYPE: Final = "text/plain; version=0.0.4"

SEARCH_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Labels = Mapping[str, str]


class Histogram:
    """How often something took how long. Safe in any thread."""

    def __init__(self, bounds: Sequence[float] = SEARCH_BUCKETS_S) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def read(self) -> tuple[list[tuple[str, int]], float]:
        """Upper bounds, each with how many were at most that, and the sum of all."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        cumulated, n = [], 0
        for bound, count in zip([*map(_number, self._bounds), "+Inf"], counts, strict=True):
            n += count
            cumulated.append((bound, n))
        return cumulated, total


class Counts:
    """What is counted on the way of a request."""

    def __init__(self) -> None:
        self.search_s = Histogram()
        self.embed_s = Histogram()
        self.answers: Counter[tuple[str, int]] = Counter()
        """By method and status; of the event loop."""

    def searched(self, found: SearchResult) -> None:
        """A search is done."""
        self.search_s.add(found.total_ms / 1e3)
        self.embed_s.add(found.embed_ms / 1e3)

    def answered(self, method: str, status: int) -> None:
        """An answer is out. Methods that nobody knows are one: clients may make up any number of them."""
        self.answers[method if method in _METHODS else "other", status] += 1


class Page:
    """Lines for Prometheus: what each family is, then its samples."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def gauge(self, name: str, help: str, value: float | None, **labels: str) -> None:
        """A value that goes up and down; left out where it is None."""
        if value is not None:
            self.family(name, "gauge", help, [(labels, value)])

    def counter(self, name: str, help: str, value: float) -> None:
        """A value that only grows while the service runs."""
        self.family(name, "counter", help, [({}, value)])

    def family(self, name: str, kind: str, help: str, samples: Sequence[tuple[Labels, float]]) -> None:
        """Samples that differ in their labels."""
        self._head(name, kind, help)
        for labels, value in samples:
            self._sample(name, labels, _number(value))

    def histogram(self, name: str, help: str, histogram: Histogram) -> None:
        """Its buckets, sum and count."""
        self._head(name, "histogram", help)
        buckets, total = histogram.read()
        for bound, n in buckets:
            self._sample(f"{name}_bucket", {"le": bound}, str(n))
        self._sample(f"{name}_sum", {}, _number(total))
        self._sample(f"{name}_count", {}, str(buckets[-1][1]))

    def render(self) -> str:
        """All of it."""
        return "\n".join([*self._lines, ""])

    def _head(self, name: str, kind: str, help: str) -> None:
        self._lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]

    def _sample(self, name: str, labels: Labels, value: str) -> None:
        inside = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
        self._lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
