"""An engine without parts: a handful of made-up pictures, searched exactly, the same on every run."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import ImageRefused, InputError, NotFound, NotTuned
from indexer.types import (
    EVERYWHERE,
    PLAIN,
    BatchRow,
    DeviceLoad,
    DuplicateGroup,
    DuplicatePage,
    Effort,
    EmbeddedImage,
    Embeddings,
    EmbeddingSpace,
    Evaluation,
    Event,
    Explanation,
    FilePath,
    FileRecord,
    Finding,
    Flaw,
    GpuMemory,
    Hit,
    IdQuery,
    ImageInfo,
    ImageQuery,
    ImageRecord,
    IndexNews,
    Matrix,
    MemoryHistory,
    MemorySeries,
    MixedQuery,
    Newest,
    Options,
    Preprocess,
    Progress,
    Query,
    QueueState,
    Readiness,
    Reason,
    Released,
    SearchResult,
    Stamp,
    Standing,
    StandingQuery,
    Stats,
    TextQuery,
    Tier,
    Tuning,
    VectorQuery,
    VerifyReport,
    Where,
    content_hash,
    is_at_or_below,
)

DIM, JOINT = 8, 4
QUEUE = QueueState(4, 0.5, 12.5, 8, 1, 0.75, "encode", (DeviceLoad("cpu", "open", 12.5, 0.75, 8, 11, 1000),))
SPACE = EmbeddingSpace(
    "fake", "random-0", "fp32", DIM, Preprocess(side_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
)
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
BROKEN = b"this is no picture"
MTIME_S = 1_763_812_800.5
"""2025-11-22T12:00:00.5Z"""
EVALUATION = Evaluation(
    "e" * 16, SPACE.model, SPACE.weights, "int8+bf16", "a fake device", 1000, 500, 25, 0.999, 0.998, 0.99, 0.98, 0.003,
    Effort("fp32", 10.0, 4_000_000, 3_000_000), Effort("int8+bf16", 25.0, 2_000_000, 1_000_000), MTIME_S,
)  # fmt: skip
TUNING = Tuning(
    2, (BatchRow(1, 1000, 10.0, 100.0), BatchRow(2, 1500, 16.0, 125.0), BatchRow(4, 2500, 16.2, 247.0)), "asked",
    8000, 250.0, "a fake device", SPACE.model, SPACE.precision, SPACE.fingerprint, MTIME_S,
)  # fmt: skip


def vector_of(seed: bytes, dim: int) -> NDArray[np.float32]:
    """A unit vector that depends on `seed` alone."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(seed).digest()[:8], "little"))
    vector = rng.standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def picture(i: int) -> bytes:
    """The bytes of the i-th indexed picture; sending them finds it with a score of 1."""
    return JPEG + b"%d" % i


class FakeEngine:
    """Port `Engine` over `n_images` records.

    Attributes:
        fail: Method name -> what it raises from now on.
        hold: While it is cleared, `search` waits in it; each entry releases `entered`.
        calls: Every call's name and arguments.
    """

    def __init__(self, n_images: int = 5) -> None:
        self.records = {record.hash.hex(): record for record in map(_record, range(n_images))}
        self.features: Matrix = np.stack([vector_of(record.hash, DIM) for record in self.records.values()])
        self.projection: Matrix = np.random.default_rng(1).standard_normal((DIM, JOINT)).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget what a test has set."""
        self.fail: dict[str, Exception] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.entered = threading.Semaphore(0)
        self.calls: list[tuple[str, object]] = []
        self.ready = Readiness(True, {"model": "ok", "index": "ok"})
        self.refused_files = [_refused(i) for i in range(3)]
        self.memory = GpuMemory(False, "no NVIDIA driver")
        self.report: VerifyReport | None = report()
        self.tuned: Tuning | None = TUNING
        self.searching: Progress | None = None
        self.searched = True
        self.stood: dict[str, StandingQuery] = {}
        self.listeners: list[tuple[frozenset[str], Callable[[Event], None]]] = []

    @property
    def space(self) -> EmbeddingSpace:
        return SPACE

    @property
    def dims(self) -> tuple[int, int | None]:
        return DIM, JOINT

    def search(self, query: Query, limit: int, offset: int = 0, options: Options = PLAIN) -> SearchResult:
        self._called("search", query)
        if options != PLAIN:
            self._called("options", options)
        self.entered.release()
        if not self.hold.wait(30):
            raise AssertionError("held for ever")
        start = time.perf_counter()
        scores = self._scores(query)
        best = np.argsort(-scores, kind="stable")[offset : offset + limit]
        records = list(self.records.values())
        hits = tuple(
            Hit(r.hash.hex(), float(scores[i]), r.paths[0], r.paths, r.info, r.modified_s)
            for i in best
            for r in [records[i]]
        )
        took_ms = (time.perf_counter() - start) * 1e3
        return SearchResult(hits, 0.25, took_ms, 0.25 + took_ms, len(records), 7)

    def duplicates(self, tier: Tier, limit: int, offset: int = 0) -> DuplicatePage:
        self._called("duplicates", (tier, limit, offset))
        records = tuple(self.records.values())
        groups = {Tier.SAME: [records[:1]], Tier.VARIANT: [records[1:3], records[3:5]], Tier.SIMILAR: []}[tier]
        some = tuple(DuplicateGroup(0.75, images) for images in groups[offset : offset + limit])
        return DuplicatePage(some if self.searched else (), len(groups), self.searching, self.searched, 0.5)

    def standing(self) -> list[StandingQuery]:
        self._called("standing", None)
        return list(self.stood.values())

    def stand(self, query: StandingQuery) -> StandingQuery:
        self._called("stand", query)
        threshold = query.threshold if query.threshold == query.threshold else 0.25
        secret = "s" * 64 if query.webhook else None
        made = replace(query, id=f"{len(self.stood):016x}", threshold=threshold, secret=secret, created_at=MTIME_S)
        self.stood[made.id] = made
        return made

    def unstand(self, id: str) -> None:
        self._called("unstand", id)
        if self.stood.pop(id, None) is None:
            raise NotFound("There is none.")

    def embed_images(self, images: Sequence[bytes]) -> list[EmbeddedImage]:
        self._called("embed_images", list(images))
        embedded = []
        for data in images:
            feature = self._image(data)
            joint = feature @ self.projection
            embedded.append(EmbeddedImage(content_hash(data).hex(), feature, joint / np.linalg.norm(joint)))
        return embedded

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        self._called("embed_texts", list(texts))
        return np.stack([vector_of(text.encode(), JOINT) for text in texts])

    def image(self, id: str) -> ImageRecord:
        self._called("image", id)
        if id not in self.records:
            raise NotFound(f"No live image has the id {id}.")
        return self.records[id]

    def newest(self, limit: int, before: int | None = None, where: Where = EVERYWHERE) -> Newest:
        self._called("newest", (limit, before, where))
        latest = [record for record in reversed(self.records.values()) if before is None or record.vector_id < before]
        page = tuple(latest[:limit])
        return Newest(page, len(self.records), page[-1].vector_id if len(latest) > limit else None)

    def thumbnail(self, id: str, side_px: int) -> bytes:
        self._called("thumbnail", (id, side_px))
        self.image(id)
        return JPEG

    def refused(self, limit: int, offset: int = 0) -> tuple[list[FileRecord], int]:
        self._called("refused", (limit, offset))
        return self.refused_files[offset : offset + limit], len(self.refused_files)

    def stats(self) -> Stats:
        self._called("stats", None)
        return Stats(
            model="fake", fingerprint=SPACE.fingerprint, precision="fp32", device="cpu", started_at=MTIME_S,
            files=len(self.records) + 1, indexed=len(self.records), errors=len(self.refused_files),
            errors_by_reason={"corrupt": len(self.refused_files)}, pending=2, oldest_pending_s=0.5, encoded_total=11,
            cache_hits_total=3, removed_total=1, generation=7, index_bytes=80, images_per_s=0.0, limited_by="idle",
            progress=(_progress(True),), watching={"/pictures": "events"}, notices=("All is well.",),
            spaces=(
                {"fingerprint": SPACE.fingerprint, "model": "fake", "precision": "fp32", "active": True, "bytes": 80},
                {"fingerprint": "0" * 16, "model": "older", "precision": "bf16", "active": False, "bytes": 2_500_000},
            ),
            verify=self.report, batch_size=32, batch_size_from="recommended", queue=QUEUE,
        )  # fmt: skip

    def tuning(self) -> Tuning:
        self._called("tuning", None)
        if self.tuned is None:
            raise NotTuned("Nothing was measured.")
        return self.tuned

    def queue(self) -> QueueState:
        self._called("queue", None)
        return QUEUE

    def gpu_memory(self) -> GpuMemory:
        self._called("gpu_memory", None)
        return self.memory

    def memory_history(self, seconds: int) -> MemoryHistory:
        self._called("memory_history", seconds)
        return MemoryHistory(1, (MTIME_S, MTIME_S + 1), (MemorySeries("process", "weights", (None, 5)),))

    def release_memory(self) -> Released:
        self._called("release_memory", None)
        return Released(7, {"gpu0": 5, "process": 2})

    def readiness(self) -> Readiness:
        self._called("readiness", None)
        return self.ready

    def listen(self, topics: Collection[str], tell: Callable[[Event], None]) -> Callable[[], None]:
        self._called("listen", frozenset(topics))
        states: dict[str, Any] = {
            "index": IndexNews(len(self.records), 6, 2, 3, 7),
            "queue": QUEUE,
            "gpu": self.memory,
        }
        for topic in states.keys() & topics:
            tell(Event(topic, states[topic]))
        listener = (frozenset(topics), tell)
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener) if listener in self.listeners else None

    def publish(self, topic: str, data: Any) -> None:
        """Tell whoever listens."""
        for topics, tell in self.listeners:
            if topic in topics:
                tell(Event(topic, data))

    def retry(self, path: FilePath | None = None) -> int:
        self._called("retry", path)
        return sum(path is None or is_at_or_below(file.path, path) for file in self.refused_files)

    def rescan(self, *, confirm_gone: bool = False) -> None:
        self._called("rescan", confirm_gone)

    def rebuild(self, *, reencode: bool = False) -> Progress:
        self._called("rebuild", reencode)
        return _progress(True)

    def tune(self) -> Progress:
        self._called("tune", None)
        return Progress("tune", True, 0, 0, 0.0, None)

    def verify(self, *, sample: int = 0, repair: bool = False) -> Progress:
        self._called("verify", (sample, repair))
        return Progress("verify", True, 0, 12, 0.0, None)

    def why(self, path: FilePath) -> Explanation:
        self._called("why", path)
        record = next((record for record in self.records.values() if path in record.paths), None)
        if record is None:
            return Explanation(path, Standing.NOT_THERE, False, "Nothing is there, and nothing is recorded of it.")
        others = tuple(other for other in record.paths if other != path)
        return Explanation(
            path, Standing.INDEXED, True, f"It is indexed as {record.hash.hex()}.", recorded_at=MTIME_S,
            hash=record.hash, vector_id=record.vector_id, same_content=others,
        )  # fmt: skip

    def _called(self, name: str, argument: object) -> None:
        self.calls.append((name, argument))
        if name in self.fail:
            raise self.fail[name]

    def _scores(self, query: Query) -> NDArray[np.float32]:
        if isinstance(query, IdQuery):
            index = list(self.records).index(self.image(query.id).hash.hex())
            return np.asarray(self.features @ self.features[index])
        if isinstance(query, ImageQuery):
            return np.asarray(self.features @ self._image(query.data))
        joint = self.features @ self.projection
        joint /= np.linalg.norm(joint, axis=1, keepdims=True)
        if isinstance(query, TextQuery):
            return np.asarray(joint @ vector_of(query.text.encode(), JOINT))
        if isinstance(query, MixedQuery):
            return np.asarray(
                sum((w * self._scores(q) for q, w in query.terms), np.zeros(len(self.records), np.float32))
            )
        assert isinstance(query, VectorQuery)
        vector = np.asarray(query.vector, np.float32)
        if len(vector) not in (DIM, JOINT):
            raise InputError("wrong length")
        return np.asarray((self.features if len(vector) == DIM else joint) @ vector)

    def _image(self, data: bytes) -> NDArray[np.float32]:
        if not data.startswith(JPEG[:3]):
            refused = ImageRefused(Reason.CORRUPT, "cannot identify image file <_io.BytesIO object at 0x7f0123456789>")
            refused.hash = content_hash(data)
            raise refused
        return vector_of(content_hash(data), DIM)


def _record(i: int) -> ImageRecord:
    data = picture(i)
    first = FilePath(b"/pictures/%d.jpg" % i)
    paths = (first, FilePath(b"/pictures/copy-\xff.jpg")) if i == 0 else (first,)
    return ImageRecord(i + 1, content_hash(data), ImageInfo("JPEG", 640, 480, len(data)), paths, MTIME_S + i)


def _refused(i: int) -> FileRecord:
    stamp = Stamp(1, i, 18, int(MTIME_S * 1e9), 0)
    path = FilePath(b"/pictures/broken-%d.jpg" % i)
    return FileRecord(path, stamp, None, None, Reason.CORRUPT, "cannot be decoded", MTIME_S + i)


def _progress(running: bool) -> Progress:
    return Progress("rebuild", running, 3, 5, 100.0, 0.02, {"n_encoded": 0})


def report(**changes: Any) -> VerifyReport:
    """What a verification of the made-up pictures says."""
    finding = Finding(Flaw.MISSING, "the index has no row", content_hash(picture(0)), 1, mended=True)
    members = {
        "started_at": MTIME_S, "seconds": 1.5, "sample": 0, "repair": True, "files": 6, "contents": 5, "features": 7,
        "rows": 4, "kept": 2, "reencoded": 0, "found": {Flaw.MISSING: 1}, "mended": {Flaw.MISSING: 1},
        "examples": (finding,), "notes": ("All else is well.",),
    }  # fmt: skip
    return VerifyReport(**{**members, **changes})


def id_of(i: int) -> str:
    """Id of the i-th indexed picture."""
    return content_hash(picture(i)).hex()
