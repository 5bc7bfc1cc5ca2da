"""What was measured of searches, kept for the next start: one result for each embedding space."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexer.store.json_file import write_json
from indexer.types import IndexTuning, OperatingPoint

logger = logging.getLogger(__name__)


def read_index_tuning(path: Path, fingerprint: str) -> IndexTuning | None:
    """What is kept of a space (its fingerprint); None where nothing is, or it is damaged."""
    return _read(path).get(fingerprint)


def keep_index_tuning(path: Path, tuning: IndexTuning) -> None:
    """Keep a result in place of an older one of the same space. Durable on return; raises `StoreFull`."""
    kept = {**_read(path), tuning.fingerprint: tuning}
    write_json(path, [asdict(each) for each in kept.values()])


def _read(path: Path) -> dict[str, IndexTuning]:
    try:
        kept = [_tuning(each) for each in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        logger.warning("%s cannot be read (%s); what was tuned must be tuned again", path, e)
        return {}
    return {each.fingerprint: each for each in kept}


def _tuning(told: dict[str, Any]) -> IndexTuning:
    points = tuple(OperatingPoint(**point) for point in told["points"])
    tuning = IndexTuning(**{**told, "points": points, "chosen": OperatingPoint(**told["chosen"])})
    if tuning.chosen not in points or not 0 < tuning.recall < 1:
        raise ValueError("a choice that was not measured")
    return tuning
