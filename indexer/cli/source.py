"""Who answers: the running server of the store, else the store itself, read-only."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from types import TracebackType
from typing import Protocol

from indexer.cli.api_settings import key_of
from indexer.cli.logs import start_logging
from indexer.cli.terminal import say
from indexer.config import Config
from indexer.engine import offline_memory, offline_refused, offline_stats, open_reader, running_server, why_offline
from indexer.ports import Engine
from indexer.types import FilePath, Tier
from search_api.answers import (
    duplicates_answer,
    embed_image_answer,
    embed_text_answer,
    errors_answer,
    gpu_answer,
    search_answer,
    stats_answer,
    why_answer,
)
from search_api.client import Client
from search_api.queries import options_of, query_of
from search_api.schemas import (
    DuplicatesAnswer,
    EmbedImageAnswer,
    EmbedTextAnswer,
    ErrorsAnswer,
    GpuMemoryAnswer,
    SearchAnswer,
    SearchRequest,
    StatsAnswer,
    WhyAnswer,
)
from search_api.settings import ApiSettings


class Source(Protocol):
    """What the asking verbs need. Answers are the wire's, so that `--json` prints the same with and without a server.

    Attributes:
        name: Who answers, for people.
        live: Whether there is a service, whose pace and state are worth telling.
    """

    @property
    def name(self) -> str: ...
    @property
    def live(self) -> bool: ...
    def search(self, question: SearchRequest) -> SearchAnswer: ...
    def duplicates(self, tier: Tier, limit: int, offset: int) -> DuplicatesAnswer: ...
    def thumbnail(self, id: str, side_px: int) -> bytes: ...
    def embed_image(self, data: bytes) -> EmbedImageAnswer: ...
    def embed_texts(self, texts: Sequence[str]) -> EmbedTextAnswer: ...
    def stats(self) -> StatsAnswer: ...
    def errors(self, limit: int) -> ErrorsAnswer: ...
    def gpu_memory(self) -> GpuMemoryAnswer: ...
    def why(self, path: bytes) -> WhyAnswer: ...


class StoreSource:
    """Answers from the store's files. The model is loaded when the first question needs it."""

    live = False

    def __init__(self, config: Config) -> None:
        self._config = config
        self._open = ExitStack()
        self.name = f"no server; read from {config.store_dir}"

    def __enter__(self) -> StoreSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @cached_property
    def _engine(self) -> Engine:
        if sys.stderr.isatty():
            say("no server runs: loading the model for this one question (`indexer serve` keeps it loaded)")
        return self._open.enter_context(open_reader(self._config))

    def search(self, question: SearchRequest) -> SearchAnswer:
        options = options_of(question)
        query = query_of(question, self._engine.dims, ApiSettings(max_body_bytes=self._config.decode.max_file_bytes))
        found = self._engine.search(query, question.limit, question.offset, options)
        return search_answer(found, self._engine.space, question.limit, question.offset)

    def duplicates(self, tier: Tier, limit: int, offset: int) -> DuplicatesAnswer:
        return duplicates_answer(self._engine.duplicates(tier, limit, offset), tier, limit, offset)

    def thumbnail(self, id: str, side_px: int) -> bytes:
        return self._engine.thumbnail(id, side_px)

    def embed_image(self, data: bytes) -> EmbedImageAnswer:
        (image,) = self._engine.embed_images([data])
        return embed_image_answer(image, self._engine.space)

    def embed_texts(self, texts: Sequence[str]) -> EmbedTextAnswer:
        return embed_text_answer(self._engine.embed_texts(texts), self._engine.space)

    def stats(self) -> StatsAnswer:
        return stats_answer(offline_stats(self._config))

    def errors(self, limit: int) -> ErrorsAnswer:
        records, total = offline_refused(self._config, limit)
        return errors_answer(records, total, limit, 0)

    def gpu_memory(self) -> GpuMemoryAnswer:
        return gpu_answer(offline_memory())

    def why(self, path: bytes) -> WhyAnswer:
        return why_answer(why_offline(self._config, FilePath(path)))


class ServerSource:
    """Answers from the running server."""

    live = True

    def __init__(self, client: Client) -> None:
        self._client = client
        self.name = f"the server at {client.base_url}"

    def search(self, question: SearchRequest) -> SearchAnswer:
        return self._client.search(question)

    def duplicates(self, tier: Tier, limit: int, offset: int) -> DuplicatesAnswer:
        return self._client.duplicates(tier.value, limit, offset)

    def thumbnail(self, id: str, side_px: int) -> bytes:
        return self._client.thumbnail(id, side_px)

    def embed_image(self, data: bytes) -> EmbedImageAnswer:
        return self._client.embed_image(data)

    def embed_texts(self, texts: Sequence[str]) -> EmbedTextAnswer:
        return self._client.embed_text(list(texts))

    def stats(self) -> StatsAnswer:
        return self._client.stats()

    def errors(self, limit: int) -> ErrorsAnswer:
        return self._client.errors(limit)

    def gpu_memory(self) -> GpuMemoryAnswer:
        return self._client.gpu_memory()

    def why(self, path: bytes) -> WhyAnswer:
        return self._client.why(path)


@contextmanager
def server_of(config: Config) -> Iterator[Client | None]:
    """A client of the server that runs on this store; None where none has told its address (yet)."""
    holder = running_server(config)
    if holder is None or holder.url is None:
        yield None
        return
    with Client(holder.url, key_of(config, "admin_key") or key_of(config, "api_key")) as client:
        yield client


@contextmanager
def open_source(config: Config, verbosity: int = 0) -> Iterator[Source]:
    """The server that runs on this store, else the store, with what its parts log from warnings on.

    Raises:
        Unreachable: A server has told its address, but does not answer.
    """
    with server_of(config) as client:
        if client is not None:
            yield ServerSource(client)
            return
        start_logging("warning", verbosity)
        with StoreSource(config) as store:
            yield store
