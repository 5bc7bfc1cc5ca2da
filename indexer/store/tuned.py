"""What was measured of batches, kept for the next start: one result for each device and embedding space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexer.store.records import Records
from indexer.types import BatchRow, Tuning


def read_tuning(path: Path, device: str, fingerprint: str) -> Tuning | None:
    """What is kept of a device (its name) and a space (its fingerprint); None where nothing is, or it is damaged."""
    return _RECORDS.read(path).get((device, fingerprint))


def keep_tuning(path: Path, tuning: Tuning) -> None:
    """Keep a result in place of an older one of the same device and space. Durable on return, whole or not at all.

    Raises:
        StoreFull: It cannot be written.
    """
    _RECORDS.keep(path, tuning)


def _tuning(told: Mapping[str, Any]) -> Tuning:
    rows = tuple(
        BatchRow(int(row["size"]), int(row["memory_bytes"]), float(row["images_per_s"]), float(row["latency_ms"]))
        for row in told["rows"]
    )
    tuning = Tuning(**{**told, "rows": rows})
    if type(tuning.size) is not int or tuning.size < 1 or tuning.size not in [row.size for row in rows]:
        raise ValueError(f"a choice of {tuning.size!r}, which was not measured")
    return tuning


_RECORDS = Records(_tuning, lambda tuning: (tuning.device, tuning.fingerprint), "what was tuned must be tuned again")
