"""Clients of the service: its answers, typed, and its errors as the house's own. One for threads, one for event loops.

What they can be asked, and what each answer means, is in `search_api.calls`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import wraps
from inspect import Parameter, signature
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import msgspec

from indexer.errors import IndexerError, Unreachable
from indexer.types import TOPICS
from search_api import calls
from search_api.calls import Call
from search_api.errors import PROBLEM_TYPE, Problem

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
P = ParamSpec("P")

Told = tuple[str, dict[str, Any]]
"""An event: its topic and what it says."""


class _Ends:
    """What both clients know of the other end.

    Args:
        base_url: Where the service listens, such as http://127.0.0.1:7860.
        api_key: Its key, if it has one.
        timeout_s: Longest wait for the service to take or to send anything.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout_s: float = 30.0) -> None:
        import httpx  # here: it takes longer to import than most questions to answer

        self.base_url = base_url.rstrip("/")
        # Proxies of the environment are not for a service on this machine.
        self._how: dict[str, Any] = {
            "base_url": self.base_url,
            "headers": {"authorization": f"Bearer {api_key}"} if api_key else {},
            "timeout": timeout_s,
            "trust_env": False,
        }
        self._failures = (httpx.TransportError, httpx.InvalidURL, httpx.DecodingError)

    def _meant(self, call: Call[T], response: httpx.Response) -> T:
        """What an answer says; raises what a problem means."""
        try:
            if response.is_success:
                return call.means(response.content)
            if response.headers.get("content-type") != PROBLEM_TYPE:
                raise self._stranger()
            what = msgspec.json.decode(response.content, type=Problem)
        except msgspec.MsgspecError as e:
            raise self._stranger() from e
        return call.failed(what)

    def _unreachable(self, error: Exception) -> Unreachable:
        why = str(error) or type(error).__name__
        return Unreachable(f"No answer from {self.base_url} ({why}); is `indexer serve` running?")

    def _stranger(self) -> IndexerError:
        return Unreachable(f"Something else than this service answers at {self.base_url}; check host and port.")


def _request(call: Call[T]) -> dict[str, Any]:
    """A call in httpx's words."""
    how: dict[str, Any] = {"method": call.method, "url": call.path}
    if call.parameters:
        how["params"] = dict(call.parameters)
    if call.body is not None:
        kind, content = call.body
        how |= {"headers": {"content-type": kind}, "content": content}
    return how


def _described(method: Any, ask: Callable[..., Any]) -> None:
    """Have `help` tell the method as it is called, and what it answers."""
    told = signature(ask)
    answer = str(told.return_annotation).removeprefix("Call[").removesuffix("]")
    itself = Parameter("self", Parameter.POSITIONAL_ONLY)
    method.__signature__ = told.replace(parameters=[itself, *told.parameters.values()], return_annotation=answer)


def _now(ask: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    @wraps(ask)
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask(ask(*args, **kwargs))

    _described(method, ask)
    return method


def _awaited(ask: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    @wraps(ask)
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.ask(ask(*args, **kwargs))

    _described(method, ask)
    return method


class Client(_Ends):
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
        import httpx

        super().__init__(base_url, api_key, timeout_s)
        self._http = httpx.Client(**self._how)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, call: Call[T]) -> T:
        """Send one of `search_api.calls`."""
        try:
            response = self._http.request(**_request(call))
        except self._failures as e:
            raise self._unreachable(e) from e
        return self._meant(call, response)

    def events(self, topics: Sequence[str] = TOPICS) -> Iterator[Told]:
        """Topic and data of each event, as they happen, until the service stops."""
        reading = _Reading()
        try:
            with self._http.stream("GET", "/api/events", params={"topics": ",".join(topics)}) as response:
                if not response.is_success:
                    response.read()
                    self._meant(_EVENTS, response)
                for line in response.iter_lines():
                    yield from reading.line(line)
        except self._failures as e:
            raise self._unreachable(e) from e

    search = _now(calls.search)
    search_text = _now(calls.search_text)
    search_image = _now(calls.search_image)
    search_id = _now(calls.search_id)
    search_vector = _now(calls.search_vector)
    similar = _now(calls.similar)
    embed_image = _now(calls.embed_image)
    embed_text = _now(calls.embed_text)
    image = _now(calls.image)
    thumbnail = _now(calls.thumbnail)
    newest = _now(calls.newest)
    duplicates = _now(calls.duplicates)
    standing = _now(calls.standing)
    stand = _now(calls.stand)
    unstand = _now(calls.unstand)
    stats = _now(calls.stats)
    errors = _now(calls.errors)
    retry = _now(calls.retry)
    gpu_memory = _now(calls.gpu_memory)
    memory_history = _now(calls.memory_history)
    release_memory = _now(calls.release_memory)
    tuning = _now(calls.tuning)
    tune = _now(calls.tune)
    rescan = _now(calls.rescan)
    rebuild = _now(calls.rebuild)
    verify = _now(calls.verify)
    why = _now(calls.why)
    live = _now(calls.live)
    ready = _now(calls.ready)


class AsyncClient(_Ends):
    """As `Client`, for an event loop: every method is awaited, `events` is an asynchronous iterator.

    Who is cancelled meanwhile hangs up, and the service leaves undone what it has not begun.
    """

    def __init__(self, base_url: str, api_key: str | None = None, timeout_s: float = 30.0) -> None:
        import httpx

        super().__init__(base_url, api_key, timeout_s)
        self._http = httpx.AsyncClient(**self._how)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, call: Call[T]) -> T:
        """Send one of `search_api.calls`."""
        try:
            response = await self._http.request(**_request(call))
        except self._failures as e:
            raise self._unreachable(e) from e
        return self._meant(call, response)

    async def events(self, topics: Sequence[str] = TOPICS) -> AsyncIterator[Told]:
        """Topic and data of each event, as they happen, until the service stops."""
        reading = _Reading()
        try:
            async with self._http.stream("GET", "/api/events", params={"topics": ",".join(topics)}) as response:
                if not response.is_success:
                    await response.aread()
                    self._meant(_EVENTS, response)
                async for line in response.aiter_lines():
                    for told in reading.line(line):
                        yield told
        except self._failures as e:
            raise self._unreachable(e) from e

    search = _awaited(calls.search)
    search_text = _awaited(calls.search_text)
    search_image = _awaited(calls.search_image)
    search_id = _awaited(calls.search_id)
    search_vector = _awaited(calls.search_vector)
    similar = _awaited(calls.similar)
    embed_image = _awaited(calls.embed_image)
    embed_text = _awaited(calls.embed_text)
    image = _awaited(calls.image)
    thumbnail = _awaited(calls.thumbnail)
    newest = _awaited(calls.newest)
    duplicates = _awaited(calls.duplicates)
    standing = _awaited(calls.standing)
    stand = _awaited(calls.stand)
    unstand = _awaited(calls.unstand)
    stats = _awaited(calls.stats)
    errors = _awaited(calls.errors)
    retry = _awaited(calls.retry)
    gpu_memory = _awaited(calls.gpu_memory)
    memory_history = _awaited(calls.memory_history)
    release_memory = _awaited(calls.release_memory)
    tuning = _awaited(calls.tuning)
    tune = _awaited(calls.tune)
    rescan = _awaited(calls.rescan)
    rebuild = _awaited(calls.rebuild)
    verify = _awaited(calls.verify)
    why = _awaited(calls.why)
    live = _awaited(calls.live)
    ready = _awaited(calls.ready)


class _Reading:
    """The events that this service sends: each is a line that names its topic, and one of JSON."""

    def __init__(self) -> None:
        self._topic = ""

    def line(self, line: str) -> Iterator[Told]:
        if line.startswith("event: "):
            self._topic = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield self._topic, msgspec.json.decode(line.removeprefix("data: "))


_EVENTS: Call[bytes] = Call("GET", "/api/events", bytes)
