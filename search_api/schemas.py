"""The wire format: what comes in, strictly, and what goes out. The client reads answers with the same types.

Times are RFC 3339 in UTC, sizes bytes or pixels, scores cosines (higher is better). Unknown members of a request are
an error; unknown members of an answer are ignored by the client, so that answers may grow.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from search_api.settings import (
    LIMIT,
    MAX_IDS,
    MAX_LIMIT,
    MAX_OFFSET,
    MAX_PATH_CHARS,
    MAX_SAMPLE,
    MAX_TERMS,
    MAX_TEXT_CHARS,
    MAX_WEIGHT,
)

EXAMPLE_ID = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

Text = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_TEXT_CHARS, description="Words that describe a picture.", examples=["a red car"]),
]
ImageId = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{64}$",
        max_length=64,
        description="SHA-256 of the picture's file, as `sha256sum` prints it.",
        examples=[EXAMPLE_ID],
    ),
]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT, description="How many hits.", examples=[20])]
Offset = Annotated[int, Meta(ge=0, le=MAX_OFFSET, description="How many hits to skip.", examples=[0])]
Vector = Annotated[
    list[float],
    Meta(
        min_length=1,
        max_length=65_536,
        description="A vector of the visual or of the joint space, told apart by length; any norm but zero.",
    ),
]
Base64 = Annotated[
    str,
    Meta(min_length=1, description="A picture's file in base64, or as a `data:` URI.", examples=["/9j/4AAQSkZJRg=="]),
]
Path = Annotated[str, Meta(description="One of its files.", examples=["/pictures/car.jpg"])]
Paths = Annotated[
    list[str],
    Meta(description="All its files, sorted; those that fit `where` first.", examples=[["/pictures/car.jpg"]]),
]
Pixels = Annotated[int, Meta(description="Pixels, EXIF-upright.", examples=[640])]
Format = Annotated[str, Meta(examples=["JPEG"])]
Bytes = Annotated[int, Meta(description="Bytes.", examples=[86_000])]
Time = Annotated[str, Meta(description="RFC 3339, UTC.", examples=["2026-11-22T12:00:00Z"])]
ThumbnailUrl = Annotated[str, Meta(examples=[f"/api/images/{EXAMPLE_ID}/thumbnail"])]


# ---------------------------------------------------------------- requests


Weight = Annotated[float, Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT, description="Below zero: be unlike this.", examples=[1])]
Diversity = Annotated[
    float, Meta(ge=0, le=1, description="0: by score alone. Towards 1: unlike each other.", examples=[0.3])
]
ScoreThreshold = Annotated[float, Meta(ge=-1.01, le=1.01, description="Least score of a hit.", examples=[0.2])]
Collapse = Annotated[
    Literal["content", "near"],
    Meta(description="`near`: near-duplicates are folded into the best of them, and counted as `n_alike`."),
]
Cut = Annotated[Literal["auto"], Meta(description="End where hits stop being better than chance, see `cut_score`.")]
Pattern = Annotated[str, Meta(min_length=1, max_length=1000)]
Patterns = Annotated[
    Pattern | Annotated[list[Pattern], Meta(max_length=16)],
    Meta(
        description="Folders or globs, of which one must match; `**` crosses folders. From `/` on: of the whole path; "
        "with `/` inside: of the path in a watched folder; without: of any name in one. What lies in a folder that "
        "matches, matches.",
        examples=["holiday/**", ["/pictures/2025", "*.png"]],
    ),
]
When = Annotated[
    str,
    Meta(
        max_length=40,
        description="RFC 3339; without an offset in UTC. A date alone is the whole day.",
        examples=["2025-01-01", "2025-06-30T12:00:00Z"],
    ),
]
Least = Annotated[int, Meta(ge=0, le=2**53, description="At least.", examples=[1])]
Most = Annotated[int, Meta(ge=0, le=2**53, description="At most.", examples=[100_000])]
LeastShare = Annotated[float, Meta(ge=0, le=1e9, description="At least.", examples=[0.5])]
MostShare = Annotated[float, Meta(ge=0, le=1e9, description="At most.", examples=[50])]
ImageIds = Annotated[list[ImageId], Meta(max_length=MAX_IDS, description=f"Up to {MAX_IDS} pictures.")]


class TermRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One part of a mixture: exactly one of `text`, `image`, `id` and `vector`, and its weight."""

    text: Text | None = None
    image: Base64 | None = None
    id: ImageId | None = None
    vector: Vector | None = None
    weight: Weight = 1.0


class WhereRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which pictures may be answered: all that is given must hold.

    Of a picture that several files hold, one file must fit `path`, `not_path` and the times. Aspect is width / height.
    """

    path: Patterns | None = None
    not_path: Patterns | None = None
    modified_from: When | None = None
    modified_to: When | None = None
    width_min: Least | None = None
    width_max: Most | None = None
    height_min: Least | None = None
    height_max: Most | None = None
    megapixels_min: LeastShare | None = None
    megapixels_max: MostShare | None = None
    aspect_min: LeastShare | None = None
    aspect_max: MostShare | None = None
    format: Annotated[list[str], Meta(max_length=16, description="jpeg, png, …", examples=[["jpeg", "png"]])] | None = (
        None
    )
    size_min_bytes: Least | None = None
    size_max_bytes: Most | None = None


class SearchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A question: exactly one of `text`, `image`, `id`, `vector`, `query`; beside it or alone `liked` and `disliked`.

    A mixture looks for q = sum of weight x unit vector + 0.75 mean(liked) - 0.25 mean(disliked); a score is the cosine
    of q with a picture. With words or a joint vector in it all vectors are of the joint space, otherwise of the visual.
    """

    text: Text | None = None
    image: Base64 | None = None
    id: ImageId | None = None
    vector: Vector | None = None
    query: Annotated[list[TermRequest], Meta(min_length=1, max_length=MAX_TERMS, description="A mixture.")] | None = (
        None
    )
    liked: Annotated[ImageIds, Meta(description="More like these pictures.")] | None = None
    disliked: Annotated[ImageIds, Meta(description="Less like these pictures.")] | None = None
    limit: Limit = LIMIT
    offset: Offset = 0
    cursor: (
        Annotated[str, Meta(max_length=200, description="Of the answer before, to go on there; no `offset` then.")]
        | None
    ) = None
    where: WhereRequest | None = None
    exclude_ids: Annotated[ImageIds, Meta(description="Not these pictures.")] | None = None
    score_threshold: ScoreThreshold | None = None
    cut: Cut | None = None
    diversity: Diversity = 0.0
    collapse: Collapse = "content"
    with_vector: Annotated[bool, Meta(description="Tell each hit's vector.")] = False


class NewestRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which of the pictures that came last."""

    limit: Limit = LIMIT
    before: Annotated[int, Meta(ge=1, le=2**63 - 1, description="Of the answer before, to go on there.")] | None = None
    where: WhereRequest | None = None


class StandingRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A question that is to stand; `score_threshold` in it is a match's least score, by default the cut's."""

    question: SearchRequest
    name: Annotated[str, Meta(max_length=200, description="For people.", examples=["red cars"])] = ""
    webhook: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=2000,
                description="Matches are also sent here: https, or http to this machine.",
                examples=["https://example.org/matches"],
            ),
        ]
        | None
    ) = None


class EmbedTextRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `text` and `texts`."""

    text: Text | None = None
    texts: Annotated[list[Text], Meta(min_length=1, max_length=256, description="Up to 256 texts.")] | None = None


class RescanRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to look through the folders."""

    confirm_gone: Annotated[
        bool, Meta(description="Let go of files whose loss is in doubt, as after a folder was unmounted.")
    ] = False


class RetryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Which refused files to try again; all of them by default."""

    path: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_PATH_CHARS,
                description="An absolute path of a file or a folder, as /api/errors shows it.",
                examples=["/pictures/car.jpg"],
            ),
        ]
        | None
    ) = None


class RebuildRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to make the index anew."""

    reencode: Annotated[bool, Meta(description="Encode every picture again instead of using what is cached.")] = False


class VerifyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """How to look through what is stored."""

    sample: Annotated[
        int,
        Meta(ge=0, le=MAX_SAMPLE, description="Images to read and encode again, chosen at random.", examples=[32]),
    ] = 0
    repair: Annotated[bool, Meta(description="Mend what is found. No file of yours is touched.")] = False


# ---------------------------------------------------------------- answers


class ImageAnswer(Struct, frozen=True):
    """One indexed picture and every file that holds it."""

    id: ImageId
    path: Path
    paths: Paths
    width: Pixels
    height: Pixels
    modified: Time
    thumbnail_url: ThumbnailUrl
    format: Format
    size_bytes: Bytes


class NewestAnswer(Struct, frozen=True):
    """Pictures, the latest indexed first."""

    images: list[ImageAnswer]
    matching: Annotated[int, Meta(description="Pictures that pass `where`.")]
    before: Annotated[int | None, Meta(description="Asks for the next page; null at the end.")]


class Hit(Struct, frozen=True):
    """One answer to a question."""

    id: ImageId
    score: Annotated[float, Meta(description="Cosine; higher is better.", examples=[0.31])]
    path: Path
    paths: Paths
    width: Pixels
    height: Pixels
    modified: Time
    thumbnail_url: ThumbnailUrl
    format: Format
    size_bytes: Bytes
    relevance: Annotated[
        float | None, Meta(description="0 to 1: how sure it is that this is better than chance; null if unknown.")
    ] = None
    n_alike: Annotated[int, Meta(description="Near-duplicates folded into this hit, besides itself.")] = 0
    vector: Annotated[
        list[float] | None, Meta(description="Its row of the index at unit length, if `with_vector`.")
    ] = None


class StandingAnswer(Struct, frozen=True):
    """A question that stands."""

    id: Annotated[str, Meta(examples=["0123456789abcdef"])]
    name: str
    score_threshold: Annotated[float, Meta(description="Least score of a match.", examples=[0.24])]
    created: Time
    n_matches: Annotated[int, Meta(description="Matches told since then.")]
    webhook: Annotated[str | None, Meta(examples=["https://example.org/matches"])] = None
    secret: Annotated[
        str | None,
        Meta(
            description="Told once, when it is made. `X-Lookalike-Signature` of each POST is `sha256=` and the "
            "HMAC-SHA256 of its body under this, in hex."
        ),
    ] = None


class StandingAnswers(Struct, frozen=True):
    """Standing queries, the oldest first."""

    standing: list[StandingAnswer]


class MatchEvent(Struct, frozen=True):
    """A new picture that a standing query means."""

    standing_id: str
    name: str
    score: Annotated[float, Meta(description="Cosine; higher is better.", examples=[0.31])]
    image: ImageAnswer


class TookMs(Struct, frozen=True):
    """Where the time went, milliseconds."""

    embed: float
    search: float
    total: float


class IndexState(Struct, frozen=True):
    """The index that was searched."""

    count: Annotated[int, Meta(description="Pictures in it.")]
    generation: Annotated[int, Meta(description="Its newest snapshot.")]


class SearchAnswer(Struct, frozen=True):
    """Hits, best first."""

    hits: list[Hit]
    limit: int
    offset: int
    took_ms: TookMs
    model: Annotated[str, Meta(examples=["ViT-H-14"])]
    space: Annotated[str, Meta(description="Fingerprint of the embedding space.", examples=["0123456789abcdef"])]
    index: IndexState
    cursor: Annotated[str | None, Meta(description="Of the next page; null at the end.")] = None
    cut_score: Annotated[
        float | None, Meta(description="Where hits stop being better than chance; null if unknown.", examples=[0.21])
    ] = None
    matching: Annotated[int | None, Meta(description="Pictures that pass `where`; null without it.")] = None


class DuplicateGroupAnswer(Struct, frozen=True):
    """Pictures that belong together, the largest first; of the same bytes, one that several files hold."""

    score: Annotated[float, Meta(description="Least cosine that joined them.", examples=[0.98])]
    images: list[ImageAnswer]


class ProgressAnswer(Struct, frozen=True):
    """Where a long task stands."""

    task: Annotated[str, Meta(examples=["rebuild"])]
    running: bool
    n_done: int
    n_total: int
    rate_per_s: float
    eta_s: float | None
    summary: dict[str, int | float]
    error: str = ""


class DuplicatesAnswer(Struct, frozen=True):
    """Groups of one tier: the best first; of the same bytes, those first whose copies take the most room."""

    tier: Literal["same", "variant", "similar"]
    groups: list[DuplicateGroupAnswer]
    total: Annotated[int, Meta(description="Groups there are.")]
    limit: int
    offset: int
    took_ms: float
    progress: Annotated[
        ProgressAnswer | None,
        Meta(description="Of the search for what has changed since; null when these groups are the newest."),
    ] = None


class EmbedImageAnswer(Struct, frozen=True):
    """What the model makes of a picture."""

    id: ImageId
    feature: Annotated[list[float], Meta(description="Visual feature, unit length: what is indexed.")]
    embedding: Annotated[
        list[float] | None, Meta(description="Joint embedding, unit length: comparable with texts; null without one.")
    ]
    model: str
    space: str


class EmbedTextAnswer(Struct, frozen=True):
    """Joint embeddings, one a text, in the order of the request."""

    embeddings: list[list[float]]
    dim: int
    model: str
    space: str


class FindingAnswer(Struct, frozen=True):
    """One thing that was not as it should be."""

    flaw: Annotated[str, Meta(description="As in `found`.", examples=["missing"])]
    what: Annotated[str, Meta(examples=["the index has no row"])]
    id: Annotated[str | None, Meta(description="Of the picture, if it is known.", examples=[EXAMPLE_ID])]
    vector_id: int | None
    path: Annotated[str | None, Meta(examples=["/pictures/car.jpg"])]
    mended: bool


class VerifyAnswer(Struct, frozen=True):
    """What the last verification looked at, found and mended."""

    ok: Annotated[bool, Meta(description="Nothing was found, or all of it was mended.")]
    started_at: Time
    seconds: float
    sample: Annotated[int, Meta(description="Images that were to be encoded again.", examples=[32])]
    repair: Annotated[bool, Meta(description="Whether findings were to be mended.")]
    files: Annotated[int, Meta(description="Recorded files held against the file system.")]
    contents: Annotated[int, Meta(description="Distinct pictures held against features and rows.")]
    features: Annotated[int, Meta(description="Features whose checksum was looked at.")]
    rows: Annotated[int, Meta(description="Rows of the index held against their features, bit for bit.")]
    kept: Annotated[int, Meta(description="Features kept of pictures that went away; no flaw.")]
    reencoded: Annotated[int, Meta(description="Images that were read and encoded again.")]
    found: Annotated[
        dict[str, int],
        Meta(
            description="Findings by flaw: `missing` (no feature or no row), `orphaned` (a row of no picture), `stale` "
            "(a file differs from what is recorded), `drifted` (a row, a feature or bytes changed), `damaged` (a "
            "checksum fails).",
            examples=[{"missing": 2}],
        ),
    ]
    mended: Annotated[dict[str, int], Meta(description="How many of them are mended.", examples=[{"missing": 2}])]
    examples: Annotated[list[FindingAnswer], Meta(description="A few of each flaw.")]
    notes: Annotated[list[str], Meta(description="What a person should know besides.")]


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
    bytes_per_request: Annotated[float, Meta(description="By work: a request, or a picture encoded.")]
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


class DeviceMemoryAnswer(Struct, frozen=True):
    """Memory of one device, bytes. `total`, `used` and `free` are of the device, `torch_*` of this process."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    torch_allocated_bytes: int
    torch_reserved_bytes: int
    torch_peak_bytes: int


class MemoryPartAnswer(Struct, frozen=True):
    """What a part of a memory is for."""

    name: Annotated[str, Meta(examples=["weights"])]
    bytes: int


class ProcessMemoryAnswer(Struct, frozen=True):
    """What another program holds of a device."""

    pid: int
    name: str
    bytes: int


class DeviceLedgerAnswer(Struct, frozen=True):
    """What a device's memory is used for."""

    device: Annotated[str, Meta(examples=["gpu0"])]
    name: str
    total_bytes: int
    parts: Annotated[
        list[MemoryPartAnswer],
        Meta(
            description="They add up to what is used: `weights`, `index`, `activations` (at their peak), `reserve` "
            "(what torch's allocator keeps beyond that), `context` (what CUDA and its libraries hold), "
            "`other_processes`, `driver`, `unexplained`."
        ),
    ]
    processes: Annotated[list[ProcessMemoryAnswer], Meta(description="The others, the largest first.")]
    explained_share: Annotated[float, Meta(description="Of what the driver says that this service holds, 0 to 1.")]


class ProcessLedgerAnswer(Struct, frozen=True):
    """What the service and its children hold of the main memory."""

    rss_bytes: int
    parts: Annotated[
        list[MemoryPartAnswer],
        Meta(
            description="They add up to it: `weights` and `index` where no GPU holds them, `heap`, `reserve` (what "
            "the C library's allocator keeps), `runtime`, `libraries`, `shared`, `decode_children`, `unexplained`."
        ),
    ]


class ForecastAnswer(Struct, frozen=True):
    """How many more images fit, about: with rows as they are, and with one bit a number."""

    exact_images: int
    compressed_images: int


class GpuMemoryAnswer(Struct, frozen=True):
    """Where the memory has gone; without a GPU `available` is false and `reason` says why, the rest is there."""

    available: bool
    reason: str
    devices: list[DeviceMemoryAnswer]
    ledger: list[DeviceLedgerAnswer] = []
    process: Annotated[
        ProcessLedgerAnswer | None, Meta(description="The service's main memory; null where none runs.")
    ] = None
    forecast: ForecastAnswer | None = None
    leaks: list[LeakAnswer] = []


class MemorySeriesAnswer(Struct, frozen=True):
    """The course of one part."""

    device: Annotated[str, Meta(description="As in the ledger, or `process`.", examples=["gpu0"])]
    name: Annotated[str, Meta(examples=["weights"])]
    bytes: Annotated[list[int | None], Meta(description="One for each time; null where the part was not there.")]


class MemoryHistoryAnswer(Struct, frozen=True):
    """The parts of every ledger over time."""

    step_s: Annotated[int, Meta(description="1; or 60, with the largest value of each minute.", examples=[1])]
    times: Annotated[list[float], Meta(description="Seconds since 1970-01-01 UTC.")]
    series: list[MemorySeriesAnswer]


class ReleasedAnswer(Struct, frozen=True):
    """What came back."""

    freed_bytes: int
    devices: Annotated[dict[str, int], Meta(description="By `gpu0`, ... and `process`.")]


class RetryAnswer(Struct, frozen=True):
    """The files are on their way again."""

    n: Annotated[int, Meta(description="How many files are tried again.", examples=[3])]


class AcceptedAnswer(Struct, frozen=True):
    """It is done, or has begun."""

    status: Annotated[str, Meta(examples=["accepted"])]


class LiveAnswer(Struct, frozen=True):
    """The process answers."""

    status: Annotated[str, Meta(examples=["ok"])]


class ReadyAnswer(Struct, frozen=True):
    """Whether searches are answered, and each check by name."""

    ready: bool
    checks: dict[str, str]
