"""The one place that names concrete parts: opens, starts, drains and closes them."""

from indexer.engine.evaluating import evaluate_index, evaluate_precision
from indexer.engine.memory import offline_memory
from indexer.engine.offline import verify_offline, why_offline
from indexer.engine.opening import (
    offline_refused,
    offline_stats,
    open_engine,
    open_reader,
    rebuild_offline,
    running_server,
)
from indexer.engine.running import RunningEngine
from indexer.engine.tuning import recommendations, tune_batch, tune_index

__all__ = [
    "RunningEngine",
    "evaluate_index",
    "evaluate_precision",
    "offline_memory",
    "offline_refused",
    "offline_stats",
    "open_engine",
    "open_reader",
    "rebuild_offline",
    "recommendations",
    "running_server",
    "tune_batch",
    "tune_index",
    "verify_offline",
    "why_offline",
]
