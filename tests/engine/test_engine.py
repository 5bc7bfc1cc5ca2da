"""The engine on its real parts, with a model of arithmetic: what only shows when all of them work together."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.torture.oracle import differences
from benchmarks.torture.stub import BAD, StubEncoder, configured, open_stub
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.encoder import owner
from indexer.engine import RunningEngine, open_engine
from indexer.errors import ConfigError, DeviceFailed, StoreCorrupt
from indexer.types import Decoded, FilePath, ImageQuery, IndexNews, Pixels, content_hash


@contextmanager
def engine_at(
    root: Path, build: Callable[[], StubEncoder] = StubEncoder, settings: Mapping[str, Any] | None = None
) -> Iterator[RunningEngine]:
    with open_engine(configured(root, settings), model=partial(open_stub, build=build)) as engine:
        yield engine


def write(folder: Path, n: int, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + n):
        (folder / f"{i}.jpg").write_bytes(b"picture %d" % i)


def settled(engine: RunningEngine, root: Path) -> list[str]:
    """Differences from the oracle once there are none any more, or after ten seconds."""
    pause = threading.Event()
    found = ["nothing was compared"]
    for _ in range(200):
        engine.wait_idle(10)
        found = differences(engine, [root / "pictures"])
        if not found:
            break
        pause.wait(0.05)
    return found


def test_a_folder_of_more_files_than_are_doubted_may_be_renamed(tmp_path: Path) -> None:
    write(tmp_path / "pictures" / "a", 1500)
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
        (tmp_path / "pictures" / "a").rename(tmp_path / "pictures" / "b")
        assert settled(engine, tmp_path) == []
        assert engine.stats().notices == ()
        assert engine.stats().encoded_total == 1500
    (tmp_path / "pictures" / "b").rename(tmp_path / "pictures" / "c")
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
        assert engine.stats().notices == ()
        assert engine.stats().encoded_total == 0


def test_a_lost_device_is_told_and_pictures_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "REOPEN_DELAYS_S", (0.0,))
    monkeypatch.setattr(owner, "REST_S", 0.05)
    lost = threading.Event()

    def fail_while_lost(pixels: Pixels | None = None) -> None:
        if lost.is_set():
            raise DeviceFailed("unplugged")

    def build() -> StubEncoder:
        fail_while_lost()
        return StubEncoder(fail_while_lost)

    with engine_at(tmp_path, build) as engine:
        assert engine.readiness().checks["encoder"] == "ok"
        lost.set()
        write(tmp_path / "pictures", 20)
        pause = threading.Event()
        while engine.readiness().ready:
            pause.wait(0.01)
        assert "unplugged" in engine.readiness().checks["encoder"]
        with pytest.raises(DeviceFailed):
            engine.search(ImageQuery(b"never seen"), 1)
        lost.clear()
        assert settled(engine, tmp_path) == []
        assert engine.readiness().ready
        stats = engine.stats()
        assert (stats.encoded_total, stats.errors) == (20, 0)


def test_a_search_by_an_indexed_picture_encodes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "pictures", 3)
    n_pictures = []
    with engine_at(tmp_path, lambda: StubEncoder(lambda pixels: n_pictures.append(len(pixels)))) as engine:
        assert settled(engine, tmp_path) == []
        before = sum(n_pictures)
        assert engine.search(ImageQuery(b"picture 1"), 1).hits[0].path.endswith(b"/1.jpg")
        assert sum(n_pictures) == before
        engine.search(ImageQuery(b"another"), 1)
        assert sum(n_pictures) == before + 1
        assert engine.stats().encoded_total == 3


def test_a_folder_that_is_watched_no_more_is_not_searched_and_costs_nothing_to_have_back(tmp_path: Path) -> None:
    write(tmp_path / "pictures", 3)
    write(tmp_path / "more", 2, first=10)
    both = {"watch.folders": [str(tmp_path / "pictures"), str(tmp_path / "more")]}
    with engine_at(tmp_path, settings=both) as engine:
        engine.wait_idle(10)
        assert engine.stats().indexed == 5
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
        assert engine.stats().indexed == 3
    with engine_at(tmp_path, settings=both) as engine:
        engine.wait_idle(10)
        assert (engine.stats().indexed, engine.stats().encoded_total) == (5, 0)


def test_encoding_anew_encodes_each_content_once_and_ends(tmp_path: Path) -> None:
    write(tmp_path / "pictures", 30)
    (tmp_path / "pictures" / "copy.jpg").write_bytes(b"picture 0")
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
        engine.rebuild(reencode=True)
        pause = threading.Event()
        while (progress := engine.rebuild_progress()) and progress.running:
            pause.wait(0.01)
        assert progress is not None
        assert (progress.error, progress.summary["encoded"], progress.summary["missing"]) == ("", 30, 0)
        assert engine.stats().encoded_total == 60
        assert settled(engine, tmp_path) == []


def test_a_wrong_folder_is_told_before_a_model_is_opened(tmp_path: Path) -> None:
    config = configured(tmp_path, {"watch.folders": [str(tmp_path / "no" / "such")]})
    with pytest.raises(ConfigError, match="does not exist"):
        open_engine(config, model=lambda *_: pytest.fail("opened a model"))


def test_damage_that_is_met_while_opening_is_mended_by_opening_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "pictures", 3)
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
    live = SqliteCatalogue.live
    met: list[str] = []

    def once(catalogue: SqliteCatalogue) -> object:
        if not met:
            met.append("a malformed page")
            raise StoreCorrupt(met[0])
        return live(catalogue)

    monkeypatch.setattr(SqliteCatalogue, "live", once)
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
    assert met


def test_who_listens_hears_what_becomes_searchable_and_what_goes(tmp_path: Path) -> None:
    told: list[IndexNews] = []
    with engine_at(tmp_path) as engine:
        engine.listen(["index"], lambda event: told.append(event.data))  # type: ignore[arg-type]
        write(tmp_path / "pictures", 3)
        assert settled(engine, tmp_path) == []
        assert eventually(lambda: len([id for news in told for id in news.added]) == 3)
        (tmp_path / "pictures" / "0.jpg").unlink()
        assert eventually(lambda: sum(news.removed for news in told) == 1)
        assert told[-1].indexed == 2
    assert {id for news in told for id in news.added} == {content_hash(b"picture %d" % i).hex() for i in range(3)}


def test_refused_files_are_tried_again_when_asked_and_only_then(tmp_path: Path) -> None:
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    for name in ("a/1.jpg", "a/2.jpg", "3.jpg"):
        (tmp_path / "pictures" / name).write_bytes(BAD + name.encode())
    with engine_at(tmp_path) as engine:
        assert settled(engine, tmp_path) == []
        decoded: list[bytes] = []
        decode = engine.parts.decoder.decode

        def spy(data: bytes, *, urgent: bool = False) -> Future[Decoded]:
            decoded.append(data)
            return decode(data, urgent=urgent)

        engine.parts.decoder.decode = spy  # type: ignore[method-assign]
        engine.rescan()
        assert settled(engine, tmp_path) == []
        assert decoded == []
        assert engine.retry(FilePath(os.fsencode(tmp_path / "pictures" / "a"))) == 2
        assert settled(engine, tmp_path) == []
        assert sorted(decoded) == [BAD + b"a/1.jpg", BAD + b"a/2.jpg"]
        assert engine.retry() == 3
        assert settled(engine, tmp_path) == []
        assert len(decoded) == 5
        assert engine.retry(FilePath(b"/elsewhere")) == 0


def eventually(check: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(check() or pause.wait(0.02) for _ in range(500))


def test_a_model_that_left_for_want_of_work_comes_back_without_an_error(tmp_path: Path) -> None:
    n_built = 0

    def build() -> StubEncoder:
        nonlocal n_built
        n_built += 1
        return StubEncoder()

    with engine_at(tmp_path, build, {"model.idle_release_s": 0.05}) as engine:
        for turn in range(3):
            n_before = n_built
            write(tmp_path / "pictures", 3, first=10 * turn)
            assert settled(engine, tmp_path) == []
            assert engine.search(ImageQuery(b"picture %d" % (10 * turn)), 1).hits[0].score > 0.99
            assert engine.readiness().ready
            assert turn == 0 or n_built > n_before
            assert eventually(lambda: not engine.parts.embedder._owner.is_open)  # type: ignore[attr-defined]
        assert engine.stats().errors == 0
