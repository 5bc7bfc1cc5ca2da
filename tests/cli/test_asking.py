"""search, embed, status and gpu: the same answers from a running server and from the store itself."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.cli import source, watch_for
from indexer.cli.search import exact_path
from indexer.cli.service import Front
from indexer.config import Config
from indexer.errors import NoTextTower, NotFound, Overloaded
from indexer.store.data_dir import Holder
from indexer.types import (
    DeviceMemory,
    GpuMemory,
    IdQuery,
    ImageQuery,
    Leak,
    Match,
    MixedQuery,
    Options,
    Range,
    SearchResult,
    StandingQuery,
    Term,
    TextQuery,
    Where,
)
from search_api.server import bind
from search_api.settings import ApiSettings
from tests.cli.conftest import Run
from tests.fakes.engine import BROKEN, DIM, JOINT, FakeEngine, id_of, picture, vector_of


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture(params=["server", "store"])
def asked(request: pytest.FixtureRequest, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine that the verbs reach, through a server or by opening the store."""

    @contextmanager
    def open_reader(config: Config) -> Iterator[FakeEngine]:
        yield engine

    monkeypatch.setattr(source, "open_reader", open_reader)
    monkeypatch.setattr(source, "offline_stats", lambda config: engine.stats())
    monkeypatch.setattr(source, "offline_refused", lambda config, limit: engine.refused(limit))
    monkeypatch.setattr(source, "offline_memory", engine.gpu_memory)
    if request.param == "store":
        monkeypatch.setattr(source, "running_server", lambda config: None)
        yield engine
        return
    front = Front(ApiSettings(port=0), bind("127.0.0.1", 0))
    with front.answering(engine, threading.Event()) as url:
        monkeypatch.setattr(source, "running_server", lambda config: Holder(1, url))
        yield engine


# ---------------------------------------------------------------- search


@pytest.mark.parametrize("arguments", [["a", "red", "car"], ["--text", "a red car"], ["a red", "car"]])
def test_words_are_searched_as_one_text(run: Run, asked: FakeEngine, arguments: list[str]) -> None:
    assert run("search", *arguments).code == 0
    assert ("search", TextQuery("a red car")) in asked.calls


def test_a_picture_is_searched_by_its_bytes(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "it.jpg").write_bytes(picture(3))
    outcome = run("search", "--image", "it.jpg", "--json")
    assert ("search", ImageQuery(picture(3))) in asked.calls
    best = json.loads(outcome.out)["hits"][0]
    assert best["id"] == id_of(3)
    assert best["score"] == pytest.approx(1)


def test_a_picture_may_come_from_stdin(run: Run, asked: FakeEngine) -> None:
    assert run("search", "--image", "-", stdin=picture(2)).code == 0
    assert ("search", ImageQuery(picture(2))) in asked.calls


def test_an_id_finds_its_picture_first(run: Run, asked: FakeEngine) -> None:
    outcome = run("search", "--id", id_of(1), "--paths-only")
    assert ("search", IdQuery(id_of(1))) in asked.calls
    assert outcome.out.splitlines()[0] == "/pictures/1.jpg"


def test_all_that_is_asked_reaches_the_engine(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "pool.jpg").write_bytes(picture(3))
    outcome = run(
        "search", "2*golden retriever - fruit", "--image", "pool.jpg", "--id", id_of(1), "--like", id_of(2),
        "--unlike", id_of(4), "--where", "path:holiday/** after:1970-01-02", "--where", "width:10..",
        "--min-score", "0.1",
        "--cut", "--diversity", "0.5", "--near",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    terms = (
        Term(TextQuery("golden retriever"), 2),
        Term(TextQuery("fruit"), -1),
        Term(ImageQuery(picture(3))),
        Term(IdQuery(id_of(1))),
    )
    assert ("search", MixedQuery(terms, (id_of(2),), (id_of(4),))) in asked.calls
    where = Where(("holiday/**",), modified_ns=Range(86_400_000_000_000, None), width_px=Range(10, None))
    expected = Options(where, score_threshold=0.1, cut=True, diversity=0.5, fold_near=True)
    assert ("options", expected) in asked.calls


def test_a_folded_hit_tells_how_many_are_alike(run: Run, asked: FakeEngine) -> None:
    plain = asked.search

    def folding(*arguments: Any) -> SearchResult:
        result = plain(*arguments)
        return replace(result, hits=tuple(replace(hit, n_alike=2) for hit in result.hits))

    asked.search = folding  # type: ignore[method-assign]
    assert run("search", "--id", id_of(1), "-n", "1").out == "1.0000\t640x480\t2\t/pictures/1.jpg\n"


def test_a_filter_that_nothing_fits_is_said_to_be_the_cause(run: Run, asked: FakeEngine) -> None:
    plain = asked.search
    asked.search = lambda *arguments: replace(plain(*arguments), hits=(), matching=0)  # type: ignore[method-assign]
    assert run("search", "red", "--where", "width:..1").err == "no picture fits --where\n"


def test_the_best_hit_is_opened_with_the_desktops_viewer(
    run: Run, asked: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[list[bytes]] = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **_how: opened.append(command))
    assert run("search", "--id", id_of(1), "--open").code == 0
    assert opened == [[b"xdg-open", b"/pictures/1.jpg"]]


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that shows pictures."""
    monkeypatch.setattr("indexer.cli.inline.protocol_of", lambda environment, is_terminal: "iterm")


def test_a_terminal_that_shows_pictures_is_sent_one_before_each_line(
    run: Run, asked: FakeEngine, drawing: None
) -> None:
    lines = run("search", "--id", id_of(1), "-n", "2").out.splitlines()
    assert [line.startswith("\x1b]1337;") for line in lines] == [True, False, True, False]
    assert lines[1] == "1.0000  640x480  /pictures/1.jpg"
    assert "\x1b" not in run("search", "--id", id_of(1), "-n", "2", "--no-thumbnails").out


def test_a_picture_that_is_not_there_any_more_leaves_its_line_alone(run: Run, asked: FakeEngine, drawing: None) -> None:
    asked.fail["thumbnail"] = NotFound("the file has changed or gone since it was indexed")
    outcome = run("search", "--id", id_of(1), "-n", "2")
    assert (outcome.code, outcome.err) == (0, "")
    assert len(outcome.out.splitlines()) == 2
    assert "\x1b" not in outcome.out


def test_piped_hits_are_lines_of_score_pixels_and_path(run: Run, asked: FakeEngine) -> None:
    lines = run("search", "--id", id_of(1), "--limit", "2").out.splitlines()
    assert len(lines) == 2
    assert lines[0] == "1.0000\t640x480\t/pictures/1.jpg"


def test_paths_end_with_nul_on_request(run: Run, asked: FakeEngine) -> None:
    assert run("search", "--id", id_of(1), "-n", "1", "--paths-only", "-0").out == "/pictures/1.jpg\0"


def test_json_is_the_wires_answer(run: Run, asked: FakeEngine) -> None:
    answer = json.loads(run("search", "--id", id_of(1), "--json", "--limit", "3").out)
    assert answer["limit"] == 3
    assert len(answer["hits"]) == 3
    assert answer["model"] == "fake"
    assert answer["index"] == {"count": 5, "generation": 7}
    assert set(answer["took_ms"]) == {"embed", "search", "total"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "say what to find"),
        (["red", "--text", "blue"], 2, "give the words once"),
        (["--text", "  "], 2, "words are missing here (at character 3)"),
        (["red - "], 2, "words are missing here (at character 7)"),
        (["red", "--where", "colour:red"], 2, "there is no filter 'colour'"),
        (["red", "--where", "path:a/../b"], 1, "where.path"),
        (["red", "--where", "format:tga"], 1, "none of jpeg"),
        (["red", "--diversity", "2"], 2, "--diversity"),
        (["red", "--open", "-n", "1"], 1, "no xdg-open"),
        (["red", "-0"], 2, "--paths-only"),
        (["red", "--paths-only", "--json"], 2, "--json"),
        (["red", "--limit", "0"], 2, "--limit"),
        (["--image", "absent.jpg"], 1, "absent.jpg: cannot be read: no such file"),
        (["--image", "."], 1, ".: cannot be read: is a directory"),
        (["--image", "empty.jpg"], 1, "empty.jpg"),
        (["--image", "notes.txt"], 1, "corrupt: notes.txt: "),
        (["--image", "large.jpg", "--set", "decode.max_file_bytes=10"], 1, "large.jpg has more than 10 bytes"),
        (["--id", "0" * 64], 1, "o live image has"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_message(
    run: Run,
    asked: FakeEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "notes.txt").write_bytes(BROKEN)
    (tmp_path / "large.jpg").write_bytes(picture(1))
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = run("search", *arguments)
    assert outcome.code == code
    assert outcome.out == "" or "--open" in arguments
    assert said in " ".join(outcome.err.replace("│", "").split())
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("error", [NoTextTower("this model reads no words"), Overloaded("too busy")])
def test_an_engines_error_keeps_its_exit_code_and_message(run: Run, asked: FakeEngine, error: Exception) -> None:
    asked.fail["search"] = error
    outcome = run("search", "red")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: ")


def test_an_empty_index_says_so(run: Run, asked: FakeEngine) -> None:
    asked.records.clear()
    asked.features = np.zeros((0, DIM), np.float32)
    outcome = run("search", "red")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "nothing is indexed yet\n")


def test_a_server_that_does_not_answer_is_unreachable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    monkeypatch.setattr(source, "running_server", lambda config: Holder(1, url))
    outcome = run("search", "red")
    assert (outcome.code, outcome.out) == (4, "")
    assert url in outcome.err


def test_a_name_that_is_not_utf8_is_found_again_from_what_is_shown(tmp_path: Path) -> None:
    odd = bytes(tmp_path) + b"/caf\xe9.jpg"
    plain = bytes(tmp_path) + rb"/back\xe9slash.jpg"
    for path in (odd, plain):
        with open(path, "wb"):
            pass
    assert exact_path(odd.decode("utf-8", "backslashreplace")) == odd
    assert exact_path(plain.decode()) == plain


# ---------------------------------------------------------------- embed


def test_a_picture_embeds_as_its_feature_one_line(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "it.jpg").write_bytes(picture(3))
    (line,) = run("embed", "--image", "it.jpg").out.splitlines()
    np.testing.assert_allclose(np.array(line.split(), np.float32), asked.features[3], rtol=1e-6)


def test_texts_embed_as_one_line_each(run: Run, asked: FakeEngine) -> None:
    lines = run("embed", "--text", "red", "--text", "blue").out.splitlines()
    for line, text in zip(lines, (b"red", b"blue"), strict=True):
        np.testing.assert_allclose(np.array(line.split(), np.float32), vector_of(text, JOINT), rtol=1e-6)


def test_vectors_are_saved_as_an_array(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    for i in (1, 2):
        (tmp_path / f"{i}.jpg").write_bytes(picture(i))
    outcome = run("embed", "--image", "1.jpg", "--image", "2.jpg", "-o", "two.npy")
    assert (outcome.code, outcome.out) == (0, "")
    saved = np.load(tmp_path / "two.npy", allow_pickle=False)
    assert saved.dtype == np.float32
    np.testing.assert_allclose(saved, asked.features[1:3], rtol=1e-6)


def test_a_pictures_joint_embedding_is_comparable_with_texts(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "it.jpg").write_bytes(picture(0))
    joint = np.array(run("embed", "--image", "it.jpg", "--joint").out.split(), np.float32)
    assert joint.shape == (JOINT,)
    assert np.linalg.norm(joint) == pytest.approx(1, abs=1e-5)


def test_embed_as_json_is_the_wires_answer(run: Run, asked: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "it.jpg").write_bytes(picture(0))
    one = json.loads(run("embed", "--image", "it.jpg", "--json").out)
    assert one["id"] == id_of(0)
    assert len(one["feature"]) == DIM
    assert len(json.loads(run("embed", "--image", "it.jpg", "--image", "it.jpg", "--json").out)) == 2
    assert json.loads(run("embed", "--text", "red", "--json").out)["dim"] == JOINT


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--text", "a", "--image", "b"], 2),
        (["--text", "a", "--json", "-o", "x.npy"], 2),
        (["--image", "absent.jpg"], 1),
        (["--text", "a", "-o", "no/such/folder.npy"], 1),
    ],
)
def test_what_cannot_be_embedded_fails(run: Run, asked: FakeEngine, arguments: list[str], code: int) -> None:
    outcome = run("embed", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err


# ---------------------------------------------------------------- status and gpu


def facts(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines())


def test_status_tells_counts_and_notices(run: Run, asked: FakeEngine) -> None:
    outcome = run("status")
    told = facts(outcome.out)
    assert told["files"] == "6"
    assert told["indexed"] == "5 pictures"
    assert told["errors"] == "3 (3 corrupt); see --errors"
    assert outcome.err == "note: All is well.\n"


def test_status_warns_of_a_leak(run: Run, asked: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = Leak("process", 2e5, 0.0, 0.0, "the memory of process grows by 720.0 MB an hour")
    stats = replace(asked.stats(), leaks=(leak,))
    monkeypatch.setattr(asked, "stats", lambda: stats)
    assert "note: perhaps a leak: the memory of process grows by 720.0 MB an hour" in run("status").err


def test_status_names_the_indexes_of_other_spaces_too(run: Run, asked: FakeEngine) -> None:
    lines = run("status").out.splitlines()
    assert [line for line in lines if line.startswith("also kept")] == [
        "also kept\tolder, bf16, fingerprint 0000000000000000, 2.5 MB"
    ]


def test_a_servers_status_tells_its_pace_as_well(run: Run, asked: FakeEngine) -> None:
    told = facts(run("status").out)
    if "server at" in told["answered by"]:
        assert told["pending"] == "2, the oldest for 0.5 s"
        assert told["watching"] == "/pictures: events"
    else:
        assert "pending" not in told


def test_status_as_json_counts_what_people_ask_for(run: Run, asked: FakeEngine) -> None:
    stats = json.loads(run("status", "--json").out)
    assert {"files", "indexed", "encoded_total", "cache_hits_total", "pending", "errors"} <= set(stats)


def test_refused_files_are_listed_with_their_reason(run: Run, asked: FakeEngine) -> None:
    assert run("status", "--errors").out.splitlines() == [
        f"corrupt\tcannot be decoded\t/pictures/broken-{i}.jpg" for i in range(3)
    ]
    some = run("status", "--errors", "--limit", "1")
    assert len(some.out.splitlines()) == 1
    assert "3 in all" in some.err
    assert json.loads(run("status", "--errors", "--json").out)["total"] == 3


def test_no_gpu_is_no_error(run: Run, asked: FakeEngine) -> None:
    outcome = run("gpu")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "no GPU: no NVIDIA driver\n")
    answer = json.loads(run("gpu", "--json").out)
    assert (answer["available"], answer["reason"], answer["devices"]) == (False, "no NVIDIA driver", [])


def test_a_gpus_memory_is_a_row(run: Run, asked: FakeEngine) -> None:
    gib = 2**30
    asked.memory = GpuMemory(True, "", (DeviceMemory(0, "H100", 80 * gib, 10 * gib, 70 * gib, gib, 2 * gib, 3 * gib),))
    assert run("gpu").out == "0\t80.00 GiB\t10.00 GiB\t70.00 GiB\t1.00 GiB\t2.00 GiB\t3.00 GiB\tH100\n"


# ---------------------------------------------------------------- duplicates


def test_duplicates_are_listed_by_group_a_file_a_line(run: Run, asked: FakeEngine) -> None:
    outcome = run("duplicates", "--tier", "variant", "-n", "1")
    assert outcome.code == 0
    lines = [line.split("\t") for line in outcome.out.splitlines()]
    assert [(line[0], line[1], line[2]) for line in lines] == [("1", "0.7500", "640x480")] * 2
    assert [line[4] for line in lines] == ["/pictures/1.jpg", "/pictures/2.jpg"]
    assert "1 of 2 groups" in outcome.err


def test_every_copy_of_the_same_bytes_is_listed(run: Run, asked: FakeEngine) -> None:
    assert len(run("duplicates").out.splitlines()) == 2


def test_duplicates_as_json_are_the_wires(run: Run, asked: FakeEngine) -> None:
    answer = json.loads(run("duplicates", "--tier", "variant", "--json").out)
    assert answer["total"] == len(answer["groups"]) == 2


def test_no_duplicates_are_said(run: Run, asked: FakeEngine) -> None:
    outcome = run("duplicates", "--tier", "similar")
    assert (outcome.code, outcome.out) == (0, "")
    assert "nothing" in outcome.err


# ---------------------------------------------------------------- questions that stand


@pytest.fixture
def served(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine behind a server, which ends when `stopping` is called."""
    front = Front(ApiSettings(port=0), bind("127.0.0.1", 0))
    with front.answering(engine, threading.Event()) as url:
        monkeypatch.setattr(source, "running_server", lambda config: Holder(1, url))
        yield engine


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """As in a terminal: what a shell runs in the background ignores the interrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_matches_are_told_as_they_come_and_the_question_ends_with_the_watching(
    run: Run, served: FakeEngine, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def interrupted(match: dict[str, Any], as_json: bool) -> None:
        show(match, as_json)
        signal.raise_signal(number)

    show = watch_for._show
    monkeypatch.setattr(watch_for, "_show", interrupted)
    stand = served.stand

    def matching(query: StandingQuery) -> StandingQuery:
        made = stand(query)
        for id in ("another", made.id):
            served.publish("match", Match(id, "", 0.5, served.records[id_of(1 if id == made.id else 2)]))
        return made

    monkeypatch.setattr(served, "stand", matching)
    outcome = run("watch-for", "a red car", "--threshold", "0.4")
    assert outcome.out == "0.5000\t640x480\t/pictures/1.jpg\n"
    assert served.stood == {}
    outcome = run("watch-for", "a red car", "--keep", "--json")
    assert json.loads(outcome.out)["image"]["id"] == id_of(1)
    assert [each.name for each in served.stood.values()] == ["a red car"]
    assert "a red car" in run("watch-for", "--list").out
    assert run("watch-for", "--forget", next(iter(served.stood))).code == 0
    assert served.stood == {}


def test_words_to_watch_for_are_weighed_as_in_a_search(
    run: Run, served: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand(query: StandingQuery) -> StandingQuery:
        made.append(query)
        raise Overloaded("enough")

    made: list[StandingQuery] = []
    monkeypatch.setattr(served, "stand", stand)
    assert run("watch-for", "2*dog - cat").code == 1
    assert made[0].query == MixedQuery((Term(TextQuery("dog"), 2), Term(TextQuery("cat"), -1)))
    assert made[0].name == "2*dog - cat"
    assert run("watch-for", "dog -").code == 2


def test_watching_needs_a_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "running_server", lambda config: None)
    assert run("watch-for", "a").code == 4
    assert run("watch-for").code == 2
