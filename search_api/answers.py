"""From the house's records to the wire's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast

import msgspec

from indexer.types import (
    DuplicatePage,
    EmbeddedImage,
    Embeddings,
    EmbeddingSpace,
    Event,
    Explanation,
    FilePath,
    FileRecord,
    GpuMemory,
    ImageInfo,
    ImageRecord,
    Leak,
    Match,
    MemoryHistory,
    Newest,
    Progress,
    Released,
    SearchResult,
    StandingQuery,
    Stats,
    Tier,
    Tuning,
    VerifyReport,
    display_path,
)
from indexer.types import Hit as HitRecord
from search_api.schemas import (
    DuplicateGroupAnswer,
    DuplicatesAnswer,
    EmbedImageAnswer,
    EmbedTextAnswer,
    ErrorsAnswer,
    FindingAnswer,
    GpuMemoryAnswer,
    Hit,
    ImageAnswer,
    IndexEvent,
    IndexState,
    LeakAnswer,
    MatchEvent,
    MemoryHistoryAnswer,
    NewestAnswer,
    ProgressAnswer,
    QueueEvent,
    RefusedFile,
    ReleasedAnswer,
    SearchAnswer,
    StandingAnswer,
    StatsAnswer,
    TookMs,
    TuningAnswer,
    VerifyAnswer,
    WhyAnswer,
)

_EARLIEST_S = datetime(1, 1, 2, tzinfo=UTC).timestamp()
_LATEST_S = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as text in UTC. File systems hold times that calendars do not: those are clamped."""
    moment = datetime.fromtimestamp(min(max(seconds, _EARLIEST_S), _LATEST_S), UTC)
    return moment.isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=8)
def fingerprint(space: EmbeddingSpace) -> str:
    """The space's fingerprint; a digest each time is too dear for every answer."""
    return space.fingerprint


def search_answer(result: SearchResult, space: EmbeddingSpace, limit: int, offset: int) -> SearchAnswer:
    """The wire form of a search."""
    return SearchAnswer(
        hits=[_hit(hit) for hit in result.hits],
        limit=limit,
        offset=offset,
        took_ms=TookMs(round(result.embed_ms, 3), round(result.search_ms, 3), round(result.total_ms, 3)),
        model=space.model,
        space=fingerprint(space),
        index=IndexState(result.count, result.generation),
        cursor=result.cursor,
        cut_score=result.cut_score,
        matching=result.matching,
    )


def _hit(hit: HitRecord) -> Hit:
    return Hit(
        hit.id,
        float(hit.score),
        *_picture(hit.id, hit.path, hit.paths, hit.info, hit.modified_s),
        relevance=hit.relevance,
        n_alike=hit.n_alike,
        vector=None if hit.vector is None else hit.vector.tolist(),
    )


def image_answer(record: ImageRecord) -> ImageAnswer:
    """The wire form of an indexed picture."""
    name = record.hash.hex()
    return ImageAnswer(name, *_picture(name, record.paths[0], record.paths, record.info, record.modified_s))


def newest_answer(page: Newest) -> NewestAnswer:
    """The wire form of a page of pictures."""
    return NewestAnswer([image_answer(record) for record in page.images], page.matching, page.before)


def duplicates_answer(page: DuplicatePage, tier: Tier, limit: int, offset: int) -> DuplicatesAnswer:
    """The wire form of a page of duplicates."""
    return DuplicatesAnswer(
        tier=tier.value,
        groups=[
            DuplicateGroupAnswer(float(group.score), [image_answer(image) for image in group.images])
            for group in page.groups
        ],
        total=page.total,
        limit=limit,
        offset=offset,
        took_ms=round(page.total_ms, 3),
        progress=None if page.progress is None else progress_answer(page.progress),
    )


def standing_answer(query: StandingQuery, *, secret: bool = False) -> StandingAnswer:
    """The wire form of a standing query; its secret only when that is asked for."""
    return StandingAnswer(
        id=query.id,
        name=query.name,
        score_threshold=query.threshold,
        created=rfc3339(query.created_at),
        n_matches=query.n_matches,
        webhook=query.webhook,
        secret=query.secret if secret else None,
    )


def match_event(match: Match) -> MatchEvent:
    """The wire form of a match."""
    return MatchEvent(match.standing_id, match.name, float(match.score), image_answer(match.image))


def _picture(
    id: str, path: FilePath, paths: tuple[FilePath, ...], info: ImageInfo, modified_s: float
) -> tuple[str, list[str], int, int, str, str, str, int]:
    """What a hit and a picture have in common, in the order of their members."""
    return (
        display_path(path),
        [display_path(each) for each in paths],
        info.width_px,
        info.height_px,
        rfc3339(modified_s),
        f"/api/images/{id}/thumbnail",
        info.format,
        info.size_bytes,
    )


def embed_image_answer(image: EmbeddedImage, space: EmbeddingSpace) -> EmbedImageAnswer:
    """The wire form of an embedded picture."""
    embedding = None if image.embedding is None else image.embedding.tolist()
    return EmbedImageAnswer(image.id, image.feature.tolist(), embedding, space.model, fingerprint(space))


def embed_text_answer(embeddings: Embeddings, space: EmbeddingSpace) -> EmbedTextAnswer:
    """The wire form of embedded texts (n, j)."""
    return EmbedTextAnswer(embeddings.tolist(), embeddings.shape[1], space.model, fingerprint(space))


def errors_answer(records: list[FileRecord], total: int, limit: int, offset: int) -> ErrorsAnswer:
    """The wire form of a page of refused files."""
    return ErrorsAnswer([_refused(record) for record in records], limit, offset, total)


def _refused(record: FileRecord) -> RefusedFile:
    return RefusedFile(
        path=display_path(record.path),
        reason=record.reason.value if record.reason else "",
        detail=record.detail,
        recorded=rfc3339(record.recorded_at),
        modified=rfc3339(record.stamp.mtime_ns / 1e9),
        size_bytes=record.stamp.size_bytes,
        retried=bool(record.reason and record.reason.transient),
    )


def progress_answer(progress: Progress) -> ProgressAnswer:
    """The wire form of a long task."""
    return msgspec.convert(progress, ProgressAnswer, from_attributes=True)


def gpu_answer(memory: GpuMemory) -> GpuMemoryAnswer:
    """The wire form of the memory."""
    members = {name: getattr(memory, name) for name in GpuMemoryAnswer.__struct_fields__ if name != "leaks"}
    return msgspec.convert({**members, "leaks": leaks_answer(memory.leaks)}, GpuMemoryAnswer, from_attributes=True)


def leaks_answer(leaks: Sequence[Leak]) -> list[LeakAnswer]:
    """The wire form of what grows without end."""
    return [
        LeakAnswer(leak.component, leak.bytes_per_s, leak.bytes_per_request, rfc3339(leak.since), leak.sentence)
        for leak in leaks
    ]


def history_answer(history: MemoryHistory) -> MemoryHistoryAnswer:
    """The wire form of the memory's course."""
    return msgspec.convert(history, MemoryHistoryAnswer, from_attributes=True)


def released_answer(released: Released) -> ReleasedAnswer:
    """The wire form of what came back."""
    return msgspec.convert(released, ReleasedAnswer, from_attributes=True)


def event_frame(event: Event) -> bytes:
    """An event as a frame of an event stream."""
    members: msgspec.Struct
    match event.topic:
        case "index":
            members = msgspec.convert(event.data, IndexEvent, from_attributes=True)
        case "queue":
            members = msgspec.convert(event.data, QueueEvent, from_attributes=True)
        case "match":
            members = match_event(cast("Match", event.data))
        case _:
            members = gpu_answer(cast("GpuMemory", event.data))
    return b"event: %b\ndata: %b\n\n" % (event.topic.encode(), msgspec.json.encode(members))


def stats_answer(stats: Stats) -> StatsAnswer:
    """The wire form of the service's state."""
    members = {name: getattr(stats, name) for name in StatsAnswer.__struct_fields__ if hasattr(stats, name)}
    members["started_at"] = rfc3339(stats.started_at)
    members["verify"] = None if stats.verify is None else verify_answer(stats.verify)
    members["leaks"] = leaks_answer(stats.leaks)
    return msgspec.convert(members, StatsAnswer, from_attributes=True)


def tuning_answer(tuning: Tuning) -> TuningAnswer:
    """The wire form of measured batches."""
    members = {name: getattr(tuning, name) for name in TuningAnswer.__struct_fields__ if name != "measured"}
    return msgspec.convert({**members, "measured": rfc3339(tuning.measured_at)}, TuningAnswer, from_attributes=True)


def verify_answer(report: VerifyReport) -> VerifyAnswer:
    """The wire form of a verification's report."""
    return VerifyAnswer(
        ok=report.ok,
        started_at=rfc3339(report.started_at),
        seconds=report.seconds,
        sample=report.sample,
        repair=report.repair,
        files=report.files,
        contents=report.contents,
        features=report.features,
        rows=report.rows,
        kept=report.kept,
        reencoded=report.reencoded,
        found={flaw.value: n for flaw, n in report.found.items()},
        mended={flaw.value: n for flaw, n in report.mended.items()},
        examples=[
            FindingAnswer(
                each.flaw.value,
                each.what,
                each.hash.hex() if each.hash else None,
                each.vector_id,
                display_path(each.path) if each.path else None,
                each.mended,
            )
            for each in report.examples
        ],
        notes=list(report.notes),
    )


def why_answer(known: Explanation) -> WhyAnswer:
    """The wire form of what is known of a path."""
    return WhyAnswer(
        path=display_path(known.path),
        standing=known.standing.value,
        searchable=known.searchable,
        sentence=known.sentence,
        rule=known.rule,
        waits_s=None if known.waits_s is None else round(known.waits_s, 3),
        reason=known.reason.value if known.reason else None,
        detail=known.detail,
        recorded=None if known.recorded_at is None else rfc3339(known.recorded_at),
        id=known.hash.hex() if known.hash else None,
        vector_id=known.vector_id,
        same_content=[display_path(path) for path in known.same_content],
    )
