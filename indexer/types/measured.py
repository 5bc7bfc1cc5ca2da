"""What was measured: of batches, of precisions and of searches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """How widely an approximate index looks, and what that came to.

    Attributes:
        n_probe: Lists looked through; 0 for an exact search of everything.
        factor: Candidates ranked exactly for each neighbour asked for.
        recall: Share of the ten true nearest neighbours that were found.
        sure_recall: That less two standard errors: the queries were a sample.
        p50_ms, p99_ms: Time of one query.
        n_bytes: Memory beside the rows.
    """

    n_probe: int
    factor: int
    recall: float
    sure_recall: float
    p50_ms: float
    p99_ms: float
    n_bytes: int


@dataclass(frozen=True, slots=True)
class IndexTuning:
    """What was measured of searches of one index.

    Attributes:
        fingerprint: Of the embedding space.
        recall: That was asked for.
        n_rows: Rows there were.
        n_lists: Lists that were made of them.
        points: Exact search first, then ever wider looks. Recall is that of the worst group of queries.
        chosen: The fastest that surely has that recall.
    """

    fingerprint: str
    recall: float
    n_rows: int
    n_lists: int
    points: tuple[OperatingPoint, ...]
    chosen: OperatingPoint


@dataclass(frozen=True, slots=True)
class BatchRow:
    """What batches of one size took.

    Attributes:
        size: Pictures in the batch.
        memory_bytes: Most memory held, weights included; see `indexer.ports.MemoryMeter`.
        images_per_s: Pictures a second, from the median time of a batch.
        latency_ms: That median.
    """

    size: int
    memory_bytes: int
    images_per_s: float
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """How batches of several sizes did on one device with one model, and which of them is best.

    Attributes:
        size: The choice: pictures in a batch at most.
        rows: Every size that was measured, ascending.
        ended: Why no larger size was: `asked` (none was asked for), `memory` (it would not fit), `time` (a query would
            wait too long), `out_of_memory` (it did not fit).
        budget_bytes: Memory that a batch and the weights may take together.
        longest_ms: How long a batch may take.
        device: The device's name.
        model: Of the embedding space, as `precision` and `fingerprint`.
        precision: See `EmbeddingSpace`.
        fingerprint: See `EmbeddingSpace`.
        measured_at: Seconds since the epoch.
    """

    size: int
    rows: tuple[BatchRow, ...]
    ended: str
    budget_bytes: int
    longest_ms: float
    device: str
    model: str
    precision: str
    fingerprint: str
    measured_at: float


@dataclass(frozen=True, slots=True)
class BatchLimit:
    """Pictures in a batch at most, and where the number is from: `configured`, `tuned` or `recommended`."""

    size: int
    source: str


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What a model takes, told by its architecture alone.

    Attributes:
        n_parameters: Of both towers.
        n_activations: Numbers alive at once while the image tower computes one picture, about.
        side_px: Side of its pictures.
        dim: Length of a visual feature.
        n_int8: Of the parameters, those that are bytes in int8.
        n_fp8: In fp8.
    """

    n_parameters: int
    n_activations: int
    side_px: int
    dim: int
    n_int8: int = 0
    n_fp8: int = 0


@dataclass(frozen=True, slots=True)
class Effort:
    """What encoding took in one precision.

    Attributes:
        precision: See `EmbeddingSpace`.
        images_per_s: From the median time of a batch.
        memory_bytes: Most memory held, weights included; see `indexer.ports.MemoryMeter`.
        weights_bytes: Of both towers.
    """

    precision: str
    images_per_s: float
    memory_bytes: int
    weights_bytes: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How features in a cheaper precision compare with those in FP32, on the user's own images.

    Attributes:
        fingerprint: Of the cheaper space; `model`, `weights` and `precision` as there.
        model: See `EmbeddingSpace`.
        weights: See `EmbeddingSpace`.
        precision: See `EmbeddingSpace`.
        device: The device's name.
        n_indexed: Images in the catalogue.
        n_images: Images encoded in both.
        n_queries: Those of them whose nearest neighbours were compared.
        cosine_mean: Of each image's two features; `cosine_p1` is the first percentile, `cosine_min` the lowest.
        overlap: Mean share of the ten nearest in FP32 that are among the ten nearest in the other.
        overlap_error: Standard error of that mean.
        reference: What FP32 took.
        candidate: What the other took.
        measured_at: Seconds since the epoch.
    """

    fingerprint: str
    model: str
    weights: str
    precision: str
    device: str
    n_indexed: int
    n_images: int
    n_queries: int
    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    overlap: float
    overlap_error: float
    reference: Effort
    candidate: Effort
    measured_at: float


@dataclass(frozen=True, slots=True)
class IndexEvaluation:
    """How searches through an index of another kind compare with exact ones, on the user's own images.

    Attributes:
        fingerprint: Of the embedding space.
        kind: See `[index] kind`.
        n_indexed: Rows of the index.
        n_queries: Of them those that were asked about; neither the lists nor how widely to look were made with them.
        n_lists: Lists that were made.
        exact: What exact searches took. Memory is all that is held, of the others too.
        found: What searches of the other kind took, and how much of the exact answers they found.
        words: The same for common words; None where the model knows none.
    """

    fingerprint: str
    kind: str
    n_indexed: int
    n_queries: int
    n_lists: int
    exact: OperatingPoint
    found: OperatingPoint
    words: OperatingPoint | None
