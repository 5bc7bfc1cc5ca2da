"""What the gate measured, kept for every start: the last result for each embedding space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexer.store.records import Records
from indexer.types import Effort, Evaluation


def read_evaluation(path: Path, fingerprint: str) -> Evaluation | None:
    """What is kept of a space: of a model, its weights, its preprocessing, in a precision; None where nothing is."""
    return _RECORDS.read(path).get(fingerprint)


def keep_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Keep a result in place of an older one of the same space. Durable on return, whole or not at all.

    Raises:
        StoreFull: It cannot be written.
    """
    _RECORDS.keep(path, evaluation)


def _evaluation(told: Mapping[str, Any]) -> Evaluation:
    efforts = {side: Effort(**told[side]) for side in ("reference", "candidate")}
    evaluation = Evaluation(**{**told, **efforts})
    if not all(isinstance(figure, float) for figure in (evaluation.overlap, evaluation.cosine_p1)):
        raise ValueError("a figure is no number")
    return evaluation


_RECORDS = Records(_evaluation, lambda evaluation: evaluation.fingerprint, "precisions must be evaluated again")
