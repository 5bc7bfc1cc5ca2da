"""`indexer gpu` beside a running server: live, and giving memory back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from indexer.cli import source
from indexer.cli.memory_view import memory_view
from indexer.cli.service import Front
from indexer.store.data_dir import Holder
from search_api.client import Client
from search_api.schemas import (
    DeviceLedgerAnswer,
    ForecastAnswer,
    GpuMemoryAnswer,
    LeakAnswer,
    MemoryPartAnswer,
    ProcessLedgerAnswer,
    ProcessMemoryAnswer,
)
from search_api.server import bind
from search_api.settings import ApiSettings
from tests.cli.conftest import Run
from tests.fakes.engine import FakeEngine

GIB = 1 << 30
QUEUE = {
    "depth": 4, "oldest_s": 0.5, "images_per_s": 12.5, "batch_size": 8, "limited_by": "encode", "rejected_total": 1,
    "busy_share": 0.75,
}  # fmt: skip
MEMORY = GpuMemoryAnswer(
    True, "", [],
    [DeviceLedgerAnswer(
        "gpu0", "H100", 80 * GIB, [MemoryPartAnswer("weights", 20 * GIB), MemoryPartAnswer("unexplained", 0)],
        [ProcessMemoryAnswer(7, "train.py", GIB)], 0.97,
    )],
    ProcessLedgerAnswer(GIB, [MemoryPartAnswer("heap", GIB)]),
    ForecastAnswer(1_000_000, 9_000_000),
    [LeakAnswer("process", 1.0, 2.0, "2026-11-22T12:00:00Z", "process grows")],
)  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    engine = FakeEngine()
    front = Front(ApiSettings(port=0), bind("127.0.0.1", 0))
    with front.answering(engine, threading.Event()) as url:
        monkeypatch.setattr(source, "running_server", lambda config: Holder(1, url))
        yield engine


def events(*told: tuple[str, Any]) -> Callable[..., Iterator[tuple[str, Any]]]:
    return lambda client, topics: iter(told)


def test_release_says_what_came_back(run: Run, server: FakeEngine) -> None:
    assert run("gpu", "--release").out == "gpu0\t0.0 MB\nprocess\t0.0 MB\n"
    assert json.loads(run("gpu", "--release", "--json").out) == {
        "freed_bytes": 7, "devices": {"gpu0": 5, "process": 2},
    }  # fmt: skip


def test_without_a_server_nothing_is_watched_or_released(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "running_server", lambda config: None)
    for option in ("--watch", "--release"):
        outcome = run("gpu", option)
        assert outcome.code == 4
        assert "indexer serve" in outcome.err
    assert run("gpu", "--watch", "--release").code == 2


def test_watching_shows_what_is_told_until_the_service_ends(
    run: Run, server: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "events", events(("queue", QUEUE), ("gpu", {"available": False, "reason": "none",
                                                                            "devices": []})))  # fmt: skip
    shown = run("gpu", "--watch")
    assert shown.code == 0
    assert "12.5 images/s, busy 75%, batch 8, 4 waiting" in shown.out
    lines = [json.loads(line) for line in run("gpu", "--watch", "--json").out.splitlines()]
    assert lines[0] == {"queue": QUEUE}
    assert list(lines[1]) == ["gpu"]


def test_the_picture_names_every_part_and_draws_it_to_scale() -> None:
    console = Console(file=StringIO(), width=120, force_terminal=False)
    console.print(memory_view(MEMORY, QUEUE))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "█" * 15 + "░" * 45 in text
    for said in (
        "gpu0  H100, 97% explained", "20.00 GiB of 80.00 GiB", "process 7 train.py: 1.00 GiB", "heap",
        "1,000,000 more images", "leak: process grows", "limited by encode",
    ):  # fmt: skip
        assert said in text
    assert "unexplained" not in text
