"""Many who ask at once are answered in few batches of the device, each with its own result. With the real engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.stub import StubEncoder, configured, feature_of, open_stub
from indexer.config import Config
from indexer.engine import RunningEngine, open_engine
from indexer.engine.parts import Model
from indexer.store.data_dir import DataDir
from indexer.types import Embeddings, Pixels
from search_api.client import Client
from search_api.settings import ApiSettings
from tests.api.conftest import eventually, running

N = 64


@dataclass
class Batches:
    """Sizes of the device's batches; the first waits until it is let go."""

    pictures: list[int] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def before(self, pixels: Pixels) -> None:
        self.pictures.append(len(pixels))
        self.begun.set()
        assert self.go.wait(30)


class CountedEncoder(StubEncoder):
    def __init__(self, batches: Batches) -> None:
        super().__init__(batches.before)
        self._batches = batches

    def encode_texts(self, texts: list[str]) -> Embeddings:  # type: ignore[override]
        self._batches.texts.append(len(texts))
        return super().encode_texts(texts)


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.fixture
def engine(tmp_path: Path, batches: Batches) -> Iterator[RunningEngine]:
    def open_counted(config: Config, data: DataDir, stack: ExitStack) -> Model:
        return open_stub(config, data, stack, lambda: CountedEncoder(batches))

    with open_engine(configured(tmp_path), model=open_counted) as engine:
        yield engine
        batches.go.set()


def ask_all(engine: RunningEngine, batches: Batches, asks: list[Callable[[Client], object]]) -> list[object]:
    """All questions at once: the first occupies the device until the others wait for it."""
    with (
        running(engine, ApiSettings(n_threads=N)) as server,  # type: ignore[arg-type]
        Client(server.url) as client,
        ThreadPoolExecutor(N) as pool,
    ):
        first = pool.submit(asks[0], client)
        assert batches.begun.wait(10)
        others = [pool.submit(ask, client) for ask in asks[1:]]
        assert eventually(lambda: engine.queue().depth == len(others))
        batches.go.set()
        return [each.result(30) for each in (first, *others)]


def test_pictures_share_batches_and_each_gets_its_own_feature(engine: RunningEngine, batches: Batches) -> None:
    pictures = [b"picture %d" % i for i in range(N)]
    answers = ask_all(engine, batches, [partial(Client.embed_image, data=data) for data in pictures])
    for data, answer in zip(pictures, answers, strict=True):
        assert np.array_equal(np.float16(answer.feature), feature_of(data))  # type: ignore[attr-defined]
    assert sum(batches.pictures) == N
    # The first waited, and so looked slow: the one after it may be small. The others are of up to 32.
    assert len(batches.pictures) <= 5


def test_texts_share_one_batch_and_each_gets_its_own_embedding(engine: RunningEngine, batches: Batches) -> None:
    texts = [f"text {i}" for i in range(N - 1)]
    asks: list[Callable[[Client], object]] = [partial(Client.embed_image, data=b"a picture")]
    asks += [partial(Client.embed_text, texts=text) for text in texts]
    answers = ask_all(engine, batches, asks)[1:]
    expected = StubEncoder().encode_texts(texts)
    for row, answer in zip(expected, answers, strict=True):
        assert np.allclose(answer.embeddings[0], row, atol=1e-6)  # type: ignore[attr-defined]
    assert batches.texts == [N - 1]
