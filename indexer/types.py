"""The nouns of the house: what travels between its rooms. Standard library and NumPy only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, NewType, TypeAlias

import numpy as np
from numpy.typing import NDArray

FilePath = NewType("FilePath", bytes)
"""An absolute path as the file system spells it (`os.fsencode`): names need not be UTF-8."""


def is_at_or_below(path: bytes, folder: bytes) -> bool:
    """Whether a path is a folder or lies in it, however deep; by its name alone."""
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


ContentHash = NewType("ContentHash", bytes)
"""SHA-256 of a file's whole content, 32 bytes; `.hex()` is the public id of an image and what `sha256sum` prints."""

Pixels: TypeAlias = NDArray[np.uint8]
"""Preprocessed images before normalisation, RGB: (n, side, side, 3), or (side, side, 3) for one."""

Features: TypeAlias = NDArray[np.float16]
"""Visual features, (n, d), each of unit length (normalised in float32, then rounded)."""

Embeddings: TypeAlias = NDArray[np.float32]
"""Joint embeddings of texts or images, (n, j), each of unit length."""

Matrix: TypeAlias = NDArray[np.float32]

Ids: TypeAlias = NDArray[np.int64]
"""Vector ids, (n,), >= 1 and never reused. One per content: the catalogue hands them out."""


MOVED_AWAY = "a folder was moved away"
"""Reason of a scan that the kernel vouches for: what is missing below the folder is gone, however much it is."""


def display_path(path: FilePath) -> str:
    """The path for people and JSON: bytes that are not UTF-8 are shown as escapes."""
    return path.decode("utf-8", "backslashreplace")


def content_hash(data: bytes) -> ContentHash:
    """The content hash of a whole file held in memory."""
    return ContentHash(hashlib.sha256(data).digest())


class Stamp(NamedTuple):
    """What the file system says of a file. Equal stamps mean the same bytes; a rename changes only `ctime_ns`."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class FileContent:
    """A whole file as it stood at one moment."""

    stamp: Stamp
    hash: ContentHash
    data: bytes = field(repr=False)


class ImageInfo(NamedTuple):
    """What is known of a picture besides its pixels. Width and height are in pixels, EXIF-upright."""

    format: str
    width_px: int
    height_px: int
    size_bytes: int


class Reason(StrEnum):
    """Why a file was refused. The value is what people and clients see."""

    UNSUPPORTED = "unsupported_format"
    CORRUPT = "corrupt"
    EMPTY = "empty"
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    NOT_REGULAR = "not_a_regular_file"
    UNREADABLE = "unreadable"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_MEMORY = "decoder_out_of_memory"
    BAD_FEATURE = "feature_not_finite"
    DEVICE_MEMORY = "device_out_of_memory"
    DEVICE_FAILED = "device_failed"
    NOT_STORABLE = "not_storable"

    @property
    def transient(self) -> bool:
        """Whether the cause may pass while the file stays as it is: then every rescan tries it again."""
        return self in (Reason.UNREADABLE, Reason.DEVICE_MEMORY, Reason.DEVICE_FAILED, Reason.NOT_STORABLE)


# ---------------------------------------------------------------- spaces


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How bytes become pixels and pixels become the tower's input; part of the fingerprint.

    Attributes:
        side_px: Side of the square input.
        mean: Per channel, on a scale of 0 to 1.
        std: Per channel, on a scale of 0 to 1.
        interpolation: Name of the resampling filter, as open_clip spells it.
        resize: How a picture is fitted: `shortest` (resize, then centre crop), `longest` (then pad), or `squash`.
        fill: Padding level, 0 to 255, used by `longest`.
        mode: `exact` (within 1 LSB of open_clip's transform) or `scaled` (DCT-scaled JPEG decode).
        version: Raised whenever the same bytes may give other pixels than before.
    """

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    fill: int = 0
    mode: Literal["exact", "scaled"] = "exact"
    version: int = 1


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """All that decides which numbers a picture becomes. Vectors of two spaces are never mixed.

    Attributes:
        model: Architecture, as open_clip names it.
        weights: SHA-256 (hex) of the weights' file, or `random-<seed>`.
        precision: Precision class the model runs in: `fp32`, `fp16`, `bf16`; or `int8+fp16` and the like, where the
            matrices of the image tower's blocks have eight bits, and all else, text tower included, has the second.
            The projection is float32 in all of them.
        dim: Length of a visual feature.
        preprocess: See `Preprocess`.
    """

    model: str
    weights: str
    precision: str
    dim: int
    preprocess: Preprocess
    normalisation: Literal["l2"] = "l2"

    @property
    def is_lossy(self) -> bool:
        """Whether the precision costs so much that it must pass the gate."""
        return "+" in self.precision

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this space in cache keys, folders and answers."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


# ---------------------------------------------------------------- on the way in


class Settled(NamedTuple):
    """A dirty path that has come to rest. `stamp` is None when no regular file is there any more."""

    path: FilePath
    stamp: Stamp | None


@dataclass(frozen=True, slots=True)
class Decoded:
    """One picture ready for the encoder: pixels (side, side, 3) uint8."""

    pixels: Pixels
    info: ImageInfo


class StoredFeature(NamedTuple):
    """What the feature cache keeps of one content: the feature (d,) float16 and the picture's measures."""

    feature: NDArray[np.float16]
    info: ImageInfo


@dataclass(frozen=True, slots=True)
class Found:
    """A path holds a picture whose feature is durable. Committing it is the acknowledgement."""

    path: FilePath
    stamp: Stamp
    hash: ContentHash
    info: ImageInfo


@dataclass(frozen=True, slots=True)
class Refused:
    """A path holds what cannot be searched, and why. Tried again when its stamp changes; see `Reason.transient`."""

    path: FilePath
    stamp: Stamp
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is at this path any more."""

    path: FilePath


Outcome: TypeAlias = Found | Refused | Gone


@dataclass(frozen=True, slots=True)
class Committed:
    """What one catalogue transaction did.

    Attributes:
        seq: Number of the transaction, rising by one with each.
        ids: Vector id of every content named by a `Found` of the batch.
        removed: Ids whose last path went away; they are dead from now on.
    """

    seq: int
    ids: Mapping[ContentHash, int]
    removed: Sequence[int]


# ---------------------------------------------------------------- what the catalogue answers


@dataclass(frozen=True, slots=True)
class FileRecord:
    """All that the catalogue knows of one path; `hash` and `vector_id` are None for a refused file."""

    path: FilePath
    stamp: Stamp
    hash: ContentHash | None
    vector_id: int | None
    reason: Reason | None
    detail: str
    recorded_at: float
    """When it was committed, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One live content and every path that holds it. `modified_s` is the newest mtime, seconds since the epoch."""

    vector_id: int
    hash: ContentHash
    info: ImageInfo
    paths: tuple[FilePath, ...]
    modified_s: float
    mtimes_ns: tuple[int, ...] = ()
    """Of its paths, in their order."""


@dataclass(frozen=True, slots=True)
class Newest:
    """A page of images, the latest indexed first; `matching` counts all, `before` asks for the next page."""

    images: tuple[ImageRecord, ...]
    matching: int
    before: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Sizes of the catalogue: paths with a picture, distinct contents, and refused paths by reason."""

    files: int
    contents: int
    refused: Mapping[Reason, int]


# ---------------------------------------------------------------- questions and answers


class Neighbours(NamedTuple):
    """What a search in the index found: (q, k) each, best first, ties by lower id, padded with id -1 and score -inf."""

    ids: Ids
    scores: Matrix


@dataclass(frozen=True, slots=True)
class TextQuery:
    """Words to look for."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageQuery:
    """A picture's file, whole, to look for its like."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdQuery:
    """More like an indexed image: `id` is the hex content hash."""

    id: str


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A vector of the visual space (d,) or of the joint space (j,), told apart by length; normalised on arrival."""

    vector: Sequence[float] = field(repr=False)


PlainQuery: TypeAlias = TextQuery | ImageQuery | IdQuery | VectorQuery


class Term(NamedTuple):
    """One part of a mixture; what weighs less than nothing is to be unlike."""

    query: PlainQuery
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class MixedQuery:
    """Several questions in one, and indexed images (by id) that were liked or disliked; see `indexer.geometry`."""

    terms: tuple[Term, ...] = ()
    liked: tuple[str, ...] = ()
    disliked: tuple[str, ...] = ()


Query: TypeAlias = PlainQuery | MixedQuery


class Range(NamedTuple):
    """From `least` to `most`, both included; None is no bound."""

    least: float | None = None
    most: float | None = None


ANY = Range()
"""No bound at either end."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which images may be answered: all of it must hold. See `indexer.where` for patterns of paths.

    An image has several paths when several files hold it: one of them must fit `path`, `not_path` and `modified_ns`.

    Attributes:
        path: Patterns; one of them must match. Empty: any path.
        not_path: Patterns of which none may match.
        modified_ns: Time of the file, nanoseconds since the epoch.
        width_px, height_px, size_bytes: Of the picture, EXIF-upright, and of its file.
        megapixels: Width x height / 1,000,000.
        aspect: Width / height.
        format: Names such as `jpeg`, upper or lower case; empty: any.
    """

    path: tuple[str, ...] = ()
    not_path: tuple[str, ...] = ()
    modified_ns: Range = ANY
    width_px: Range = ANY
    height_px: Range = ANY
    megapixels: Range = ANY
    aspect: Range = ANY
    size_bytes: Range = ANY
    format: tuple[str, ...] = ()


EVERYWHERE = Where()
"""Every image."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an answer is narrowed and arranged, besides its limit and offset.

    Attributes:
        where: Which images may be answered.
        exclude_ids: Images that may not.
        cursor: Go on after the answer that gave this; instead of an offset.
        score_threshold: Least score of a hit.
        cut: End where hits stop being better than chance.
        diversity: 0 ranks by score alone, 1 by unlikeness to what was chosen before alone.
        fold_near: Fold near-duplicates into the best of them.
        with_vectors: Have each hit's row of the index told.
    """

    where: Where = EVERYWHERE
    exclude_ids: tuple[str, ...] = ()
    cursor: str | None = None
    score_threshold: float | None = None
    cut: bool = False
    diversity: float = 0.0
    fold_near: bool = False
    with_vectors: bool = False


PLAIN = Options()
"""By score alone, out of all images."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: `score` is the cosine, higher is better.

    Attributes:
        path: The first of `paths`; those that fit the filter come first.
        modified_s: The newest time of those paths, seconds since the epoch.
        relevance: 0 to 1, how much better than chance; None where it is not known.
        n_alike: Near-duplicates folded into this one.
        vector: Its row of the index at unit length, (row_dim,), if it was asked for.
    """

    id: str
    score: float
    path: FilePath
    paths: tuple[FilePath, ...]
    info: ImageInfo
    modified_s: float
    relevance: float | None = None
    n_alike: int = 0
    vector: Matrix | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits, best first, and what the answer was made from. Times are in milliseconds."""

    hits: tuple[Hit, ...]
    embed_ms: float
    search_ms: float
    total_ms: float
    count: int
    """Rows in the index when it was searched."""
    generation: int
    cursor: str | None = None
    """Where the next page begins; None at the end."""
    cut_score: float | None = None
    """Where hits stop being better than chance; None where that is not known."""
    matching: int | None = None
    """Images that pass the filter; None without one."""


@dataclass(frozen=True, slots=True)
class StandingQuery:
    """A question that stands: what becomes searchable and matches it is told.

    Attributes:
        query: What is looked for.
        threshold: Least score of a match; NaN in a new one leaves it to what is indexed.
        name: For people.
        where: Which images may match.
        exclude_ids: Images that may not.
        webhook: Address that matches are also sent to.
        secret: Signs what is sent there.
        created_at: Seconds since the epoch.
        n_matches: Told since then.
    """

    query: Query = field(repr=False)
    threshold: float
    name: str
    where: Where = EVERYWHERE
    exclude_ids: tuple[str, ...] = ()
    webhook: str | None = None
    id: str = ""
    secret: str | None = field(default=None, repr=False)
    created_at: float = 0.0
    n_matches: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A new image that a standing query, by id and name, means."""

    standing_id: str
    name: str
    score: float
    image: ImageRecord


@dataclass(frozen=True, slots=True)
class EmbeddedImage:
    """A picture's id, its visual feature (d,) float32 and, if there is a joint space, its embedding (j,) float32."""

    id: str
    feature: Matrix
    embedding: Matrix | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a long task stands: `rebuild`, `reencode`, `verify` or `duplicates`.

    `summary` and `error` are there at its end.
    """

    task: str
    running: bool
    n_done: int
    n_total: int
    rate_per_s: float
    eta_s: float | None
    summary: Mapping[str, int | float] = field(default_factory=dict)
    error: str = ""


class Tier(StrEnum):
    """What makes pictures duplicates: the same bytes, the same picture in other bytes, or a scene that is alike."""

    SAME = "same"
    VARIANT = "variant"
    SIMILAR = "similar"


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Pictures that belong together, the largest first; of the same bytes, one with several paths.

    `score` is the least cosine that joined them.
    """

    score: float
    images: tuple[ImageRecord, ...]


@dataclass(frozen=True, slots=True)
class DuplicatePage:
    """Some groups of one tier.

    Attributes:
        groups: The best first; of the same bytes, those first that waste the most.
        total: Groups there are.
        progress: How far the search for what has changed since is; None when these groups are the newest.
        known: Whether a search has ended yet.
        total_ms: What this answer took.
    """

    groups: tuple[DuplicateGroup, ...]
    total: int
    progress: Progress | None
    known: bool
    total_ms: float


# ---------------------------------------------------------------- verification


class Flaw(StrEnum):
    """What verification finds wrong. The value is what people and clients see.

    missing: a live content has no feature or no row. orphaned: a row of no live content. stale: a file differs from
    what is recorded of it. drifted: a row or a feature is not what it should be, or bytes changed under the same stamp.
    damaged: a checksum fails.
    """

    MISSING = "missing"
    ORPHANED = "orphaned"
    STALE = "stale"
    DRIFTED = "drifted"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be, named by as much as is known of it."""

    flaw: Flaw
    what: str
    hash: ContentHash | None = None
    vector_id: int | None = None
    path: FilePath | None = None
    mended: bool = False


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification looked at, found and mended.

    Attributes:
        started_at: Seconds since the epoch.
        seconds: How long it took.
        sample: Images that were to be read and encoded again.
        repair: Whether findings were to be mended.
        files: Recorded files held against the file system.
        contents: Live contents held against features and rows.
        features: Features whose checksum was looked at.
        rows: Rows held against their features, bit for bit.
        kept: Features of contents that went away; no flaw.
        reencoded: Images of the sample that were read and encoded again; the others could not be had.
        found: Findings by flaw.
        mended: How many of them are mended.
        examples: A few findings of each flaw.
        notes: What a person should know besides, one line each.
    """

    started_at: float
    seconds: float
    sample: int
    repair: bool
    files: int
    contents: int
    features: int
    rows: int
    kept: int
    reencoded: int
    found: Mapping[Flaw, int]
    mended: Mapping[Flaw, int]
    examples: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found, or all of it was mended."""
        return self.n_left == 0

    @property
    def n_left(self) -> int:
        """Findings that are not mended."""
        return sum(self.found.values()) - sum(self.mended.values())


class Standing(StrEnum):
    """Where a path stands on its way to being found. The value is what people and clients see."""

    OUTSIDE = "outside"
    EXCLUDED = "excluded"
    UNREACHABLE = "unreachable"
    SETTLING = "settling"
    WRITING = "being_written"
    QUEUED = "queued"
    ON_ITS_WAY = "on_its_way"
    UNREADABLE = "unreadable"
    HELD = "held"
    NOT_THERE = "not_there"
    NOT_REGULAR = "not_regular"
    NOT_SEEN = "not_seen"
    CHANGED = "changed"
    REFUSED = "refused"
    NO_FEATURE = "feature_missing"
    NO_ROW = "row_missing"
    INDEXED = "indexed"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one path, and why it can be found or not.

    Attributes:
        path: The path.
        standing: Where it stands.
        searchable: Whether a search can return it now; while a change is under way, by what it held before.
        sentence: The same for people.
        rule: The pattern or the watched folder that decides.
        waits_s: For how long it has been known to have changed, seconds.
        reason: Why it was refused.
        detail: The same in more words.
        recorded_at: When what is known of it was recorded, seconds since the epoch.
        hash: Its content, as recorded.
        vector_id: Of that content.
        same_content: Other paths that hold the same content.
    """

    path: FilePath
    standing: Standing
    searchable: bool
    sentence: str
    rule: str = ""
    waits_s: float | None = None
    reason: Reason | None = None
    detail: str = ""
    recorded_at: float | None = None
    hash: ContentHash | None = None
    vector_id: int | None = None
    same_content: tuple[FilePath, ...] = ()


# ---------------------------------------------------------------- batches


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


# ---------------------------------------------------------------- the gate


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


# ---------------------------------------------------------------- the state of the whole


@dataclass(frozen=True, slots=True)
class Leak:
    """Memory that grows with the work done, and does not come back.

    Attributes:
        component: Which memory, such as `process` or `gpu0 tensors`.
        bytes_per_s: Its growth.
        bytes_per_request: The same by work: a request, or a picture encoded.
        since: When it began, as far as was seen, seconds since the epoch.
        sentence: The same for people.
    """

    component: str
    bytes_per_s: float
    bytes_per_request: float
    since: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Stats:
    """The state of a running engine, for `/api/stats` and `indexer status`."""

    model: str
    fingerprint: str
    precision: str
    device: str
    started_at: float
    files: int
    indexed: int
    errors: int
    errors_by_reason: Mapping[str, int]
    pending: int
    """Paths known to be dirty and not yet committed."""
    oldest_pending_s: float
    encoded_total: int
    cache_hits_total: int
    removed_total: int
    generation: int
    index_bytes: int
    images_per_s: float
    """Encoded over the last ten seconds."""
    limited_by: str
    """The stage that sets the pace now: `idle`, `scan`, `settle`, `read`, `decode`, `encode` or `store`; `stopped`."""
    progress: tuple[Progress, ...]
    watching: Mapping[str, str]
    """State of each watched folder: `events`, `polling`, or what is wrong."""
    notices: tuple[str, ...]
    """What a person should know or do, one line each."""
    spaces: tuple[Mapping[str, Any], ...] = ()
    """Every embedding space that this store has an index of; one of them is `active`."""
    verify: VerifyReport | None = None
    """The last verification, also over restarts."""
    batch_size: int = 0
    """Pictures in a batch at most; 0 where no model is loaded."""
    leaks: tuple[Leak, ...] = ()
    """Memory that grows without end."""
    batch_size_from: str = ""
    """Where that number is from: `configured`, `tuned` or `recommended`."""
    point: OperatingPoint | None = None
    """How the index is searched; None: exactly."""
    queue: QueueState | None = None
    """The queue before the encoders; None where no model is loaded."""


@dataclass(frozen=True, slots=True)
class DeviceLoad:
    """One encoder, now.

    Attributes:
        device: Where it runs, as torch names it; several may run on one.
        state: `open`; `closed`, until there is work; `stopped`, because fewer are enough; `lost`.
        images_per_s: Encoded over the last ten seconds, queries' pictures included.
        busy_share: Share of them that it was at work, 0 to 1.
        batch_size: Pictures that its next batch may hold.
        encoded_total: Pictures from folders since the start.
        weights_bytes: The model's, on the device.
        trouble: Why it is lost.
    """

    device: str
    state: str
    images_per_s: float
    busy_share: float
    batch_size: int
    encoded_total: int
    weights_bytes: int
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queues before the encoder, now.

    Attributes:
        depth: Pictures and texts that wait.
        oldest_s: For how long the first of them has waited, seconds.
        images_per_s: Encoded over the last ten seconds.
        batch_size: Pictures that the next batch may hold.
        rejected_total: Queries refused since the start because too many waited.
        busy_share: Share of the last ten seconds that the encoders were at work, 0 to 1.
        limited_by: As in `Stats`.
        devices: Each encoder.
    """

    depth: int
    oldest_s: float
    images_per_s: float
    batch_size: int
    rejected_total: int
    busy_share: float
    limited_by: str = "idle"
    devices: tuple[DeviceLoad, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexNews:
    """What can be found now, and what has changed since this was told last.

    Attributes:
        indexed, files, pending, errors, generation: As in `Stats`.
        added: Ids that have become searchable, the newest last; at most fifty.
        removed: How many ids are searchable no more.
    """

    indexed: int
    files: int
    pending: int
    errors: int
    generation: int
    added: tuple[str, ...] = ()
    removed: int = 0


@dataclass(frozen=True, slots=True)
class MemoryPart:
    """What a part of a memory is for, and its size."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """What a process holds of a memory."""

    pid: int
    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Memory of one device, bytes. The NVML figures are of the whole device, the torch ones of this process."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    torch_allocated_bytes: int
    torch_reserved_bytes: int
    torch_peak_bytes: int
    torch_name: str = ""
    """What torch calls the device; empty where it does not use it."""
    driver_bytes: int = 0
    """What the driver keeps for itself, where it tells."""
    processes: tuple[ProcessMemory, ...] = ()
    """Who uses the device, this process too, as far as the driver tells."""


@dataclass(frozen=True, slots=True)
class DeviceLedger:
    """What a device's memory is used for.

    Attributes:
        device: `gpu0` and so on, by the driver's numbers.
        name: The device, as its maker calls it.
        total_bytes: All that there is.
        parts: They add up to what is used. `weights`; `index` (rows); `activations` at their peak; `reserve`, which
            torch's allocator keeps beyond that; `context`, which CUDA and its libraries hold; `other_processes`;
            `driver`; and `unexplained`.
        processes: The others.
        explained_share: Of what the driver says that this process holds, 0 to 1.
    """

    device: str
    name: str
    total_bytes: int
    parts: tuple[MemoryPart, ...]
    processes: tuple[ProcessMemory, ...]
    explained_share: float


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """What the kernel and the C library tell of this process's main memory, bytes.

    Attributes:
        own_bytes: Resident, and backed by no file.
        file_bytes: Resident pages of files: the libraries' code above all.
        shared_bytes: Resident shared memory.
        heap_bytes: Handed out by the C library's allocator.
        free_bytes: Kept by it for the next who asks.
        children: What was asked about, each with its share of what it has in common with others.
        room_bytes: What this process may still take.
    """

    own_bytes: int
    file_bytes: int
    shared_bytes: int
    heap_bytes: int
    free_bytes: int
    children: tuple[ProcessMemory, ...]
    room_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessLedger:
    """What this process and its children hold of the main memory.

    Attributes:
        rss_bytes: All of it.
        parts: They add up to that. `weights` and `index` where they are not on a device; `heap`, all else that the C
            library's allocator has handed out; `reserve`, which it keeps; `runtime`, Python's objects and the
            libraries' data; `libraries`, their code; `shared` memory; `decode_children`; and `unexplained`.
    """

    rss_bytes: int
    parts: tuple[MemoryPart, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many more images fit beside what there is, about: their rows as they are, and with a bit a number."""

    exact_images: int
    compressed_images: int


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """`available` is False without a driver or a device, and `reason` says which; the rest is there without a GPU too.

    Attributes:
        ledger: What each device's memory is used for.
        process: What this service holds of the main memory; None where no service answers.
        forecast: How many more images fit.
        leaks: What grows without end.
    """

    available: bool
    reason: str = ""
    devices: tuple[DeviceMemory, ...] = ()
    ledger: tuple[DeviceLedger, ...] = ()
    process: ProcessLedger | None = None
    forecast: Forecast | None = None
    leaks: tuple[Leak, ...] = ()


@dataclass(frozen=True, slots=True)
class MemorySeries:
    """The course of one part; None where it was not there."""

    device: str
    name: str
    bytes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class MemoryHistory:
    """The parts of every ledger over time: each second for ten minutes, or the largest of each minute for a day."""

    step_s: int
    times: tuple[float, ...]
    series: tuple[MemorySeries, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """What came back when unused memory was given back: in all, and by `gpu0`, ... and `process`."""

    freed_bytes: int
    devices: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that listeners are told, under one of `TOPICS`."""

    topic: str
    data: IndexNews | QueueState | GpuMemory | Match


TOPICS = ("index", "queue", "gpu", "match")
"""`index` is told when something has changed, `queue` and `gpu` each second, `match` when a standing query has one."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether searches can be answered, and each check by name: `ok`, `warn: …` or `fail: …`."""

    ready: bool
    checks: Mapping[str, str]
