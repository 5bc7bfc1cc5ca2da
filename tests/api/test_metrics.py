"""What Prometheus reads."""

from __future__ import annotations

import re

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from indexer.types import (
    DeviceLedger,
    GpuMemory,
    Leak,
    MemoryPart,
    ProcessLedger,
    Readiness,
)
from search_api.metrics import Histogram, Page
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import JPEG, FakeEngine

Http = TestClient[Litestar]
KEY = "a-key-of-enough-characters"
SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (-?[0-9.e+-]+)')
BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_total", "_info", "_bucket", "_sum", "_count", "_bytes_per_second")
COUNTS = {
    "images", "files", "refused_files", "index_generation", "verify_findings", "pending_files", "stage_limiting",
    "watched_folders", "queue_depth", "batch_size", "batch_size_limit", "leaks", "ready", "check", "calls", "listeners",
    "encoding_images_per_second", "device_images_per_second", "device_state",
}  # fmt: skip


def read(http: Http) -> dict[str, float]:
    answer = http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.endswith("\n")
    samples = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            samples[match[1] + (match[2] or "")] = float(match[3])
    return samples


def test_it_says_what_the_engine_says(http: Http, engine: FakeEngine) -> None:
    stats, queue, found = engine.stats(), engine.queue(), read(http)
    assert found["lookalike_images"] == stats.indexed
    assert found['lookalike_refused_files{reason="corrupt"}'] == 3
    assert found["lookalike_cache_hits_total"] == stats.cache_hits_total
    assert found["lookalike_encoded_images_total"] == stats.encoded_total
    assert found["lookalike_pending_files"] == stats.pending
    assert found["lookalike_queue_depth"] == queue.depth
    assert found["lookalike_queue_rejected_total"] == queue.rejected_total
    assert found["lookalike_encoder_busy_ratio"] == queue.busy_share
    assert found["lookalike_batch_size"] == queue.batch_size
    (load,) = queue.devices
    assert found['lookalike_device_busy_ratio{encoder="0",device="cpu"}'] == load.busy_share
    assert found['lookalike_device_images_per_second{encoder="0",device="cpu"}'] == load.images_per_s
    assert found['lookalike_device_state{encoder="0",device="cpu",state="open"}'] == 1
    assert found['lookalike_device_state{encoder="0",device="cpu",state="lost"}'] == 0
    assert found["lookalike_calls_rejected_total"] == 0
    assert found['lookalike_stage_limiting{stage="idle"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith("lookalike_stage_limiting")) == 1
    assert found["process_open_fds"] > 3


def test_memory_is_told_part_by_part_and_leaks_by_component(http: Http, engine: FakeEngine) -> None:
    engine.memory = GpuMemory(
        True,
        ledger=(DeviceLedger("gpu0", "a device", 900, (MemoryPart("weights", 500), MemoryPart("index", 7)), (), 0.9),),
        process=ProcessLedger(50, (MemoryPart("heap", 50),)),
        leaks=(Leak("gpu0 tensors", 2.5, 1.0, 0.0, "It grows."),),
    )
    found = read(http)
    assert found['lookalike_memory_bytes{device="gpu0",part="weights"}'] == 500
    assert found['lookalike_memory_bytes{device="process",part="heap"}'] == 50
    assert found['lookalike_device_memory_total_bytes{device="gpu0"}'] == 900
    assert found['lookalike_leak_bytes_per_second{component="gpu0 tensors"}'] == 2.5
    assert found["lookalike_leaks"] == 1


def test_searches_and_answers_are_counted(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings()) as http:
        http.post("/api/search", json={"text": "a"})
        http.post("/api/search/image", content=JPEG)
        http.post("/knn-service", json={"text": "a"})
        http.get("/nope")
        http.request("BREW", "/")
        http.request("STEW", "/")
        found = read(http)
    assert found["lookalike_search_duration_seconds_count"] == 3
    assert found['lookalike_search_duration_seconds_bucket{le="+Inf"}'] == 3
    assert 0 < found["lookalike_search_duration_seconds_sum"] < 10
    assert found["lookalike_search_embed_duration_seconds_sum"] == pytest.approx(3 * 0.25e-3)
    assert found['lookalike_http_answers_total{method="POST",status="200"}'] == 3
    assert found['lookalike_http_answers_total{method="GET",status="404"}'] == 1
    assert sum(value for name, value in found.items() if 'method="other"' in name) == 2


def test_nothing_in_it_is_a_path(http: Http, engine: FakeEngine) -> None:
    engine.ready = Readiness(True, {"watch": "warn: /secret is not there"})
    text = http.get("/metrics").text
    assert "/" not in text
    assert "secret" not in text
    assert 'lookalike_check{check="watch"} 0' in text


def test_names_end_in_base_units_or_count_things(http: Http) -> None:
    for sample in read(http):
        name = sample.partition("{")[0]
        assert name.startswith(("lookalike_", "process_")), name
        bare = name.removeprefix("lookalike_")
        assert name.endswith(BASE_UNITS) or bare in COUNTS or name == "process_open_fds", name


def test_each_family_is_described_once_before_its_samples(http: Http) -> None:
    described: list[str] = []
    for line in http.get("/metrics").text.splitlines():
        if line.startswith("# TYPE"):
            described.append(line.split()[2])
        elif not line.startswith("#"):
            name = line.partition("{")[0].partition(" ")[0]
            assert re.sub("_(bucket|sum|count)$", "", name) == described[-1] or name == described[-1]
    assert len(described) == len(set(described)) > 30


def test_it_needs_the_key_unless_it_is_opened(engine: FakeEngine) -> None:
    with serving(engine, ApiSettings(api_key=KEY)) as http:
        assert http.get("/metrics").status_code == 401
        assert http.get("/metrics", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    with serving(engine, ApiSettings(api_key=KEY, open_metrics=True)) as http:
        assert http.get("/metrics").status_code == 200
        assert http.get("/api/stats").status_code == 401


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 2.0):
        histogram.add(value)
    assert histogram.read() == ([("0.1", 2), ("1", 3), ("+Inf", 4)], 2.65)


def test_labels_are_escaped() -> None:
    page = Page()
    page.gauge("g", "Help.", 1.5, label='a"b\\c\nd')
    assert page.render().splitlines()[-1] == r'g{label="a\"b\\c\nd"} 1.5'
