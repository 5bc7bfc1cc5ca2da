"""Whether a lossy precision may be served."""

from __future__ import annotations

import logging

from indexer.config import Config
from indexer.errors import ConfigError
from indexer.evaluate import K, shortfall
from indexer.store.data_dir import DataDir
from indexer.store.gated import read_evaluation
from indexer.types import EmbeddingSpace

logger = logging.getLogger(__name__)


def require_gate(config: Config, data: DataDir, space: EmbeddingSpace, n_indexed: int) -> None:
    """Refuse a lossy precision that has not passed the gate on this store's images, unless told to allow it.

    With too few images for that, the way to it leads through another precision.

    Raises:
        ConfigError: It has not; says how to run the gate.
    """
    if not space.is_lossy:
        return
    precision = config.model.precision
    evaluation = read_evaluation(data.gated, space.fingerprint)
    if evaluation is None:
        trouble = f"{precision} has not passed the gate on your images with {space.model}"
        remedy = f"run `indexer evaluate --precision {precision}`"
        if n_indexed <= K:
            trouble += f", of which {f'only {n_indexed}' if n_indexed else 'none'} are indexed"
            remedy = f"index some with `indexer serve --set model.precision=auto`, then {remedy}"
    else:
        wrong = shortfall(evaluation, config.model.gate_overlap, config.model.gate_cosine)
        if not wrong:
            return
        trouble, remedy = f"{precision} has failed the gate on your images ({wrong})", 'set "auto"'
    if not config.model.allow_ungated:
        raise ConfigError(f"model.precision: {trouble}; {remedy}, or set model.allow_ungated = true to serve it anyway")
    logger.warning("%s; it is served since model.allow_ungated is set", trouble)
