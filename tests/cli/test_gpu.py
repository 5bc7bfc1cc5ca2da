"""`indexer gpu` beside a running server: live, and giving memory back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from indexer.cli import source
from indexer.cli.memory_view import MemoryView
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
    assert "75%  12.5 images/s, batch 8, limited by encode\n4 waiting, the first for 0.5 s, 1 refused" in shown.out
    lines = [json.loads(line) for line in run("gpu", "--watch", "--json").out.splitlines()]
    assert lines[0] == {"queue": QUEUE}
    assert list(lines[1]) == ["gpu"]


def test_an_interrupt_is_the_way_to_end_it(run: Run, server: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(client: Client, topics: list[str]) -> Iterator[tuple[str, Any]]:
        yield "queue", QUEUE
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "events", interrupted)
    ended = run("gpu", "--watch")
    assert (ended.code, ended.err) == (0, "")


def printed(memory: GpuMemoryAnswer, queue: dict[str, Any] | None, width: int) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    console.print(MemoryView(memory, queue))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_gpu_its_service_and_the_queue_fit_on_a_terminal_of_80_by_24() -> None:
    parts = ["weights", "index", "activations", "reserve", "context", "other_processes", "driver", "unexplained"]
    own = ["weights", "index", "heap", "reserve", "runtime", "libraries", "shared", "decode_children", "unexplained"]
    load = {"device": "cuda:0", "state": "open", "images_per_s": 12.5, "busy_share": 0.5, "trouble": None}
    memory = msgspec.structs.replace(
        MEMORY,
        ledger=[
            DeviceLedgerAnswer(
                "gpu0", "NVIDIA H100 80GB HBM3", 80 * GIB, [MemoryPartAnswer(name, 9 * GIB) for name in parts],
                [ProcessMemoryAnswer(pid, "a program with a long name", GIB) for pid in range(9)], 0.97,
            )
        ],
        process=ProcessLedgerAnswer(40 * GIB, [MemoryPartAnswer(name, 4 * GIB) for name in own]),
    )  # fmt: skip
    lines = printed(memory, {**QUEUE, "devices": 2 * [load]}, 80).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for name in {*parts, *own}:
        assert any(f"■ {name} " in line for line in lines)
    assert "12.5 images/s, batch 8, limited by encode" in lines[0]
    assert "room for about 1,000,000 more images" in "\n".join(lines)


def test_without_a_gpu_the_service_is_shown_alone() -> None:
    text = printed(msgspec.structs.replace(MEMORY, available=False, reason="no driver", ledger=[], leaks=[]), QUEUE, 80)
    assert "no GPU: no driver" in text
    assert "service's main memory, 1.00 GiB" in text
    assert "█" * 76 in text


def test_an_encoder_in_trouble_is_shown_though_it_is_the_only_one() -> None:
    load = {"device": "cpu", "state": "lost", "images_per_s": 0, "busy_share": 0, "trouble": "it has not answered"}
    assert "cpu lost, 0.0 images/s: it has not answered" in printed(MEMORY, {**QUEUE, "devices": [load]}, 100)


def test_the_picture_names_every_part_and_draws_it_to_scale() -> None:
    text = printed(MEMORY, QUEUE, 124)
    assert "█" * 29 + "░" * 87 in text
    for said in (
        "gpu0  H100, 20.00 GiB of 80.00 GiB, 97% of ours explained", "other processes: 7 train.py 1.00 GiB", "heap",
        "1,000,000 more images", "leak: process grows", "limited by encode",
    ):  # fmt: skip
        assert said in text
    assert "unexplained" not in text
