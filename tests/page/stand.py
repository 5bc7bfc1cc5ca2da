"""A service for the page's tests: it answers by the wire format, from drawn pictures, and does what a test says.

Words and pictures are compared by colour and thing, so a test knows what must come first.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
import numpy as np
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from search_api import assets, dialects
from search_api.bodies import ApiRequest
from search_api.errors import problem
from search_api.gate import Gate
from search_api.responses import problem_response
from search_api.routes import pages
from search_api.schemas import (
    DuplicatesAnswer,
    EmbedImageAnswer,
    ErrorsAnswer,
    GpuMemoryAnswer,
    ImageAnswer,
    MemoryHistoryAnswer,
    NewestAnswer,
    NewestRequest,
    ReleasedAnswer,
    SearchAnswer,
    SearchRequest,
    StatsAnswer,
    TuningAnswer,
)
from search_api.server import Server, bind
from search_api.service import Service
from search_api.settings import ApiSettings
from tests.fakes.engine import FakeEngine
from tests.page.made_up import TUNING, history, no_gpu, progress, refused, stats
from tests.page.pictures import DIM, FORMATS, Shown, vector_of, vector_of_picture

AnyRequest = Request[Any, Any, Any]
Told = TypeVar("Told")
QUESTIONS = ("/api/search", "/api/embed/image", "/api/images/newest")


@dataclass
class Stand:
    """The service's state, as a test sets it.

    Attributes:
        refusals: Path -> status, slug and sentence of the problem that it is answered with.
        held: Text -> an event that its answer waits for.
        asked: Every request as (method, path, body).
        line: The score from which hits are better than chance; None: it is not known.
        searching: The search for duplicates that is under way; None: they are known.
    """

    pictures: list[Shown] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    tiers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    searching: dict[str, Any] | None = None
    line: float | None = None
    refusals: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    held: dict[str, threading.Event] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    listeners: list[asyncio.Queue[bytes | None]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None
    url: str = ""

    def reset(self, n: int = 120) -> None:
        """As new, with `n` pictures."""
        self.pictures = [
            Shown(i, f"{i:03}.jpg", copies=2 if i == 3 else 1, alike=2 if i % 7 == 0 else 0) for i in range(n)
        ]
        self.stats = stats(n)
        self.memory = no_gpu()
        self.history = history("process", ("heap", "libraries", "shared"))
        self.refused = [refused(i) for i in range(3)]
        self.tiers = {
            "same": [{"score": 1.0, "images": [each.answer()]} for each in self.pictures if each.copies > 1],
            "variant": [{"score": 0.98, "images": [self.pictures[i].answer() for i in (0, 30)]}] if n > 30 else [],
            "similar": [],
        }
        self.searching, self.line = None, None
        self.refusals, self.held, self.asked = {}, {}, []

    # ------------------------------------------------------------ what a test does

    def tell(self, topic: str, data: object) -> None:
        """An event to every listener."""
        message = f"event: {topic}\ndata: {json.dumps(data)}\n\n".encode()
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._send, message)

    def hang_up(self) -> None:
        """End every stream."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self._send, None)

    def _send(self, message: bytes | None) -> None:
        for listener in self.listeners:
            listener.put_nowait(message)

    def add(self, picture: Shown) -> None:
        """Index one more picture, and tell."""
        self.pictures.append(picture)
        self.stats["indexed"] = len(self.pictures)
        self.tell(
            "index",
            {
                "indexed": len(self.pictures),
                "files": len(self.pictures),
                "pending": 0,
                "errors": 0,
                "generation": 2,
                "added": [picture.id],
                "removed": 0,
            },
        )

    def asked_for(self, path: str) -> list[Any]:
        """Bodies of the requests to a path."""
        return [body for _, asked, body in self.asked if asked == path]

    # ------------------------------------------------------------ answers

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        named = {term["id"] for term in asked.get("query", [asked]) if "id" in term}
        found = [
            each for each in self.pictures if each.id not in named and passes(each.answer(), asked.get("where", {}))
        ]
        query = self.query(asked)
        scored = sorted(((float(each.vector @ query), each) for each in found), key=lambda pair: (-pair[0], pair[1].i))
        if asked.get("cut") == "auto":
            scored = [pair for pair in scored if pair[0] >= 0.5]
        start, limit = int(asked.get("cursor") or 0), asked.get("limit", 20)
        hits = [self.hit(score, each, folded="collapse" in asked) for score, each in scored[start : start + limit]]
        rest = start + limit < len(scored)
        return {
            "hits": hits,
            "limit": limit,
            "offset": start,
            "took_ms": {"embed": 1.0, "search": 2.0, "total": 3.4},
            "model": "stand",
            "space": "0" * 16,
            "index": {"count": len(self.pictures), "generation": 1},
            "cursor": str(start + limit) if rest else None,
            "cut_score": 0.5 if asked.get("cut") == "auto" else self.line,
            "matching": len(found),
        }

    def query(self, asked: dict[str, Any]) -> np.ndarray:
        terms = asked.get("query") or ([asked] if asked.keys() & {"text", "id", "vector"} else [])
        vector = np.zeros(DIM)
        for term in terms:
            vector = vector + term.get("weight", 1) * self.term(term)
        for sign, ids in ((0.7, asked.get("liked", [])), (-0.7, asked.get("disliked", []))):
            for id in ids:
                vector = vector + sign * self.find(id).vector
        length = np.linalg.norm(vector)
        return vector / length if length else vector

    def term(self, term: dict[str, Any]) -> np.ndarray:
        if "text" in term:
            return vector_of(term["text"]) / np.linalg.norm(vector_of(term["text"]))
        return self.find(term["id"]).vector if "id" in term else np.array(term["vector"])

    def hit(self, score: float, picture: Shown, *, folded: bool) -> dict[str, Any]:
        relevance = 1 / (1 + float(np.exp(-8 * (score - 0.5))))
        alike = picture.alike if folded else 0
        return {**picture.answer(), "score": score, "relevance": relevance, "n_alike": alike, "vector": None}

    def find(self, id: str) -> Shown:
        return next(each for each in self.pictures if each.id == id)


def passes(image: dict[str, Any], where: dict[str, Any]) -> bool:
    day = image["modified"]
    return (
        image["path"].startswith(where.get("path", ""))
        and where.get("modified_from", "") <= day <= where.get("modified_to", "9")
        and image["width"] >= where.get("width_min", 0)
        and image["height"] >= where.get("height_min", 0)
        and image["format"] in where.get("format", FORMATS)
    )


# ---------------------------------------------------------------- routes


def told(kind: type[Told], members: dict[str, Any]) -> Told:
    """The answer, if it is one: the stand can say nothing that the wire format does not know."""
    return msgspec.convert(members, kind)


def _routes(stand: Stand) -> list[Any]:
    @post("/api/search", status_code=200)
    async def search(request: AnyRequest) -> SearchAnswer:
        asked = await request.json()
        msgspec.convert(asked, SearchRequest)
        if (event := stand.held.get(asked.get("text", ""))) is not None:
            await asyncio.to_thread(event.wait, 20)
        return told(SearchAnswer, stand.search(asked))

    @post("/api/embed/image", status_code=200)
    async def embed(request: AnyRequest) -> EmbedImageAnswer:
        data = await request.body()
        vector = vector_of_picture(data)
        return told(
            EmbedImageAnswer,
            {
                "id": hashlib.sha256(data).hexdigest(),
                "feature": vector.tolist(),
                "embedding": None,
                "model": "stand",
                "space": "0" * 16,
            },
        )

    @post("/api/images/newest", status_code=200)
    async def newest(request: AnyRequest) -> NewestAnswer:
        asked = await request.json()
        msgspec.convert(asked, NewestRequest)
        found = [each for each in reversed(stand.pictures) if passes(each.answer(), asked.get("where", {}))]
        page = [each for each in found if each.i < asked.get("before", math.inf)][: asked["limit"]]
        before = page[-1].i if page and page[-1] is not found[-1] else None
        return told(
            NewestAnswer, {"images": [each.answer() for each in page], "matching": len(found), "before": before}
        )

    @get("/api/images/{id:str}")
    async def image(id: FromPath[str]) -> ImageAnswer:
        return told(ImageAnswer, stand.find(id).answer())

    @get("/api/images/{id:str}/thumbnail", media_type="image/jpeg")
    async def thumbnail(id: FromPath[str], side: FromQuery[int] = 256) -> Response[bytes]:
        return Response(stand.find(id).draw(side), media_type="image/jpeg", headers={"cache-control": "max-age=99"})

    @get("/api/stats")
    async def stats() -> StatsAnswer:
        return told(StatsAnswer, stand.stats)

    @get("/api/errors")
    async def errors() -> ErrorsAnswer:
        return told(ErrorsAnswer, {"errors": stand.refused, "limit": 100, "offset": 0, "total": len(stand.refused)})

    @post("/api/errors/retry", status_code=202)
    async def retry(request: AnyRequest) -> dict[str, Any]:
        path = (await request.json()).get("path")
        again = [each for each in stand.refused if path in (None, each["path"])]
        stand.refused = [each for each in stand.refused if each not in again]
        return {"n": len(again)}

    @get("/api/why")
    async def why(path: FromQuery[str]) -> dict[str, Any]:
        return {"path": path, "sentence": f"Nothing is at {path}."}

    @get("/api/gpu/memory")
    async def memory() -> GpuMemoryAnswer:
        return told(GpuMemoryAnswer, stand.memory)

    @get("/api/gpu/memory/history")
    async def memory_history() -> MemoryHistoryAnswer:
        return told(MemoryHistoryAnswer, stand.history)

    @post("/api/gpu/memory/release", status_code=200)
    async def release() -> ReleasedAnswer:
        return told(ReleasedAnswer, {"freed_bytes": 400_000_000, "devices": {}})

    @get("/api/tune")
    async def tuning() -> TuningAnswer:
        return told(TuningAnswer, TUNING)

    @post("/api/tune", status_code=202)
    async def tune() -> dict[str, Any]:
        stand.stats["progress"] = [progress("tune")]
        return {}

    @post("/api/index/verify", status_code=202)
    async def verify() -> dict[str, Any]:
        return {}

    @get("/api/duplicates")
    async def duplicates(tier: FromQuery[str], limit: FromQuery[int]) -> DuplicatesAnswer:
        groups = [] if stand.searching else stand.tiers[tier]
        told_of = {"tier": tier, "groups": groups[:limit], "total": len(groups), "limit": limit, "offset": 0}
        return told(DuplicatesAnswer, {**told_of, "took_ms": 1.0, "progress": stand.searching})

    @get("/api/events")
    async def events() -> Stream:
        listener: asyncio.Queue[bytes | None] = asyncio.Queue()
        stand.listeners.append(listener)

        async def frames() -> AsyncIterator[bytes]:
            try:
                yield b": welcome\n\n"
                while (message := await listener.get()) is not None:
                    yield message
            finally:
                stand.listeners.remove(listener)

        return Stream(frames(), media_type="text/event-stream")

    return [
        search,
        embed,
        newest,
        image,
        thumbnail,
        stats,
        errors,
        retry,
        why,
        memory,
        memory_history,
        release,
        tuning,
        tune,
        verify,
        duplicates,
        events,
    ]


async def _before(request: AnyRequest) -> Response[Any] | None:
    stand: Stand = request.app.state.stand
    path = request.scope["path"]
    body = json.loads(await request.body()) if "json" in request.headers.get("content-type", "") else None
    stand.asked.append((request.method, path, body))
    if path in stand.refusals:
        status, slug, sentence = stand.refusals[path]
        what = problem(status, sentence)
        return problem_response(type(what)(f"urn:lookalike:problem:{slug}", what.title, status, sentence))
    return None


@contextmanager
def serving(stand: Stand, **settings: Any) -> Iterator[str]:
    """The stand behind a loopback port; its address."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        app.state.stopping = asyncio.Event()
        stand.loop = asyncio.get_running_loop()
        yield

    api = ApiSettings(**settings)
    app = Litestar(
        [*pages.ROUTES, *_routes(stand)],
        lifespan=[lifespan],
        request_class=ApiRequest,
        before_request=_before,
        state=State({"stand": stand, "assets": assets.load(), "service": Service(FakeEngine(), api)}),
        openapi_config=None,
    )
    app.asgi_handler = Gate(app.asgi_handler, api, dialects.wording_of, QUESTIONS)
    server = Server(app, bind("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, name="stand")
    thread.start()
    try:
        assert server.wait_started(10)
        stand.url = server.url
        yield server.url
    finally:
        stand.hang_up()
        server.stop()
        thread.join(20)
        assert not thread.is_alive()
