"""The seams: what each room promises. Every implementation keeps all of it, and one contract suite per port says so.

All methods may be called from any thread unless a port says otherwise. "Durable" means: survives a power cut.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.types import (
    EVERYWHERE,
    PLAIN,
    Committed,
    ContentHash,
    Counts,
    Decoded,
    DuplicatePage,
    EmbeddedImage,
    Embeddings,
    EmbeddingSpace,
    Event,
    Explanation,
    Features,
    FilePath,
    FileRecord,
    GpuMemory,
    Ids,
    ImageRecord,
    Matrix,
    MemoryHistory,
    Neighbours,
    Newest,
    OperatingPoint,
    Options,
    Outcome,
    Pixels,
    ProcessReading,
    Progress,
    Query,
    QueueState,
    Readiness,
    Released,
    SearchResult,
    Settled,
    Stamp,
    StandingQuery,
    Stats,
    StoredFeature,
    Tier,
    Tuning,
    Where,
)
from indexer.where import Filter


class Decoder(Protocol):
    """Bytes to pixels, in children that may crash, hang or run out of memory at the cost of their own picture only."""

    def decode(self, data: bytes, *, urgent: bool = False) -> Future[Decoded]:
        """Queue one file's bytes; the future holds its pixels (side, side, 3) or raises `ImageRefused`.

        Blocks while the bulk queue is full; an urgent job goes before bulk ones and raises `Overloaded` instead.
        """
        ...

    def thumbnail(self, data: bytes, side_px: int) -> Future[bytes]:
        """A JPEG that fits into `side_px` squared, upright, RGB, no metadata; the future may raise `ImageRefused`."""
        ...

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the children."""
        ...

    def close(self) -> None:
        """End the children. Jobs still queued fail with `Stopped`."""
        ...


class Encoder(Protocol):
    """One model on one device. Not thread-safe: its lane owns it.

    Attributes:
        space: What its features mean.
        projection: (d, j) float32 from the visual into the joint space; None where a tower has no joint space.
        has_text: Whether `encode_texts` can answer.
    """

    @property
    def space(self) -> EmbeddingSpace: ...
    @property
    def projection(self) -> Matrix | None: ...
    @property
    def has_text(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def weights_bytes(self) -> int:
        """Memory on the device that the weights take."""
        ...

    def encode_pixels(self, pixels: Pixels) -> Features:
        """Visual features (n, d), unit length, of pixels (n, side, side, 3); n >= 1.

        Rows whose result is not finite or zero are all NaN in the answer.

        Raises:
            DeviceOutOfMemory: The batch did not fit; a smaller one may.
            DeviceFailed: The device is lost to this process.
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Joint embeddings (n, j), unit length; too long texts are cut at the model's context length.

        Raises:
            NoTextTower: The checkpoint has none.
            DeviceOutOfMemory, DeviceFailed: As above.
        """
        ...

    def close(self) -> None:
        """Give the device's memory back."""
        ...


class MemoryMeter(Protocol):
    """The memory of the device that an encoder runs on, as far as this process takes it. Made before the encoder.

    Attributes:
        device_name: The device, as its maker calls it.
        budget_bytes: How much this process may take without coming near the edge; weights count.
    """

    @property
    def device_name(self) -> str: ...
    @property
    def budget_bytes(self) -> int: ...

    def start(self) -> None:
        """Give back what is unused, and begin to watch."""
        ...

    def peak_bytes(self) -> int:
        """Most memory held at once since `start`, weights included."""
        ...


class DeviceGauge(Protocol):
    """What drivers and allocators say of the devices' memory."""

    def read(self) -> GpuMemory:
        """The devices now, nothing else; never raises."""
        ...

    def release(self) -> None:
        """Hand what the allocators keep unused back to the drivers."""
        ...

    def close(self) -> None: ...


class ProcessGauge(Protocol):
    """What the system says of this process's main memory."""

    def read(self, children: Sequence[int]) -> ProcessReading:
        """This process now, and children by their pids."""
        ...

    def resident_bytes(self) -> int:
        """Resident memory of this process alone; cheap."""
        ...

    def release(self) -> None:
        """Hand what the allocator keeps unused back to the system."""
        ...


class Embedder(Protocol):
    """The lane in front of an encoder: one owner thread, queries before bulk work, one batch at a time, never waiting.

    A batch that runs out of memory is halved and tried again, later grown back; a picture whose feature is not finite,
    or that does not fit alone, fails alone with `ImageRefused`. While the device is lost, or does not answer, queries
    fail with `DeviceFailed`, and bulk pictures wait.
    """

    @property
    def space(self) -> EmbeddingSpace: ...
    @property
    def projection(self) -> Matrix | None: ...
    @property
    def has_text(self) -> bool: ...

    def embed_image(self, pixels: Pixels, *, urgent: bool = False) -> Future[NDArray[np.float16]]:
        """Feature (d,) float16 of one picture's pixels (side, side, 3).

        Blocks while the bulk queue is full; urgent work raises `Overloaded` instead.
        """
        ...

    def embed_texts(self, texts: Sequence[str]) -> Future[Embeddings]:
        """Joint embeddings (n, j) of texts; always urgent. Raises `Overloaded`, `NoTextTower`."""
        ...

    def limit_batch(self, *largest: int) -> None:
        """Let batches hold at most so many pictures, on each device, or on the first and those of its kind."""
        ...

    def try_batch(self, pixels: Pixels) -> Future[float]:
        """Encode pixels (n, side, side, 3) of nobody's as one batch of the first device's, for the seconds it takes.

        Queries go before it, and it before bulk work. The future may raise `DeviceOutOfMemory` or `DeviceFailed`.
        """
        ...

    @property
    def n_encoded(self) -> int:
        """Bulk pictures encoded since the start; those of queries do not count."""
        ...

    @property
    def n_waiting(self) -> int:
        """Pictures and texts queued now."""
        ...

    @property
    def queue(self) -> QueueState:
        """The queues now; what limits the whole is not known here."""
        ...

    @property
    def weights_bytes(self) -> int:
        """As `Encoder.weights_bytes`; 0 while no encoder is open."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why nothing can be encoded now; None while all is well."""
        ...

    def close(self) -> None:
        """Finish the running batch and waiting queries, then end; bulk pictures that only wait get `Stopped`."""
        ...


class FeatureReading(Protocol):
    """Features of one space by content hash, each with a checksum. Losing it costs encoding, never truth."""

    def get_many(self, hashes: Sequence[ContentHash]) -> dict[ContentHash, StoredFeature]:
        """Those that are there and pass their check; a row that fails it is dropped and counts as absent."""
        ...

    def hashes(self) -> Iterator[ContentHash]:
        """All contents with a feature in this space, in no order."""
        ...

    def close(self) -> None: ...


class FeatureCache(FeatureReading, Protocol):
    """The feature cache in the hands of its one writer."""

    def put_many(self, features: Mapping[ContentHash, StoredFeature]) -> None:
        """Durable on return, all or none.

        Raises:
            StoreFull: No room or no permission to write; nothing was stored.
            ValueError: A feature has another length, is not finite or is not of unit length (to 1e-2).
        """
        ...

    def drop_many(self, hashes: Sequence[ContentHash]) -> None:
        """Forget these; absent ones are no error."""
        ...


class CatalogueReading(Protocol):
    """Path -> stamp -> content: the truth about what was acknowledged, to be asked."""

    def folder(self, folder: FilePath) -> dict[bytes, Stamp]:
        """Name -> recorded stamp of the files directly inside a folder, refused ones too.

        A file refused for a transient reason has a stamp of zeros, so that it always seems changed.
        """
        ...

    def folders_under(self, root: FilePath) -> Iterator[FilePath]:
        """Every folder at or below `root` that has a recorded file."""
        ...

    def files_under(self, path: FilePath) -> Iterator[FilePath]:
        """`path` itself if recorded as a file, and every recorded file below it."""
        ...

    def file(self, path: FilePath) -> FileRecord | None: ...

    def files(self, paths: Sequence[FilePath]) -> dict[FilePath, FileRecord]:
        """Those of the paths that are recorded, all as of one moment."""
        ...

    def hashes_by_stamp(self, stamps: Sequence[Stamp]) -> dict[Stamp, ContentHash]:
        """Content of any recorded path with exactly this stamp: the same file under an old name, or a hard link."""
        ...

    def ids_of(self, hashes: Sequence[ContentHash]) -> dict[ContentHash, int]:
        """Vector ids of those contents that are live."""
        ...

    def live(self) -> tuple[Ids, list[ContentHash]]:
        """Every live content, ascending by id."""
        ...

    def images(self, ids: Sequence[int]) -> dict[int, ImageRecord]:
        """Those of the ids that are live, with all their paths, sorted."""
        ...

    def matching(self, wanted: Filter) -> Ids:
        """Vector ids of the live contents that pass the filter, ascending; not to be changed, others share them."""
        ...

    def copied(self) -> Ids:
        """Vector ids of the contents that several paths hold; those first whose copies take the most bytes."""
        ...

    def paths_of(self, hashes: Sequence[ContentHash]) -> list[FilePath]:
        """Every path that holds one of these contents."""
        ...

    def refused(self, limit: int, offset: int = 0) -> list[FileRecord]:
        """Refused files, the latest first."""
        ...

    def counts(self) -> Counts: ...

    def close(self) -> None: ...


class Catalogue(CatalogueReading, Protocol):
    """The catalogue in the hands of its one writer."""

    def commit(self, outcomes: Sequence[Outcome]) -> Committed:
        """Record a batch in one transaction, durable on return. Later outcomes for one path win over earlier ones.

        A content without a path left is removed, its id never used again; contents are compared after the whole batch,
        so a rename inside one batch keeps its id.

        Raises:
            StoreFull: No room or no permission to write; nothing was recorded.
        """
        ...


class VectorIndex(Protocol):
    """Rows (float16, unit length) with ids, searched exactly by inner product in float32 precision.

    With a `point`, a search of everything may miss some rows; their scores are exact, and so are searches `among` ids.
    Beside each row stands its `norm` (float32), the length of its joint projection (see `indexer.geometry`).
    """

    @property
    def dim(self) -> int: ...

    def __len__(self) -> int: ...

    def upsert(self, ids: Ids, rows: Features, norms: NDArray[np.float32]) -> None:
        """Add rows (n, dim), or overwrite those whose id is there already. An id at most once per call.

        Raises:
            ValueError: Wrong shape or dtype, an id < 1 or twice, or a value that is not finite; nothing was changed.
        """
        ...

    def remove(self, ids: Ids) -> int:
        """Remove; how many were there. No later search returns them."""
        ...

    def search(self, queries: Matrix, k: int, among: Ids | None = None) -> Neighbours:
        """The k best rows (all, if fewer) per query (q, dim) float32; `among` restricts to these ids, if there.

        Raises:
            ValueError: k < 1, wrong shape, or a query that is not finite.
        """
        ...

    def rows(self, ids: Ids) -> Features:
        """The stored rows (n, dim); all NaN for an id that is not there."""
        ...

    def norms(self, ids: Ids) -> NDArray[np.float32]:
        """The rows' norms (n,); NaN for an id that is not there."""
        ...

    @property
    def point(self) -> OperatingPoint | None:
        """How searches of everything look now; None while they are exact."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why the device that holds the rows answers no more; None while it does."""
        ...

    def norm_bounds(self) -> tuple[float, float]:
        """No row's norm lies outside; after removals they may be wider than they need be. (1, 1) when empty."""
        ...

    def ids(self) -> Ids:
        """Every id, ascending (a copy)."""
        ...

    def contains(self, ids: Ids) -> NDArray[np.bool_]: ...

    @property
    def n_bytes(self) -> int:
        """Memory held for rows, ids and norms, bytes."""
        ...

    def close(self) -> None: ...


class Snapshots(Protocol):
    """Generations of an index on disk, for one embedding space and one way of indexing. Derived: may be deleted."""

    def save(self, index: VectorIndex) -> int:
        """Write the next generation, durably, keep it and the one before, and return its number.

        Rows changing meanwhile may be in or not: whoever loads it compares ids with the catalogue. Raises `StoreFull`.
        """
        ...

    def load_into(self, index: VectorIndex) -> int:
        """Fill an empty index from the newest generation that passes its check; its number, or 0 when none does."""
        ...


class Settle(Protocol):
    """Dirty paths that wait until the file system has left them alone."""

    def add(self, path: FilePath) -> None:
        """This path may have changed. Cheap, never blocks, never raises; safe in an event handler.

        A path that ends with "/" is a folder about to be scanned: all that is in flight below it counts as added again.
        """
        ...

    def take(self, limit: int, timeout_s: float) -> list[Settled]:
        """Up to `limit` paths at rest, existing files first; empty after `timeout_s`. In flight until `done`."""
        ...

    def done(self, path: FilePath) -> None:
        """The path is dealt with; if it was added again meanwhile it becomes dirty now."""
        ...

    def __len__(self) -> int:
        """Paths dirty or in flight."""
        ...

    @property
    def oldest_s(self) -> float:
        """Age of the oldest dirty path, seconds."""
        ...

    def state(self, path: FilePath) -> str | None:
        """`settling`, `open for writing`, `queued`, `in flight`, or None: for people who ask why."""
        ...

    def age_s(self, path: FilePath) -> float | None:
        """For how long the path has been dirty, seconds; None when it is not, or is in flight."""
        ...

    def close(self) -> None:
        """Wake every `take`; from now on it returns an empty list."""
        ...


class Watcher(Protocol):
    """Hints from the file system. What it misses, it asks a rescan for."""

    def start(self) -> None: ...

    def state(self) -> Mapping[str, str]:
        """Each watched folder: `events`, `polling`, or what is wrong."""
        ...

    def close(self) -> None: ...


class Scanner(Protocol):
    """The file system's truth against the catalogue's."""

    def scan(
        self,
        folder: FilePath,
        known: Callable[[FilePath], Mapping[bytes, Stamp]],
        known_folders: Callable[[FilePath], Iterator[FilePath]],
    ) -> Iterator[FilePath]:
        """Paths of files at or below `folder` that differ from what is known: new, changed, or gone.

        Args:
            folder: Where to look; a watched folder or a folder below one.
            known: As `Catalogue.folder`.
            known_folders: As `Catalogue.folders_under`; files recorded in folders that exist no more are gone.

        Raises:
            OSError: A watched folder is not there, or `folder` cannot be listed; then nothing is known to be gone. A
                folder below a watched one that is not there raises nothing: all that is recorded in it is gone.
        """
        ...


class Engine(Protocol):
    """Everything that a door may ask of the running service. Methods block; call them from a worker thread.

    `search`, `embed_*` and `thumbnail` raise `InputError` kinds for bad questions, `CapacityError` kinds under load.
    """

    @property
    def space(self) -> EmbeddingSpace: ...
    @property
    def dims(self) -> tuple[int, int | None]:
        """Length of a visual feature, and of a joint embedding (None: no joint space)."""
        ...

    def search(self, query: Query, limit: int, offset: int = 0, options: Options = PLAIN) -> SearchResult: ...
    def duplicates(self, tier: Tier, limit: int, offset: int = 0) -> DuplicatePage:
        """Groups of one tier. What must be searched for is, in the background, whenever the index has changed."""
        ...

    def standing(self) -> list[StandingQuery]:
        """Standing queries, the oldest first."""
        ...

    def stand(self, query: StandingQuery) -> StandingQuery:
        """Keep a question; what is answered has its id, its secret and its threshold. Raises `InputError` kinds."""
        ...

    def unstand(self, id: str) -> None:
        """Forget a standing query; raises `NotFound`."""
        ...

    def embed_images(self, images: Sequence[bytes]) -> list[EmbeddedImage]: ...
    def embed_texts(self, texts: Sequence[str]) -> Embeddings: ...
    def image(self, id: str) -> ImageRecord: ...
    def newest(self, limit: int, before: int | None = None, where: Where = EVERYWHERE) -> Newest:
        """The latest indexed images that pass `where`; `before` as told by the page before."""
        ...

    def thumbnail(self, id: str, side_px: int) -> bytes: ...
    def refused(self, limit: int, offset: int = 0) -> tuple[list[FileRecord], int]: ...
    def stats(self) -> Stats: ...
    def queue(self) -> QueueState:
        """The queues before the encoder, now."""
        ...

    def gpu_memory(self) -> GpuMemory: ...
    def memory_history(self, seconds: int) -> MemoryHistory:
        """The last ten minutes second by second, or, where more is asked for, the last day minute by minute."""
        ...

    def release_memory(self) -> Released:
        """Give unused memory back to drivers and system. What is in use stays, and nobody is held up for long."""
        ...

    def readiness(self) -> Readiness: ...
    def listen(self, topics: Collection[str], tell: Callable[[Event], None]) -> Callable[[], None]:
        """Call `tell` with the state of each topic now, and then with its events; what is returned ends that.

        Does not block. `tell` runs in the engine's thread, and must not block; if it raises, it is called no more.

        Raises:
            InputError: There is no such topic.
        """
        ...

    def rescan(self, *, confirm_gone: bool = False) -> None:
        """Compare the folders with the catalogue soon; `confirm_gone` lets go of files whose loss was held in doubt."""
        ...

    def retry(self, path: FilePath | None = None) -> int:
        """Try refused files again, those at or below `path`, or all; how many they are."""
        ...

    def rebuild(self, *, reencode: bool = False) -> Progress:
        """Start making the index anew in the background; the running one is returned when there is one already."""
        ...

    def verify(self, *, sample: int = 0, repair: bool = False) -> Progress:
        """Start comparing catalogue, features, index and files in the background, or join the one that runs.

        Args:
            sample: Images to read and encode again, chosen at random.
            repair: Mend what is found. Nobody's files are touched.
        """
        ...

    def tune(self) -> Progress:
        """Start measuring batches in the background, between queries, or join the measurement that runs.

        The choice is kept, and in force at once unless the configuration names a size.
        """
        ...

    def tuning(self) -> Tuning:
        """What was measured of batches on this device with this model. Raises `NotTuned` where nothing was."""
        ...

    def why(self, path: FilePath) -> Explanation:
        """What is known of a path, and why it can be found or not. Raises `InputError` unless it is absolute."""
        ...
