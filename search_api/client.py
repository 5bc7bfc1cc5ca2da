"""The client: the service's answers, typed, and its errors as the house's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from indexer.errors import IndexerError, Unreachable
from indexer.types import TOPICS
from search_api.errors import PROBLEM_TYPE, Problem, error_of
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
    WhyAnswer,
)
from search_api.settings import LIMIT

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class Narrowed(TypedDict, total=False):
    """Options of `/api/search` that go with every way of asking; see `SearchRequest`."""

    score_threshold: float
    diversity: float
    collapse: Literal["content", "near"]
    cut: Literal["auto"]


class Client:
    """Asks a running service. Safe to share between threads; a context manager.

    Every method returns a frozen record of `search_api.schemas` (`msgspec.json.encode` gives its JSON) and raises

    - `NotFound`, `ImageRefused`, `NoTextTower`, `InputError`: the question cannot be answered as it was put;
    - `Overloaded`, `ModelError`, `StoreError`, ...: the service cannot answer now;
    - `ConfigError`: the key, or the name in the address, is not accepted;
    - `Unreachable`: no such service answers at the address, or not within `timeout_s`.

    Args:
        base_url: Where the service listens, such as http://127.0.0.1:7860.
        api_key: Its key, if it has one.
        timeout_s: Longest wait for the service to take or to send anything.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout_s: float = 30.0) -> None:
        import httpx  # here: it takes longer to import than most questions to answer

        self.base_url = base_url.rstrip("/")
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        # Proxies of the environment are not for a service on this machine.
        self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout_s, trust_env=False)
        self._failures = (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # ------------------------------------------------------------ search

    def search(self, question: SearchRequest) -> SearchAnswer:
        """Pictures for any question: mixtures, filters, pages and all; see `search_api.schemas.SearchRequest`."""
        return self._post("/api/search", question, SearchAnswer)

    def search_text(self, text: str, limit: int = LIMIT, offset: int = 0) -> SearchAnswer:
        """Pictures that the words describe."""
        return self._search(text=text, limit=limit, offset=offset)

    def search_image(
        self, data: bytes, limit: int = LIMIT, offset: int = 0, **options: Unpack[Narrowed]
    ) -> SearchAnswer:
        """Pictures like the one whose file these bytes are."""
        parameters = {"limit": limit, "offset": offset, **options}
        return self._picture("/api/search/image", data, SearchAnswer, parameters)

    def search_id(self, id: str, limit: int = LIMIT, offset: int = 0) -> SearchAnswer:
        """Pictures like an indexed one."""
        return self._search(id=id, limit=limit, offset=offset)

    def search_vector(self, vector: Sequence[float], limit: int = LIMIT, offset: int = 0) -> SearchAnswer:
        """Pictures near a vector of the visual or of the joint space."""
        return self._search(vector=list(vector), limit=limit, offset=offset)

    def similar(self, id: str, limit: int = LIMIT, offset: int = 0, **options: Unpack[Narrowed]) -> SearchAnswer:
        """As `search_id`."""
        parameters = {"limit": limit, "offset": offset, **options}
        return self._get(f"/api/images/{quote(id, safe='')}/similar", SearchAnswer, **parameters)

    # ------------------------------------------------------------ vectors

    def embed_image(self, data: bytes) -> EmbedImageAnswer:
        """Feature and joint embedding of a picture."""
        return self._picture("/api/embed/image", data, EmbedImageAnswer)

    def embed_text(self, texts: str | Sequence[str]) -> EmbedTextAnswer:
        """Joint embeddings of one text or several."""
        body = {"text": texts} if isinstance(texts, str) else {"texts": list(texts)}
        return self._post("/api/embed/text", body, EmbedTextAnswer)

    # ------------------------------------------------------------ pictures

    def image(self, id: str) -> ImageAnswer:
        """What is known of a picture."""
        return self._get(f"/api/images/{quote(id, safe='')}", ImageAnswer)

    def thumbnail(self, id: str, side: int = 256) -> bytes:
        """A JPEG that fits into a square of `side` pixels."""
        return self._send("GET", f"/api/images/{quote(id, safe='')}/thumbnail", params={"side": side}).content

    def duplicates(self, tier: str = "same", limit: int = 50, offset: int = 0) -> DuplicatesAnswer:
        """Pictures that are there more than once; while `progress` is there, newer groups may come."""
        return self._get("/api/duplicates", DuplicatesAnswer, tier=tier, limit=limit, offset=offset)

    # ------------------------------------------------------------ questions that stand

    def standing(self) -> list[StandingAnswer]:
        """Every standing query."""
        return self._get("/api/standing", StandingAnswers).standing

    def stand(self, question: SearchRequest, name: str = "", webhook: str | None = None) -> StandingAnswer:
        """Have a question stand; `events(["match"])` tells what comes. The secret is told here alone."""
        return self._post("/api/standing", StandingRequest(question, name, webhook), StandingAnswer)

    def unstand(self, id: str) -> None:
        """Forget a standing query."""
        self._send("DELETE", f"/api/standing/{quote(id, safe='')}")

    # ------------------------------------------------------------ the service

    def stats(self) -> StatsAnswer:
        """Counts, rates and progress."""
        return self._get("/api/stats", StatsAnswer)

    def errors(self, limit: int = 100, offset: int = 0) -> ErrorsAnswer:
        """Refused files, the latest first."""
        return self._get("/api/errors", ErrorsAnswer, limit=limit, offset=offset)

    def retry(self, path: str | None = None) -> RetryAnswer:
        """Have refused files tried again: one, those below a folder, or all."""
        return self._post("/api/errors/retry", {} if path is None else {"path": path}, RetryAnswer)

    def events(self, topics: Sequence[str] = TOPICS) -> Iterator[tuple[str, dict[str, Any]]]:
        """Topic and data of each event, as they happen, until the service stops."""
        parameters = {"topics": ",".join(topics)}
        try:
            with self._http.stream("GET", "/api/events", params=parameters) as response:
                if not response.is_success:
                    response.read()
                yield from _events_of(self._checked(response).iter_lines())
        except self._failures as e:
            raise self._unreachable(e) from e

    def gpu_memory(self) -> GpuMemoryAnswer:
        """Memory of every GPU and of the service, and what it is used for."""
        return self._get("/api/gpu/memory", GpuMemoryAnswer)

    def memory_history(self, seconds: int = 600) -> MemoryHistoryAnswer:
        """The same over time."""
        return self._get("/api/gpu/memory/history", MemoryHistoryAnswer, seconds=seconds)

    def release_memory(self) -> ReleasedAnswer:
        """Have unused memory given back."""
        return self._post("/api/gpu/memory/release", {}, ReleasedAnswer)

    def tuning(self) -> TuningAnswer:
        """What was measured of batches; `NotTuned` where nothing was."""
        return self._get("/api/tune", TuningAnswer)

    def tune(self) -> ProgressAnswer:
        """Have batches measured; `stats` shows how far it is, and `tuning` what came of it."""
        return self._post("/api/tune", {}, ProgressAnswer)

    def rescan(self, *, confirm_gone: bool = False) -> AcceptedAnswer:
        """Have the watched folders compared with what is known."""
        return self._post("/api/index/rescan", {"confirm_gone": confirm_gone}, AcceptedAnswer)

    def rebuild(self, *, reencode: bool = False) -> ProgressAnswer:
        """Have the index made anew; `stats` shows how far it is."""
        return self._post("/api/index/rebuild", {"reencode": reencode}, ProgressAnswer)

    def verify(self, *, sample: int = 0, repair: bool = False) -> ProgressAnswer:
        """Have what is stored compared; `stats` shows how far it is, and then what was found."""
        return self._post("/api/index/verify", {"sample": sample, "repair": repair}, ProgressAnswer)

    def why(self, path: bytes) -> WhyAnswer:
        """What is known of an absolute path, spelt as the file system does."""
        return self._read(self._send("GET", f"/api/why?path={quote(path, safe='/')}"), WhyAnswer)

    def live(self) -> LiveAnswer:
        """Whether the process answers."""
        return self._get("/health/live", LiveAnswer)

    def ready(self) -> ReadyAnswer:
        """Whether searches are answered; not being ready is an answer, not an error."""
        response = self._request("GET", "/health/ready")
        if response.status_code == 503:
            what = self._problem(response)
            if what.ready is not None:
                return ReadyAnswer(what.ready, what.checks)
        return self._read(self._checked(response), ReadyAnswer)

    # ------------------------------------------------------------ the wire

    def _search(self, **question: Any) -> SearchAnswer:
        return self.search(SearchRequest(**question))

    def _get(self, path: str, answer: type[T], **parameters: Any) -> T:
        return self._read(self._send("GET", path, params=parameters), answer)

    def _post(self, path: str, body: Any, answer: type[T]) -> T:
        headers = {"content-type": "application/json"}
        return self._read(self._send("POST", path, content=msgspec.json.encode(body), headers=headers), answer)

    def _picture(self, path: str, data: bytes, answer: type[T], parameters: dict[str, Any] | None = None) -> T:
        headers = {"content-type": "application/octet-stream"}
        return self._read(self._send("POST", path, content=data, headers=headers, params=parameters or {}), answer)

    def _send(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self._checked(self._request(method, path, **how))

    def _request(self, method: str, path: str, **how: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **how)
        except self._failures as e:
            raise self._unreachable(e) from e

    def _unreachable(self, error: Exception) -> Unreachable:
        why = str(error) or type(error).__name__
        return Unreachable(f"No answer from {self.base_url} ({why}); is `indexer serve` running?")

    def _checked(self, response: httpx.Response) -> httpx.Response:
        if response.is_success:
            return response
        raise error_of(self._problem(response))

    def _problem(self, response: httpx.Response) -> Problem:
        if response.headers.get("content-type") != PROBLEM_TYPE:
            raise self._stranger()
        return self._read(response, Problem)

    def _read(self, response: httpx.Response, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.MsgspecError as e:
            raise self._stranger() from e

    def _stranger(self) -> IndexerError:
        return Unreachable(f"Something else than this service answers at {self.base_url}; check host and port.")


def _events_of(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events that this service sends: each is a line that names its topic, and one of JSON."""
    topic = ""
    for line in lines:
        if line.startswith("event: "):
            topic = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield topic, msgspec.json.decode(line.removeprefix("data: "))
