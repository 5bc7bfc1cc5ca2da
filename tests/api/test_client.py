"""The client against a real server."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from indexer.errors import (
    ConfigError,
    ImageRefused,
    InputError,
    ModelUnavailable,
    NoTextTower,
    NotFound,
    NotTuned,
    Overloaded,
    Unreachable,
)
from indexer.types import MixedQuery, Options, Range, Readiness, Reason, Term, TextQuery, Where
from search_api import schemas
from search_api.client import Client
from search_api.server import Server
from search_api.settings import ApiSettings
from tests.api.conftest import running
from tests.fakes.engine import BROKEN, DIM, JOINT, JPEG, FakeEngine, id_of, picture


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
def client(world: tuple[FakeEngine, Server], engine: FakeEngine) -> Iterator[Client]:
    with Client(world[1].url) as client:
        yield client


def test_every_way_of_asking_finds_its_picture(client: Client) -> None:
    answers = [
        client.search_image(picture(2), limit=3),
        client.search_id(id_of(2), limit=3),
        client.similar(id_of(2), limit=3),
        client.search_vector(client.embed_image(picture(2)).feature, limit=3),
    ]
    assert {answer.hits[0].id for answer in answers} == {id_of(2)}
    assert {len(answer.hits) for answer in answers} == {3}
    words = client.search_text("a red car", limit=2, offset=3)
    assert (words.limit, words.offset, len(words.hits)) == (2, 3, 2)


def test_any_question_and_its_options_reach_the_engine(client: Client, engine: FakeEngine) -> None:
    where = schemas.WhereRequest(path="holiday/**", width_min=10)
    question = schemas.SearchRequest(
        query=[schemas.TermRequest(text="beach"), schemas.TermRequest(text="people", weight=-1)],
        where=where,
        diversity=0.5,
        limit=2,
    )
    assert len(client.search(question).hits) == 2
    assert ("search", MixedQuery((Term(TextQuery("beach")), Term(TextQuery("people"), -1)))) in engine.calls
    expected = Options(Where(("holiday/**",), width_px=Range(10, None)), diversity=0.5)
    assert ("options", expected) in engine.calls
    for ask in (partial(client.similar, id_of(1)), partial(client.search_image, picture(1))):
        engine.reset()
        ask(score_threshold=0.25, collapse="near", cut="auto")
        assert ("options", Options(score_threshold=0.25, fold_near=True, cut=True)) in engine.calls


def test_vectors_come_back_as_they_are(client: Client, engine: FakeEngine) -> None:
    embedded = engine.embed_images([picture(1)])[0]
    answer = client.embed_image(picture(1))
    assert answer.id == id_of(1)
    assert answer.feature == embedded.feature.tolist()
    assert len(answer.embedding or []) == JOINT
    assert client.embed_text("a").embeddings == engine.embed_texts(["a"]).tolist()
    assert len(client.embed_text(["a", "b"]).embeddings) == 2


def test_pictures_and_thumbnails(client: Client) -> None:
    assert client.image(id_of(0)).paths == ["/pictures/0.jpg", "/pictures/copy-\\xff.jpg"]
    assert client.thumbnail(id_of(0), side=64) == JPEG


def test_the_state_of_the_service(client: Client, engine: FakeEngine) -> None:
    assert client.stats().indexed == 5
    assert client.errors(limit=1).total == 3
    assert client.gpu_memory() == schemas.GpuMemoryAnswer(False, "no NVIDIA driver", [])
    assert client.live().status == "ok"
    assert client.ready() == schemas.ReadyAnswer(True, {"model": "ok", "index": "ok"})
    engine.ready = Readiness(False, {"model": "fail: loading"})
    assert client.ready() == schemas.ReadyAnswer(False, {"model": "fail: loading"})


def test_what_was_tuned_or_that_nothing_was(client: Client, engine: FakeEngine) -> None:
    answer = client.tuning()
    assert (answer.size, answer.ended, answer.measured) == (2, "asked", "2025-11-22T12:00:00.500000Z")
    assert answer.rows[1] == schemas.BatchRowAnswer(2, 1500, 16.0, 125.0)
    engine.tuned = None
    with pytest.raises(NotTuned):
        client.tuning()


def test_orders(client: Client, engine: FakeEngine) -> None:
    assert client.rescan().status == "accepted"
    assert client.rebuild(reencode=True).n_total == 5
    assert client.verify(sample=3, repair=True).task == "verify"
    assert client.retry("/pictures").n == 3
    assert engine.calls.pop() == ("retry", b"/pictures")
    assert client.tune().task == "tune"
    assert engine.calls == [("rescan", False), ("rebuild", True), ("verify", (3, True)), ("tune", None)]


def test_a_path_is_asked_about_byte_for_byte(client: Client, engine: FakeEngine) -> None:
    path = b"/pictures/copy-\xff.jpg"
    assert client.why(path).standing == "indexed"
    for name in (b"/a b+c%20d&e=f#g?h", b"/\xe9\n\x01", "/ä 🖼".encode()):
        client.why(name)
    assert [asked for _, asked in engine.calls] == [path, b"/a b+c%20d&e=f#g?h", b"/\xe9\n\x01", "/ä 🖼".encode()]


def test_errors_arrive_as_what_they_were(client: Client, engine: FakeEngine) -> None:
    with pytest.raises(NotFound):
        client.image("0" * 64)
    with pytest.raises(NotFound):
        client.thumbnail("../../etc/passwd")
    with pytest.raises(InputError, match=rf"{DIM} \(visual\)"):
        client.search_vector([1.0, 2.0])
    with pytest.raises(InputError, match="limit"):
        client.search_text("a", limit=0)
    with pytest.raises(ImageRefused) as refused:
        client.search_image(BROKEN)
    assert refused.value.reason == Reason.CORRUPT
    engine.fail["search"] = NoTextTower("This checkpoint has no text tower.")
    with pytest.raises(NoTextTower, match="This checkpoint has no text tower"):
        client.search_text("a")
    engine.fail["search"] = Overloaded("Full.", 2.5)
    with pytest.raises(Overloaded) as busy:
        client.search_text("a")
    assert busy.value.retry_after_s == 2.5
    engine.fail["search"] = ModelUnavailable("secret")
    with pytest.raises(ModelUnavailable):
        client.search_text("a")
    engine.fail["readiness"] = Overloaded("Full.", 1)
    with pytest.raises(Overloaded):
        client.ready()


def test_a_key_is_sent_and_a_missing_one_is_named(engine: FakeEngine) -> None:
    key = "a-key-of-enough-characters"
    with running(engine, ApiSettings(api_key=key)) as server:
        with Client(server.url, api_key=key) as client:
            assert client.stats().indexed == 5
        with Client(server.url) as client:
            assert client.live().status == "ok"
            with pytest.raises(ConfigError, match=r"api\.api_key"):
                client.stats()


def test_a_name_that_the_service_does_not_know_is_explained(world: tuple[FakeEngine, Server]) -> None:
    url = world[1].url.replace("127.0.0.1", "0.0.0.0")
    with Client(url) as client, pytest.raises(ConfigError, match=r"api\.host"):
        client.live()


def test_where_nobody_listens_the_remedy_is_named() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unreachable, match="indexer serve"):
        client.live()


def test_an_address_that_is_none_is_unreachable() -> None:
    with Client("http://[") as client, pytest.raises(Unreachable):
        client.live()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_service_is_not_mistaken_for_ours(status: int) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{other.server_address[1]}"
        with Client(url) as client, pytest.raises(Unreachable, match="Something else"):
            client.stats()
        thread.join(10)


def test_a_server_that_does_not_answer_in_time_is_unreachable(client: Client, engine: FakeEngine) -> None:
    engine.hold.clear()
    try:
        with Client(client.base_url, timeout_s=0.2) as hasty, pytest.raises(Unreachable, match="timed out"):
            hasty.search_text("a")
    finally:
        engine.hold.set()


def test_importing_the_client_imports_nothing_heavy() -> None:
    program = "import sys, search_api.client; sys.exit(any(m in sys.modules for m in ('httpx', 'litestar', 'uvicorn')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
