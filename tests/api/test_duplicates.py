"""Duplicates over HTTP."""

from __future__ import annotations

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.types import Progress
from tests.fakes.engine import FakeEngine, id_of

Http = TestClient[Litestar]


def test_groups_of_a_tier_come_with_their_pictures(http: Http) -> None:
    answer = http.get("/api/duplicates?tier=variant&limit=1&offset=1").json()
    (group,) = answer["groups"]
    assert group["score"] == 0.75
    assert [image["id"] for image in group["images"]] == [id_of(3), id_of(4)]
    assert {name: answer[name] for name in ("tier", "total", "limit", "offset", "took_ms", "progress")} == {
        "tier": "variant", "total": 2, "limit": 1, "offset": 1, "took_ms": 0.5, "progress": None,
    }  # fmt: skip


def test_the_same_bytes_are_one_picture_with_several_paths(http: Http) -> None:
    (group,) = http.get("/api/duplicates").json()["groups"]
    (image,) = group["images"]
    assert len(image["paths"]) == 2


def test_until_something_was_found_the_answer_is_accepted(http: Http, engine: FakeEngine) -> None:
    engine.searching, engine.searched = Progress("duplicates", True, 3, 5, 1.0, 2.0), False
    response = http.get("/api/duplicates?tier=similar")
    assert response.status_code == 202
    assert response.json()["progress"]["n_done"] == 3
    engine.searched = True
    assert http.get("/api/duplicates?tier=similar").status_code == 200


@pytest.mark.parametrize("wrong", ["tier=other", "limit=0", "limit=1001", "offset=-1"])
def test_what_cannot_be_asked_is_refused(http: Http, wrong: str) -> None:
    assert http.get(f"/api/duplicates?{wrong}").status_code == 422
