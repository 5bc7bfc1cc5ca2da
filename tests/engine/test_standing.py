"""Standing queries: new images that match are told once, over restarts too, whatever goes wrong with one query."""

from __future__ import annotations

import json
import math
import queue
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.torture.stub import configured, feature_of, open_stub
from indexer.engine import open_engine
from indexer.engine.standing import MOST, Means, StandingQueries
from indexer.engine.webhook import Delivery, Webhooks
from indexer.errors import InputError, NotFound, StoreFull
from indexer.geometry import Aim, Geometry, Part
from indexer.standing.matching import Matching
from indexer.types import (
    ContentHash,
    Event,
    FilePath,
    Found,
    ImageInfo,
    Match,
    Query,
    Range,
    Stamp,
    StandingQuery,
    TextQuery,
    Tier,
    VectorQuery,
    Where,
    content_hash,
)
from tests.fakes.catalogue import MemoryCatalogue
from tests.fakes.index import MemoryIndex

EAST, NORTH = [1.0, 0.0], [0.0, 1.0]


class World:
    """A catalogue and an index in two dimensions; what a standing query tells."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.catalogue = MemoryCatalogue()
        self.index = MemoryIndex(2)
        self.geometry = Geometry(None, dim=2)
        self.matches: queue.SimpleQueue[Match] = queue.SimpleQueue()
        self.sent: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self.cut: float | None = 0.5
        self.n = 0
        self.open()

    def open(self) -> None:
        means = Means(
            self.index, self.catalogue, Matching(self.index, self.catalogue, self.geometry, [FilePath(b"/w")]),
            self.aim, lambda _query: self.cut, self.matches.put,
        )  # fmt: skip
        self.standing = StandingQueries(self.path, means, Webhooks(self.sent.put))
        self.standing.start()

    def aim(self, asked: Query) -> Aim:
        if isinstance(asked, TextQuery):
            raise NotFound("no such thing")
        assert isinstance(asked, VectorQuery)
        return self.geometry.aim([Part(np.array(asked.vector, np.float32), False)])

    def add(self, row: list[float], width: int = 9) -> ContentHash:
        self.n += 1
        hash = content_hash(b"%d" % self.n)
        info = ImageInfo("PNG", width, 9, 9)
        path = FilePath(b"/w/%d" % self.n)
        id = self.catalogue.commit([Found(path, Stamp(1, self.n, 1, 1, 1), hash, info)]).ids[hash]
        self.index.upsert(np.array([id]), np.array([row], np.float16), np.ones(1, np.float32))
        self.standing.note([hash])
        return hash

    def told(self) -> ContentHash:
        return self.matches.get(timeout=10).image.hash


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "standing.json")
    yield world
    world.standing.close()


def looking(vector: list[float], threshold: float = 0.9, **members: object) -> StandingQuery:
    return StandingQuery(VectorQuery(vector), threshold, "it", **members)  # type: ignore[arg-type]


def test_what_is_new_and_matches_is_told_and_nothing_else(world: World) -> None:
    world.add(EAST)
    kept = world.standing.add(looking(EAST))
    world.add(NORTH)
    wanted = world.add(EAST)
    match = world.matches.get(timeout=10)
    assert (match.standing_id, match.name, match.image.hash) == (kept.id, "it", wanted)
    assert match.score == pytest.approx(1)
    assert world.matches.empty()


def test_a_filter_and_a_list_of_exceptions_hold(world: World) -> None:
    world.standing.add(looking(EAST, where=Where(width_px=Range(100)), exclude_ids=(content_hash(b"1").hex(),)))
    world.add(EAST, width=200)
    world.add(EAST, width=50)
    wanted = world.add(EAST, width=300)
    assert world.told() == wanted
    assert world.matches.empty()


def test_without_a_threshold_hits_must_be_better_than_chance(world: World) -> None:
    assert world.standing.add(looking(EAST, math.nan)).threshold == 0.5
    world.cut = None
    with pytest.raises(InputError, match="score_threshold"):
        world.standing.add(looking(EAST, math.nan))


def test_what_came_while_the_service_was_down_is_told_and_nothing_twice(world: World) -> None:
    world.standing.add(looking(EAST))
    first = world.add(EAST)
    assert world.told() == first
    world.standing.close()
    while_down = world.add(EAST)
    world.open()
    assert world.told() == while_down
    after = world.add(EAST)
    assert world.told() == after
    assert world.standing.all()[0].n_matches == 3


def test_a_question_that_cannot_be_answered_any_more_does_not_stop_the_others(world: World) -> None:
    world.standing.add(looking(NORTH))
    world.standing.add(looking(EAST))
    world.standing.close()
    told = json.loads(world.path.read_bytes())
    told["queries"][0]["query"] = {"text": "gone"}
    world.path.write_text(json.dumps(told))
    world.open()
    wanted = world.add(EAST)
    assert world.told() == wanted


def test_a_forgotten_question_is_silent_also_after_a_restart(world: World) -> None:
    dropped = world.standing.add(looking(EAST))
    kept = world.standing.add(looking(EAST))
    world.standing.drop(dropped.id)
    with pytest.raises(NotFound):
        world.standing.drop(dropped.id)
    world.standing.close()
    world.open()
    assert [each.id for each in world.standing.all()] == [kept.id]
    world.add(EAST)
    assert world.matches.get(timeout=10).standing_id == kept.id
    assert world.matches.empty()


def test_a_webhook_is_sent_what_matches(world: World) -> None:
    kept = world.standing.add(looking(EAST, webhook="http://127.0.0.1:1/here"))
    assert kept.secret is not None and len(kept.secret) == 64
    wanted = world.add(EAST)
    sent = world.sent.get(timeout=10)
    assert (sent.url, sent.secret) == (kept.webhook, kept.secret)
    body = json.loads(sent.body)
    assert (body["standing_id"], body["id"], body["paths"]) == (kept.id, wanted.hex(), ["/w/1"])


def test_what_cannot_be_kept_does_not_stand(world: World) -> None:
    world.standing.close()
    world.path = world.path.parent / "no folder" / "standing.json"
    world.open()
    with pytest.raises(StoreFull):
        world.standing.add(looking(EAST))
    assert world.standing.all() == []


def test_questions_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.engine.standing.MOST", 2)
    world.standing.add(looking(EAST))
    world.standing.add(looking(EAST))
    with pytest.raises(InputError, match="2"):
        world.standing.add(looking(EAST))
    assert MOST >= 2


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"queries": [{}], "mark": 1}', b"\xff"])
def test_damaged_records_are_let_go(world: World, damage: bytes) -> None:
    world.standing.close()
    world.path.write_bytes(damage)
    world.open()
    assert world.standing.all() == []


def test_a_running_engine_tells_what_is_dropped_into_its_folder(tmp_path: Path) -> None:
    config = configured(tmp_path)
    for i in range(25):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(b"%d" % i)
    told: queue.SimpleQueue[Event] = queue.SimpleQueue()
    with open_engine(config, model=open_stub) as engine:
        assert engine.wait_idle(20)
        feature = feature_of(b"wanted").astype(float).tolist()
        kept = engine.stand(StandingQuery(VectorQuery(feature), math.nan, "it"))
        assert 0 < kept.threshold < 1
        with pytest.raises(InputError, match="webhook"):
            engine.stand(looking(feature, webhook="http://10.0.0.1/"))
        engine.listen(["match"], told.put)
        (tmp_path / "pictures" / "new.png").write_bytes(b"wanted")
        match = told.get(timeout=20).data
        assert isinstance(match, Match)
        assert (match.standing_id, match.image.hash) == (kept.id, content_hash(b"wanted"))
        engine.unstand(kept.id)
        assert engine.standing() == []


def test_a_running_engine_finds_duplicates(tmp_path: Path) -> None:
    config = configured(tmp_path)
    for name, data in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / "pictures" / f"{name}.png").write_bytes(data)
    with open_engine(config, model=open_stub) as engine:
        assert engine.wait_idle(20)
        (group,) = engine.duplicates(Tier.SAME, 10).groups
        assert [path.rpartition(b"/")[2] for path in group.images[0].paths] == [b"a.png", b"b.png"]
        while (page := engine.duplicates(Tier.VARIANT, 10)).progress:
            pass
        assert page.known and page.groups == ()
        assert any(progress.task == "duplicates" for progress in engine.stats().progress)
