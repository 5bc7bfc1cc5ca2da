"""Which devices the settings lead to, and a whole engine on several encoders."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from indexer.config import Config, load
from indexer.encoder import memory
from indexer.engine import open_engine
from indexer.engine.devices import devices_of
from indexer.engine.parts import open_decoder
from indexer.errors import ConfigError, DeviceFailed
from indexer.types import TextQuery
from tests.e2e.pictures import picture
from tests.fakes.river import SPACE


def settings(root: Path, **model: Any) -> Config:
    flags = {
        "watch.folders": [str(root / "pictures")],
        "store.dir": str(root / "data"),
        "model.name": "demo",
        "watch.settle_s": 0.05,
    }
    return load(flags={**flags, **{f"model.{key}": value for key, value in model.items()}}, environ={}, cwd=root).config


@pytest.mark.parametrize(
    ("model", "n_places", "n_least"),
    [
        ({}, 1, 1),
        ({"device": ["cpu", "cpu"]}, 2, 2),
        ({"device": "cpu", "max_replicas": 4}, 4, 1),
        ({"device": "cpu", "min_replicas": 2}, 2, 2),
        ({"device": ["cpu", "cpu", "cpu"], "max_replicas": 2}, 2, 2),
        ({"device": ["cpu", "cpu"], "min_replicas": 1}, 2, 1),
    ],
)
def test_replicas_begin_with_the_first_device_again(
    tmp_path: Path, model: dict[str, Any], n_places: int, n_least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    devices = devices_of(settings(tmp_path, **model))
    assert (len(devices.places), devices.n_least, devices.names) == (n_places, n_least, ("cpu",))
    whole, *_ = devices_of(settings(tmp_path)).machines(2)
    assert all(machine.memory_bytes == whole.memory_bytes // n_places for machine in devices.machines(2))


def test_fewer_replicas_at_most_than_at_least_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.min_replicas: 3 is more than"):
        settings(tmp_path, min_replicas=3, max_replicas=2)


def test_the_index_goes_to_the_gpu_with_most_memory_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"cpu": 500, "cuda:0": 10, "cuda:1": 30, "cuda:2": 30}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(memory, "free_bytes", lambda device: sizes[str(device)])
    chosen = settings(tmp_path, device=["cpu", "cuda:0", "cuda:1", "cuda:2"], precision="fp32")
    assert devices_of(chosen).roomiest() == "cuda:1"


def test_a_whole_engine_on_two_encoders_loses_nothing_when_one_dies(tmp_path: Path) -> None:
    def fail(_pixels: Any) -> Any:
        raise DeviceFailed("cpu: unplugged")

    n_threads, pause = torch.get_num_threads(), threading.Event()
    (tmp_path / "pictures").mkdir()
    with open_engine(settings(tmp_path, device=["cpu", "cpu"], precision="fp32")) as engine:
        frail = engine.parts.embedder._workers[1]  # type: ignore[attr-defined]
        assert any(frail.is_open or pause.wait(0.02) for _ in range(500))
        frail._owner._encoder.encode_pixels = fail
        for seed in range(24):
            (tmp_path / "pictures" / f"{seed}.png").write_bytes(picture(seed))
        engine.rescan()
        assert any(engine.stats().indexed == 24 or pause.wait(0.02) for _ in range(1000))
        stats = engine.stats()
        assert (stats.indexed, stats.errors) == (24, 0)
        assert engine.readiness().ready
        assert stats.queue is not None
        assert [load.device for load in stats.queue.devices] == ["cpu", "cpu"]
        assert len(engine.search(TextQuery("a red circle"), 5).hits) == 5
        here = engine.gpu_memory().process
        assert here is not None
        weights = next(part.bytes for part in here.parts if part.name == "weights")
        each = max(load.weights_bytes for load in stats.queue.devices)
        assert weights in (each, 2 * each)  # the frail one may be closed, or open again
    assert torch.get_num_threads() == n_threads


@pytest.mark.parametrize(
    ("decode", "told"),
    [
        ({"gpu_jpeg": True}, 'set decode.mode = "scaled" too'),
        ({"gpu_jpeg": True, "mode": "scaled"}, "the model runs on cpu, which decodes no JPEGs"),
    ],
)
def test_jpegs_are_decoded_on_a_gpu_only_where_that_makes_sense(decode: dict[str, Any], told: str) -> None:
    config = load(flags={f"decode.{key}": value for key, value in decode.items()}, environ={}, cwd=Path.cwd()).config
    with pytest.raises(ConfigError, match=told):
        open_decoder(config, SPACE.preprocess, ("cpu",))
