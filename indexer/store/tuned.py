"""What was measured of batches, kept for the next start: one result for each device and embedding space."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexer.store.json_file import write_json
from indexer.types import BatchRow, Tuning

logger = logging.getLogger(__name__)


def read_tuning(path: Path, device: str, fingerprint: str) -> Tuning | None:
    """What is kept of a device (its name) and a space (its fingerprint); None where nothing is, or it is damaged."""
    return _read(path).get(_key(device, fingerprint))


def keep_tuning(path: Path, tuning: Tuning) -> None:
    """Keep a result in place of an older one of the same device and space. Durable on return, whole or not at all.

    Raises:
        StoreFull: It cannot be written.
    """
    kept = {**_read(path), _key(tuning.device, tuning.fingerprint): tuning}
    write_json(path, [asdict(each) for each in kept.values()])


def _key(device: str, fingerprint: str) -> tuple[str, str]:
    return device, fingerprint


def _read(path: Path) -> dict[tuple[str, str], Tuning]:
    try:
        kept = [_tuning(each) for each in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        logger.warning("%s cannot be read (%s); what was tuned must be tuned again", path, e)
        return {}
    return {_key(each.device, each.fingerprint): each for each in kept}


def _tuning(told: Mapping[str, Any]) -> Tuning:
    rows = tuple(
        BatchRow(int(row["size"]), int(row["memory_bytes"]), float(row["images_per_s"]), float(row["latency_ms"]))
        for row in told["rows"]
    )
    tuning = Tuning(**{**told, "rows": rows})
    if type(tuning.size) is not int or tuning.size < 1 or tuning.size not in [row.size for row in rows]:
        raise ValueError(f"a choice of {tuning.size!r}, which was not measured")
    return tuning
