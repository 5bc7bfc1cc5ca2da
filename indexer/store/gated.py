"""What the gate measured, kept for every start: the last result for each embedding space."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from indexer.store.json_file import write_json
from indexer.types import Effort, Evaluation

logger = logging.getLogger(__name__)


def read_evaluation(path: Path, fingerprint: str) -> Evaluation | None:
    """What is kept of a space: of a model, its weights, its preprocessing, in a precision; None where nothing is."""
    return _read(path).get(fingerprint)


def keep_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Keep a result in place of an older one of the same space. Durable on return, whole or not at all.

    Raises:
        StoreFull: It cannot be written.
    """
    kept = {**_read(path), evaluation.fingerprint: evaluation}
    write_json(path, [asdict(each) for each in kept.values()])


def _read(path: Path) -> dict[str, Evaluation]:
    try:
        kept = [_evaluation(each) for each in json.loads(path.read_bytes())]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        logger.warning("%s cannot be read (%s); precisions must be evaluated again", path, e)
        return {}
    return {each.fingerprint: each for each in kept}


def _evaluation(told: Mapping[str, Any]) -> Evaluation:
    efforts = {side: Effort(**told[side]) for side in ("reference", "candidate")}
    evaluation = Evaluation(**{**told, **efforts})
    if not all(isinstance(figure, float) for figure in (evaluation.overlap, evaluation.cosine_p1)):
        raise ValueError("a figure is no number")
    return evaluation
