"""A service for the page's tests: it answers by the wire format, from drawn pictures, and does what a test says.

Words and pictures are compared by colour and thing, so a test knows what must come first.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import math
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from PIL import Image, ImageDraw

from search_api import assets, dialects
from search_api.bodies import ApiRequest
from search_api.errors import problem
from search_api.gate import Gate
from search_api.responses import problem_response
from search_api.routes import pages
from search_api.server import Server, bind
from search_api.service import Service
from search_api.settings import ApiSettings
from tests.fakes.engine import FakeEngine

COLOURS = {
    "red": (196, 62, 52), "green": (74, 140, 84), "blue": (58, 96, 178),
    "yellow": (224, 182, 70), "violet": (128, 88, 168), "grey": (130, 134, 140),
}  # fmt: skip
THINGS = ("circle", "square", "hill", "bar", "ring")
FORMATS = ("JPEG", "PNG", "WEBP")
SIZES = ((640, 480), (480, 640), (1200, 800), (800, 800), (1600, 700))
DIM = len(COLOURS) + len(THINGS) + 1
HOSTILE = '<img src=x onerror="document.title=1">&amp;\u202egpj.exe'
AnyRequest = Request[Any, Any, Any]


@dataclass
class Shown:
    """One picture of the stand."""

    i: int
    name: str
    copies: int = 1
    alike: int = 0

    @property
    def id(self) -> str:
        return hashlib.sha256(b"%d" % self.i).hexdigest()

    @property
    def colour(self) -> str:
        return list(COLOURS)[self.i % len(COLOURS)]

    @property
    def thing(self) -> str:
        return THINGS[self.i // len(COLOURS) % len(THINGS)]

    @property
    def vector(self) -> np.ndarray:
        vector = vector_of(f"{self.colour} {self.thing}")
        vector[-1] = min(self.i, 500) / 1000  # of equals, the lower number comes first
        return vector / np.linalg.norm(vector)

    def answer(self) -> dict[str, Any]:
        width, height = SIZES[self.i % len(SIZES)]
        paths = [
            f"/pictures/{self.colour}/{self.name}",
            *(f"/pictures/copies/{n} {self.name}" for n in range(1, self.copies)),
        ]
        return {
            "id": self.id, "path": paths[0], "paths": paths, "width": width, "height": height, "format": FORMATS[self.i % 3],
            "modified": f"20{10 + self.i % 16}-06-15T12:00:00Z", "size_bytes": 90_000 + 1000 * self.i,
            "thumbnail_url": f"/api/images/{self.id}/thumbnail",
        }  # fmt: skip

    def draw(self, side: int) -> bytes:
        width, height = SIZES[self.i % len(SIZES)]
        scale = side / max(width, height)
        return drawing(self.colour, self.thing, int(width * scale), int(height * scale))


@lru_cache(4096)
def drawing(colour: str, thing: str, width: int, height: int) -> bytes:
    """A JPEG of the thing on its colour."""
    image = Image.new("RGB", (width, height), COLOURS[colour])
    pen = ImageDraw.Draw(image)
    box = (width * 0.3, height * 0.25, width * 0.7, height * 0.75)
    light = tuple(min(255, value + 70) for value in COLOURS[colour])
    if thing in ("circle", "ring"):
        pen.ellipse(box, fill=None if thing == "ring" else light, outline=light, width=max(2, width // 30))
    elif thing == "hill":
        pen.polygon([(0, height), (width / 2, height * 0.3), (width, height)], fill=light)
    else:
        pen.rectangle(box if thing == "square" else (0, height * 0.45, width, height * 0.6), fill=light)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70)
    return out.getvalue()


def vector_of(text: str) -> np.ndarray:
    """Colours and things that are named; of nothing known, a direction of its own."""
    vector = np.zeros(DIM)
    for i, word in enumerate((*COLOURS, *THINGS)):
        vector[i] = word in text
    if not vector.any():
        vector[-1] = 1
    return vector


def vector_of_picture(data: bytes) -> np.ndarray:
    """The colour that its corner is nearest to."""
    corner = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)[2, 2]
    nearest = min(COLOURS, key=lambda name: float(np.abs(corner - np.array(COLOURS[name])).sum()))
    return vector_of(nearest)


@dataclass
class Stand:
    """The service's state, as a test sets it.

    Attributes:
        refusals: Path -> status, slug and sentence of the problem that it is answered with.
        held: Text -> an event that its answer waits for.
        asked: Every request as (method, path, body).
        offline: Whether connections are cut without an answer.
    """

    pictures: list[Shown] = field(default_factory=list)
    stats: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    history: dict[str, Any] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    tiers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
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
        self.tell("index", {"indexed": len(self.pictures), "files": len(self.pictures), "pending": 0, "errors": 0,
                            "generation": 2, "added": [picture.id], "removed": 0})  # fmt: skip

    def asked_for(self, path: str) -> list[Any]:
        """Bodies of the requests to a path."""
        return [body for _, asked, body in self.asked if asked == path]

    # ------------------------------------------------------------ answers

    def search(self, asked: dict[str, Any]) -> dict[str, Any]:
        named = {term["id"] for term in asked.get("query", [asked]) if "id" in term}
        found = [each for each in self.pictures if each.id not in named and passes(each.answer(), asked.get("where", {}))]
        query = self.query(asked)
        scored = sorted(((float(each.vector @ query), each) for each in found), key=lambda pair: (-pair[0], pair[1].i))
        cut = 0.5 if asked.get("cut") == "auto" else None
        scored = [pair for pair in scored if cut is None or pair[0] >= cut]
        start, limit = int(asked.get("cursor") or 0), asked.get("limit", 20)
        hits = [self.hit(score, each, folded="collapse" in asked) for score, each in scored[start : start + limit]]
        rest = start + limit < len(scored)
        return {
            "hits": hits, "limit": limit, "offset": start, "took_ms": {"embed": 1.0, "search": 2.0, "total": 3.4},
            "model": "stand", "space": "0" * 16, "index": {"count": len(self.pictures), "generation": 1},
            "cursor": str(start + limit) if rest else None, "cut_score": cut, "matching": len(found),
        }  # fmt: skip

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
        return {
            **picture.answer(),
            "score": score,
            "relevance": relevance,
            "n_alike": picture.alike if folded else 0,
            "vector": None,
        }

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


def stats(n: int) -> dict[str, Any]:
    return {
        "model": "ViT-H-14", "fingerprint": "0" * 16, "precision": "fp16", "device": "cuda:0", "started_at": "2026-11-22T10:00:00Z",
        "files": n + 1, "indexed": n, "errors": 3, "errors_by_reason": {"corrupt": 2, "too_many_pixels": 1}, "pending": 0,
        "oldest_pending_s": 0.0, "encoded_total": n, "cache_hits_total": n // 3, "removed_total": 1, "generation": 7,
        "index_bytes": 2560 * n, "images_per_s": 0.0, "limited_by": "idle", "progress": [], "watching": {"/pictures": "events"},
        "notices": [], "spaces": [], "batch_size": 64, "batch_size_from": "tuned",
        "verify": {
            "ok": True, "started_at": "2026-11-22T09:00:00Z", "seconds": 1.5, "sample": 32, "repair": True, "files": n + 1,
            "contents": n, "features": n, "rows": n, "kept": 0, "reencoded": 32, "found": {"missing": 1}, "mended": {"missing": 1},
            "examples": [], "notes": [],
        },
    }  # fmt: skip


def no_gpu() -> dict[str, Any]:
    parts = [
        {"name": name, "bytes": n}
        for name, n in (("heap", 800_000_000), ("libraries", 300_000_000), ("shared", 50_000_000))
    ]
    return {
        "available": False, "reason": "no NVIDIA driver", "devices": [], "ledger": [], "leaks": [],
        "process": {"rss_bytes": 1_150_000_000, "parts": parts}, "forecast": {"exact_images": 4_000_000, "compressed_images": 40_000_000},
    }  # fmt: skip


PARTS = {
    "weights": 1.3,
    "activations": 0.9,
    "index": 2.6,
    "reserve": 0.4,
    "context": 0.5,
    "other_processes": 1.1,
    "unexplained": 0.1,
}
GB = 1_000_000_000


def gpu(**more: float) -> dict[str, Any]:
    """A GPU's ledger; `more` are gigabytes of parts."""
    parts = [{"name": name, "bytes": int(n * GB)} for name, n in {**PARTS, **more}.items()]
    return {
        "available": True, "reason": "", "devices": [],
        "ledger": [{"device": "gpu0", "name": "NVIDIA H100", "total_bytes": 80 * GB, "parts": parts, "processes": [], "explained_share": 0.99}],
        "process": {"rss_bytes": 2 * GB, "parts": []}, "forecast": {"exact_images": 28_000_000, "compressed_images": 250_000_000}, "leaks": [],
    }  # fmt: skip


def history(device: str, names: tuple[str, ...], n: int = 120, until: float = 1_763_812_800.0) -> dict[str, Any]:
    wave = np.sin(np.arange(n) / 9) * 0.15 + 1
    return {
        "step_s": 5.0, "times": [until - 5.0 * (n - i) for i in range(n)],
        "series": [{"device": device, "name": name, "bytes": [int(PARTS.get(name, 0.3) * GB * (w if name == "activations" else 1)) for w in wave]}
                   for name in names],
    }  # fmt: skip


def refused(i: int) -> dict[str, Any]:
    return {
        "path": f"/pictures/broken-{i}.jpg", "reason": "too_many_pixels" if i == 2 else "corrupt", "detail": "cannot be decoded",
        "recorded": "2026-11-22T11:00:00Z", "modified": "2026-11-22T10:00:00Z", "size_bytes": 18_000, "retried": False,
    }  # fmt: skip


TUNING = {
    "size": 64, "ended": "time", "budget_bytes": 70 * GB, "longest_ms": 250.0, "device": "NVIDIA H100", "model": "ViT-H-14", "precision": "fp16",
    "fingerprint": "0" * 16, "measured": "2026-11-22T09:30:00Z",
    "rows": [{"size": size, "memory_bytes": int(1.3 * GB + size * 14e6), "images_per_s": 1800 * size / (size + 9), "latency_ms": (size + 9) / 1.8}
             for size in (1, 2, 4, 8, 16, 32, 64, 128, 256)],
}  # fmt: skip


# ---------------------------------------------------------------- routes


def _routes(stand: Stand) -> list[Any]:
    @post("/api/search", status_code=200)
    async def search(request: AnyRequest) -> dict[str, Any]:
        asked = await request.json()
        if (event := stand.held.get(asked.get("text", ""))) is not None:
            await asyncio.to_thread(event.wait, 20)
        return stand.search(asked)

    @post("/api/embed/image", status_code=200)
    async def embed(request: AnyRequest) -> dict[str, Any]:
        data = await request.body()
        vector = vector_of_picture(data)
        return {
            "id": hashlib.sha256(data).hexdigest(),
            "feature": list(vector),
            "embedding": None,
            "model": "stand",
            "space": "0" * 16,
        }

    @post("/api/images/newest", status_code=200)
    async def newest(request: AnyRequest) -> dict[str, Any]:
        asked = await request.json()
        found = [each for each in reversed(stand.pictures) if passes(each.answer(), asked.get("where", {}))]
        page = [each for each in found if each.i < asked.get("before", math.inf)][: asked["limit"]]
        before = page[-1].i if page and page[-1] is not found[-1] else None
        return {"images": [each.answer() for each in page], "matching": len(found), "before": before}

    @get("/api/images/{id:str}")
    async def image(id: FromPath[str]) -> dict[str, Any]:
        return stand.find(id).answer()

    @get("/api/images/{id:str}/thumbnail", media_type="image/jpeg")
    async def thumbnail(id: FromPath[str], side: FromQuery[int] = 256) -> Response[bytes]:
        return Response(stand.find(id).draw(side), media_type="image/jpeg", headers={"cache-control": "max-age=99"})

    @get("/api/stats")
    async def stats() -> dict[str, Any]:
        return stand.stats

    @get("/api/errors")
    async def errors() -> dict[str, Any]:
        return {"errors": stand.refused, "limit": 100, "offset": 0, "total": len(stand.refused)}

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
    async def memory() -> dict[str, Any]:
        return stand.memory

    @get("/api/gpu/memory/history")
    async def memory_history() -> dict[str, Any]:
        return stand.history

    @post("/api/gpu/memory/release", status_code=200)
    async def release() -> dict[str, Any]:
        return {"freed_bytes": 400_000_000, "devices": []}

    @get("/api/tune")
    async def tuning() -> dict[str, Any]:
        return TUNING

    @post("/api/tune", status_code=202)
    async def tune() -> dict[str, Any]:
        stand.stats["progress"] = [
            {
                "task": "tune",
                "running": True,
                "n_done": 2,
                "n_total": 9,
                "rate_per_s": 1.0,
                "eta_s": 7.0,
                "summary": {},
                "error": "",
            }
        ]
        return {}

    @post("/api/index/verify", status_code=202)
    async def verify() -> dict[str, Any]:
        return {}

    @get("/api/duplicates")
    async def duplicates(tier: FromQuery[str]) -> dict[str, Any]:
        return {"tier": tier, "groups": stand.tiers[tier], "total": len(stand.tiers[tier]), "took_ms": {"total": 1.0}}

    @get("/api/events")
    async def events() -> Stream:
        listener: asyncio.Queue[bytes | None] = asyncio.Queue()
        stand.listeners.append(listener)

        async def told() -> AsyncIterator[bytes]:
            try:
                yield b": welcome\n\n"
                while (message := await listener.get()) is not None:
                    yield message
            finally:
                stand.listeners.remove(listener)

        return Stream(told(), media_type="text/event-stream")

    return [search, embed, newest, image, thumbnail, stats, errors, retry, why, memory, memory_history, release, tuning, tune,
            verify, duplicates, events]  # fmt: skip


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
        [*pages.ROUTES, *_routes(stand)], lifespan=[lifespan], request_class=ApiRequest, before_request=_before,
        state=State({"stand": stand, "assets": assets.load(), "service": Service(FakeEngine(), api)}), openapi_config=None,
    )  # fmt: skip
    app.asgi_handler = Gate(app.asgi_handler, api, dialects.wording_of)
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
