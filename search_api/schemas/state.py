"""The state of the service."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from search_api.schemas.fields import EXAMPLE_ID, Bytes, Time
from search_api.schemas.tasks import ProgressAnswer, VerifyAnswer


class OperatingPointAnswer(Struct, frozen=True):
    """How widely searches of the whole index look, and what that comes to."""

    n_probe: Annotated[int, Meta(description="Lists looked through; 0: all images, exactly.", examples=[32])]
    factor: Annotated[int, Meta(description="Candidates ranked exactly for each hit.", examples=[16])]
    recall: Annotated[float, Meta(description="Share of the ten true neighbours found.", examples=[0.985])]
    sure_recall: Annotated[float, Meta(description="That less two standard errors.", examples=[0.981])]
    p50_ms: float
    p99_ms: float
    n_bytes: Annotated[int, Meta(description="Memory beside the rows.")]


class LeakAnswer(Struct, frozen=True):
    """Memory that grows with the work done and does not come back."""

    component: Annotated[str, Meta(examples=["process"])]
    bytes_per_s: float
    bytes_per_request: Annotated[
        float, Meta(description="By work: a request, or a picture encoded; 0 where it grows in idleness.")
    ]
    since: Time
    sentence: Annotated[str, Meta(description="The same for people.")]


class DeviceLoadAnswer(Struct, frozen=True):
    """One encoder."""

    device: Annotated[str, Meta(description="Where it runs; several may run on one.", examples=["cuda:0"])]
    state: Annotated[
        str,
        Meta(
            description="`open`; `closed`, until there is work; `stopped`, because fewer are enough; `lost`.",
            examples=["open"],
        ),
    ]
    images_per_s: float
    busy_share: Annotated[float, Meta(description="Share of the last ten seconds that it was at work.")]
    batch_size: Annotated[int, Meta(description="Pictures that its next batch may hold.")]
    encoded_total: Annotated[int, Meta(description="Pictures from folders since the start.")]
    weights_bytes: Bytes
    trouble: Annotated[str | None, Meta(description="Why it is lost.")] = None


class QueueEvent(Struct, frozen=True):
    """The queue before the encoders: now, and as an event each second."""

    depth: Annotated[int, Meta(description="Pictures and texts that wait.")]
    oldest_s: Annotated[float, Meta(description="For how long the first of them has waited.")]
    images_per_s: float
    batch_size: Annotated[int, Meta(description="Pictures that the next batch may hold.")]
    limited_by: Annotated[str, Meta(description="The stage that sets the pace now.")]
    rejected_total: Annotated[int, Meta(description="Queries refused since the start because too many waited.")]
    busy_share: Annotated[float, Meta(description="Share of the last ten seconds that the encoders were at work.")]
    devices: Annotated[list[DeviceLoadAnswer], Meta(description="Each encoder.")] = []


class StatsAnswer(Struct, frozen=True):
    """The state of the service."""

    model: str
    fingerprint: str
    precision: str
    device: str
    started_at: Time
    files: Annotated[int, Meta(description="Files with a picture.")]
    indexed: Annotated[int, Meta(description="Distinct pictures that can be found.")]
    errors: Annotated[int, Meta(description="Files refused; see /api/errors.")]
    errors_by_reason: dict[str, int]
    pending: Annotated[int, Meta(description="Files known to have changed and not yet dealt with.")]
    oldest_pending_s: float
    encoded_total: Annotated[int, Meta(description="Pictures encoded since the start.")]
    cache_hits_total: Annotated[int, Meta(description="Pictures whose feature was known since the start.")]
    removed_total: int
    generation: int
    index_bytes: int
    images_per_s: float
    limited_by: Annotated[str, Meta(description="The stage that sets the pace now.")]
    progress: list[ProgressAnswer]
    watching: Annotated[dict[str, str], Meta(description="Each watched folder and how it is watched.")]
    notices: Annotated[list[str], Meta(description="What a person should know or do.")]
    spaces: list[dict[str, Any]]
    verify: Annotated[
        VerifyAnswer | None, Meta(description="The last verification, also over restarts; null before the first.")
    ] = None
    batch_size: Annotated[int, Meta(description="Pictures in a batch at most; 0 without a model.", examples=[64])] = 0
    batch_size_from: Annotated[
        str, Meta(description="Where that is from: `configured`, `tuned`, `recommended`, or empty.", examples=["tuned"])
    ] = ""
    point: Annotated[OperatingPointAnswer | None, Meta(description="How the index is searched; null: exactly.")] = None
    leaks: Annotated[list[LeakAnswer], Meta(description="Memory that grows without end.")] = []
    queue: Annotated[QueueEvent | None, Meta(description="The queue before the encoders; null without a model.")] = None
    requests_waiting: Annotated[int, Meta(description="Requests whose answer is being made or waited for.")] = 0
    requests_rejected_total: Annotated[int, Meta(description="Requests refused because too many waited.")] = 0


class BatchRowAnswer(Struct, frozen=True):
    """What batches of one size took."""

    size: Annotated[int, Meta(description="Pictures in the batch.", examples=[64])]
    memory_bytes: Annotated[int, Meta(description="Most memory held, weights included; on a CPU, how much it grew.")]
    images_per_s: float
    latency_ms: Annotated[float, Meta(description="Median time of a batch.")]


class TuningAnswer(Struct, frozen=True):
    """Batches of several sizes, measured on one device with one model, and the best of them."""

    size: Annotated[int, Meta(description="The choice: the smallest within 3 % of the best rate.", examples=[64])]
    rows: list[BatchRowAnswer]
    ended: Annotated[
        str,
        Meta(
            description="Why nothing larger was measured: `asked` (no more was asked for), `memory` (it would not "
            "fit), `time` (a query would wait too long), `out_of_memory` (it did not fit).",
            examples=["time"],
        ),
    ]
    budget_bytes: Annotated[int, Meta(description="What a batch and the weights may take together.")]
    longest_ms: Annotated[float, Meta(description="How long a batch may take.")]
    device: str
    model: str
    precision: str
    fingerprint: str
    measured: Time


class RefusedFile(Struct, frozen=True):
    """A file that cannot be searched."""

    path: str
    reason: Annotated[str, Meta(examples=["corrupt"])]
    detail: str
    recorded: Time
    modified: Time
    size_bytes: Bytes
    retried: Annotated[bool, Meta(description="Whether it is tried again while the file stays as it is.")]


class ErrorsAnswer(Struct, frozen=True):
    """Refused files, the latest first."""

    errors: list[RefusedFile]
    limit: int
    offset: int
    total: int


class WhyAnswer(Struct, frozen=True):
    """What is known of a path, and why it can be found or not."""

    path: Annotated[str, Meta(examples=["/pictures/car.jpg"])]
    standing: Annotated[
        str,
        Meta(
            description="One of `outside`, `excluded`, `unreachable`, `settling`, `being_written`, `queued`, "
            "`on_its_way`, `unreadable`, `held`, `not_there`, `not_regular`, `not_seen`, `changed`, `refused`, "
            "`feature_missing`, `row_missing`, `indexed`.",
            examples=["refused"],
        ),
    ]
    searchable: Annotated[bool, Meta(description="Whether a search can return it now.")]
    sentence: Annotated[
        str,
        Meta(
            description="The same for people.",
            examples=["It was refused, corrupt; it is tried again when the file changes."],
        ),
    ]
    rule: Annotated[str, Meta(description="The pattern or the watched folder that decides, if one does.")]
    waits_s: Annotated[float | None, Meta(description="For how long it has been known to have changed, seconds.")]
    reason: Annotated[str | None, Meta(description="Why it was refused.", examples=["corrupt"])]
    detail: str
    recorded: Annotated[str | None, Meta(description="RFC 3339, UTC.", examples=["2026-11-22T12:00:00Z"])]
    id: Annotated[str | None, Meta(description="Of the picture that it is recorded to hold.", examples=[EXAMPLE_ID])]
    vector_id: int | None
    same_content: Annotated[list[str], Meta(description="Other paths that hold the same content.")]


class IndexEvent(Struct, frozen=True):
    """What can be found now, and what has changed since the event before; told at most four times a second."""

    indexed: Annotated[int, Meta(description="Distinct pictures that can be found.")]
    files: int
    pending: int
    errors: int
    generation: int
    added: Annotated[list[str], Meta(description="Ids newly searchable, the newest last; at most 50.")]
    removed: Annotated[int, Meta(description="How many pictures can be found no more.")]


class LiveAnswer(Struct, frozen=True):
    """The process answers."""

    status: Annotated[str, Meta(examples=["ok"])]


class ReadyAnswer(Struct, frozen=True):
    """Whether searches are answered, and each check by name."""

    ready: bool
    checks: dict[str, str]
