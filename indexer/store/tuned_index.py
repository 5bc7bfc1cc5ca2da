"""What was measured of searches, kept for the next start: one result for each embedding space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexer.store.records import Records
from indexer.types import IndexTuning, OperatingPoint


def read_index_tuning(path: Path, fingerprint: str) -> IndexTuning | None:
    """What is kept of a space (its fingerprint); None where nothing is, or it is damaged."""
    return _RECORDS.read(path).get(fingerprint)


def keep_index_tuning(path: Path, tuning: IndexTuning) -> None:
    """Keep a result in place of an older one of the same space. Durable on return; raises `StoreFull`."""
    _RECORDS.keep(path, tuning)


def _tuning(told: dict[str, Any]) -> IndexTuning:
    points = tuple(OperatingPoint(**point) for point in told["points"])
    tuning = IndexTuning(**{**told, "points": points, "chosen": OperatingPoint(**told["chosen"])})
    if tuning.chosen not in points or not 0 < tuning.recall < 1:
        raise ValueError("a choice that was not measured")
    return tuning


_RECORDS = Records(_tuning, lambda tuning: tuning.fingerprint, "what was tuned must be tuned again")
