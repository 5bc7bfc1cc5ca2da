"""The client for event loops: asked the same, it answers the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import msgspec
import pytest

from indexer.errors import ConfigError, NotFound, Overloaded, Unreachable
from indexer.types import Readiness
from search_api.client import AsyncClient, Client
from search_api.schemas import SearchRequest
from search_api.server import Server
from search_api.settings import ApiSettings
from tests.api.conftest import running
from tests.fakes.engine import FakeEngine, id_of, picture

T = TypeVar("T")

QUESTIONS: dict[str, tuple[Any, ...]] = {
    "search": (SearchRequest(text="a red car", limit=2),),
    "search_text": ("a red car", 2),
    "search_image": (picture(2),),
    "search_id": (id_of(1),),
    "search_vector": ([1.0, 0, 0, 0],),
    "similar": (id_of(1),),
    "embed_image": (picture(1),),
    "embed_text": (["a", "b"],),
    "image": (id_of(0),),
    "thumbnail": (id_of(0), 64),
    "newest": (2,),
    "duplicates": ("variant",),
    "standing": (),
    "stats": (),
    "errors": (1,),
    "gpu_memory": (),
    "memory_history": (),
    "tuning": (),
    "why": (b"/pictures/copy-\xff.jpg",),
    "live": (),
    "ready": (),
}
ORDERS: dict[str, tuple[Any, ...]] = {
    "stand": (SearchRequest(text="a red car", score_threshold=0.5),),
    "unstand": ("0123456789abcdef",),
    "retry": ("/pictures",),
    "release_memory": (),
    "tune": (),
    "rescan": (),
    "rebuild": (),
    "verify": (),
}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[FakeEngine, Server]]:
    engine = FakeEngine()
    with running(engine, ApiSettings()) as server:
        yield engine, server


@pytest.fixture
def engine(world: tuple[FakeEngine, Server]) -> FakeEngine:
    world[0].reset()
    return world[0]


@pytest.fixture
def url(world: tuple[FakeEngine, Server], engine: FakeEngine) -> str:
    return world[1].url


def asked(url: str, ask: Callable[[AsyncClient], Awaitable[T]], **how: Any) -> T:
    async def asking() -> T:
        async with AsyncClient(url, **how) as client:
            return await ask(client)

    return asyncio.run(asking())


def plain(answer: Any) -> Any:
    told = answer if isinstance(answer, bytes) else msgspec.to_builtins(answer)
    if isinstance(told, dict):
        told.pop("took_ms", None)
    return told


def test_both_clients_can_be_asked_the_same() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(AsyncClient) == public(Client)
    assert public(Client) == {*QUESTIONS, *ORDERS, "ask", "events", "close"}


def test_methods_are_told_as_they_are_called() -> None:
    for kind in (Client, AsyncClient):
        told = inspect.signature(kind.thumbnail)
        assert list(told.parameters) == ["self", "id", "side"]
        assert told.return_annotation == "bytes"
        assert "JPEG" in (inspect.getdoc(kind.thumbnail) or "")


@pytest.mark.parametrize("name", QUESTIONS)
def test_it_is_answered_what_the_other_client_is(url: str, name: str) -> None:
    with Client(url) as client:
        expected = getattr(client, name)(*QUESTIONS[name])
    answer = asked(url, lambda client: getattr(client, name)(*QUESTIONS[name]))
    assert type(answer) is type(expected)
    assert plain(answer) == plain(expected)


@pytest.mark.parametrize("name", sorted(ORDERS.keys() - {"stand", "unstand"}))
def test_its_orders_are_the_other_clients(url: str, engine: FakeEngine, name: str) -> None:
    with Client(url) as client:
        expected = getattr(client, name)(*ORDERS[name])
    told = list(engine.calls)
    engine.calls.clear()
    assert plain(asked(url, lambda client: getattr(client, name)(*ORDERS[name]))) == plain(expected)
    assert engine.calls == told


def test_a_question_stands_until_it_is_forgotten(url: str, engine: FakeEngine) -> None:
    async def whole(client: AsyncClient) -> None:
        made = await client.stand(*ORDERS["stand"])
        assert [each.id for each in await client.standing()] == [made.id]
        await client.unstand(made.id)
        assert await client.standing() == []

    asked(url, whole)


def test_many_questions_wait_together(url: str, engine: FakeEngine) -> None:
    async def many(client: AsyncClient) -> list[str]:
        engine.hold.clear()
        tasks = [asyncio.ensure_future(client.search_id(id_of(i))) for i in range(5)]
        await asyncio.to_thread(lambda: [engine.entered.acquire(timeout=10) for _ in tasks])
        engine.hold.set()
        return [answer.hits[0].id for answer in await asyncio.gather(*tasks)]

    assert asked(url, many) == [id_of(i) for i in range(5)]


def test_events_come_as_they_happen(url: str) -> None:
    async def first(client: AsyncClient) -> tuple[str, dict[str, Any]]:
        async for told in client.events(["queue"]):
            return told
        raise AssertionError("no event came")

    topic, data = asked(url, first)
    assert topic == "queue"
    assert data["depth"] == 4


def test_errors_arrive_as_what_they_were(url: str, engine: FakeEngine) -> None:
    with pytest.raises(NotFound):
        asked(url, lambda client: client.image("0" * 64))
    engine.fail["search"] = Overloaded("Full.", 2.5)
    with pytest.raises(Overloaded) as busy:
        asked(url, lambda client: client.search_text("a"))
    assert busy.value.retry_after_s == 2.5
    engine.ready = Readiness(False, {"model": "fail: loading"})
    assert asked(url, lambda client: client.ready()).ready is False
    with pytest.raises(Unreachable, match="indexer serve"):
        asked("http://127.0.0.1:1", lambda client: client.live())
    with running(engine, ApiSettings(api_key="a-key-of-enough-characters")) as server:
        with pytest.raises(ConfigError, match=r"api\.api_key"):
            asked(server.url, lambda client: client.stats())
        with pytest.raises(ConfigError, match=r"api\.api_key"):
            asked(server.url, lambda client: anext(aiter(client.events())))
        assert asked(server.url, lambda client: client.stats(), api_key="a-key-of-enough-characters").indexed == 5
