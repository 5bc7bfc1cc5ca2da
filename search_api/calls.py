"""What the service may be asked: each question as the request that it is, and what its answer means.

Nothing is sent here. `search_api.client` has the methods: one client for threads, one for event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, Never, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from search_api.errors import Problem, error_of
from search_api.schemas import (
    AcceptedAnswer,
    DuplicatesAnswer,
    EmbedImageAnswer,
    EmbedTextAnswer,
    ErrorsAnswer,
    GpuMemoryAnswer,
    ImageAnswer,
    LiveAnswer,
    MemoryHistoryAnswer,
    NewestAnswer,
    NewestRequest,
    ProgressAnswer,
    ReadyAnswer,
    ReleasedAnswer,
    RetryAnswer,
    SearchAnswer,
    SearchRequest,
    StandingAnswer,
    StandingAnswers,
    StandingRequest,
    StatsAnswer,
    TuningAnswer,
    WhereRequest,
    WhyAnswer,
)
from search_api.settings import LIMIT

T = TypeVar("T")


class Narrowed(TypedDict, total=False):
    """Options of `/api/search` that go with every way of asking; see `SearchRequest`."""

    score_threshold: float
    diversity: float
    collapse: Literal["content", "near"]
    cut: Literal["auto"]


def _raise(what: Problem) -> Never:
    raise error_of(what)


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        path: Below the service's address.
        means: Makes of a good answer's body what it says; raises `msgspec.MsgspecError` for what is none.
        parameters: Of the query.
        body: Its media type and bytes.
        failed: Raises what a problem means, or makes an answer of it.
    """

    method: str
    path: str
    means: Callable[[bytes], T]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: tuple[str, bytes] | None = None
    failed: Callable[[Problem], T] = _raise


# ---------------------------------------------------------------- search


def search(question: SearchRequest) -> Call[SearchAnswer]:
    """Pictures for any question: mixtures, filters, pages and all; see `search_api.schemas.SearchRequest`."""
    return _post("/api/search", question, SearchAnswer)


def search_text(text: str, limit: int = LIMIT, offset: int = 0) -> Call[SearchAnswer]:
    """Pictures that the words describe."""
    return search(SearchRequest(text=text, limit=limit, offset=offset))


def search_image(data: bytes, limit: int = LIMIT, offset: int = 0, **options: Unpack[Narrowed]) -> Call[SearchAnswer]:
    """Pictures like the one whose file these bytes are."""
    return _picture("/api/search/image", data, SearchAnswer, limit=limit, offset=offset, **options)


def search_id(id: str, limit: int = LIMIT, offset: int = 0) -> Call[SearchAnswer]:
    """Pictures like an indexed one."""
    return search(SearchRequest(id=id, limit=limit, offset=offset))


def search_vector(vector: Sequence[float], limit: int = LIMIT, offset: int = 0) -> Call[SearchAnswer]:
    """Pictures near a vector of the visual or of the joint space."""
    return search(SearchRequest(vector=list(vector), limit=limit, offset=offset))


def similar(id: str, limit: int = LIMIT, offset: int = 0, **options: Unpack[Narrowed]) -> Call[SearchAnswer]:
    """As `search_id`."""
    return _get(f"{_image(id)}/similar", SearchAnswer, limit=limit, offset=offset, **options)


# ---------------------------------------------------------------- vectors


def embed_image(data: bytes) -> Call[EmbedImageAnswer]:
    """Feature and joint embedding of a picture."""
    return _picture("/api/embed/image", data, EmbedImageAnswer)


def embed_text(texts: str | Sequence[str]) -> Call[EmbedTextAnswer]:
    """Joint embeddings of one text or several."""
    body = {"text": texts} if isinstance(texts, str) else {"texts": list(texts)}
    return _post("/api/embed/text", body, EmbedTextAnswer)


# ---------------------------------------------------------------- pictures


def image(id: str) -> Call[ImageAnswer]:
    """What is known of a picture."""
    return _get(_image(id), ImageAnswer)


def thumbnail(id: str, side: int = 256) -> Call[bytes]:
    """A JPEG that fits into a square of `side` pixels."""
    return Call("GET", f"{_image(id)}/thumbnail", bytes, {"side": side})


def newest(limit: int = LIMIT, before: int | None = None, where: WhereRequest | None = None) -> Call[NewestAnswer]:
    """The pictures that were indexed last; `before` of an answer asks for the next page."""
    return _post("/api/images/newest", NewestRequest(limit, before, where), NewestAnswer)


def duplicates(tier: str = "same", limit: int = 50, offset: int = 0) -> Call[DuplicatesAnswer]:
    """Pictures that are there more than once; while `progress` is there, newer groups may come."""
    return _get("/api/duplicates", DuplicatesAnswer, tier=tier, limit=limit, offset=offset)


# ---------------------------------------------------------------- questions that stand


def standing() -> Call[list[StandingAnswer]]:
    """Every standing query."""
    return Call("GET", "/api/standing", lambda body: _read(StandingAnswers, body).standing)


def stand(question: SearchRequest, name: str = "", webhook: str | None = None) -> Call[StandingAnswer]:
    """Have a question stand; `events(["match"])` tells what comes. The secret is told here alone."""
    return _post("/api/standing", StandingRequest(question, name, webhook), StandingAnswer)


def unstand(id: str) -> Call[None]:
    """Forget a standing query."""
    return Call("DELETE", f"/api/standing/{quote(id, safe='')}", lambda _body: None)


# ---------------------------------------------------------------- the service


def stats() -> Call[StatsAnswer]:
    """Counts, rates and progress."""
    return _get("/api/stats", StatsAnswer)


def errors(limit: int = 100, offset: int = 0) -> Call[ErrorsAnswer]:
    """Refused files, the latest first."""
    return _get("/api/errors", ErrorsAnswer, limit=limit, offset=offset)


def retry(path: str | None = None) -> Call[RetryAnswer]:
    """Have refused files tried again: one, those below a folder, or all."""
    return _post("/api/errors/retry", {} if path is None else {"path": path}, RetryAnswer)


def gpu_memory() -> Call[GpuMemoryAnswer]:
    """Memory of every GPU and of the service, and what it is used for."""
    return _get("/api/gpu/memory", GpuMemoryAnswer)


def memory_history(seconds: int = 600) -> Call[MemoryHistoryAnswer]:
    """The same over time."""
    return _get("/api/gpu/memory/history", MemoryHistoryAnswer, seconds=seconds)


def release_memory() -> Call[ReleasedAnswer]:
    """Have unused memory given back."""
    return _post("/api/gpu/memory/release", {}, ReleasedAnswer)


def tuning() -> Call[TuningAnswer]:
    """What was measured of batches; `NotTuned` where nothing was."""
    return _get("/api/tune", TuningAnswer)


def tune() -> Call[ProgressAnswer]:
    """Have batches measured; `stats` shows how far it is, and `tuning` what came of it."""
    return _post("/api/tune", {}, ProgressAnswer)


def rescan(*, confirm_gone: bool = False) -> Call[AcceptedAnswer]:
    """Have the watched folders compared with what is known."""
    return _post("/api/index/rescan", {"confirm_gone": confirm_gone}, AcceptedAnswer)


def rebuild(*, reencode: bool = False) -> Call[ProgressAnswer]:
    """Have the index made anew; `stats` shows how far it is."""
    return _post("/api/index/rebuild", {"reencode": reencode}, ProgressAnswer)


def verify(*, sample: int = 0, repair: bool = False) -> Call[ProgressAnswer]:
    """Have what is stored compared; `stats` shows how far it is, and then what was found."""
    return _post("/api/index/verify", {"sample": sample, "repair": repair}, ProgressAnswer)


def why(path: bytes) -> Call[WhyAnswer]:
    """What is known of an absolute path, spelt as the file system does."""
    return _get(f"/api/why?path={quote(path, safe='/')}", WhyAnswer)


def live() -> Call[LiveAnswer]:
    """Whether the process answers."""
    return _get("/health/live", LiveAnswer)


def ready() -> Call[ReadyAnswer]:
    """Whether searches are answered; not being ready is an answer, not an error."""

    def not_ready(what: Problem) -> ReadyAnswer:
        return _raise(what) if what.ready is None else ReadyAnswer(what.ready, what.checks)

    return Call("GET", "/health/ready", partial(_read, ReadyAnswer), failed=not_ready)


# ---------------------------------------------------------------- the wire


def _get(path: str, answer: type[T], **parameters: Any) -> Call[T]:
    return Call("GET", path, partial(_read, answer), parameters)


def _post(path: str, body: Any, answer: type[T]) -> Call[T]:
    return Call("POST", path, partial(_read, answer), body=("application/json", msgspec.json.encode(body)))


def _picture(path: str, data: bytes, answer: type[T], **parameters: Any) -> Call[T]:
    return Call("POST", path, partial(_read, answer), parameters, ("application/octet-stream", data))


def _image(id: str) -> str:
    return f"/api/images/{quote(id, safe='')}"


def _read(answer: type[T], body: bytes) -> T:
    return msgspec.json.decode(body, type=answer)
