"""What was tuned is there at the next start, whole, or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.errors import StoreFull
from indexer.store.tuned import keep_tuning, read_tuning
from indexer.types import Tuning
from tests.fakes.engine import TUNING


def read(path: Path, tuning: Tuning = TUNING) -> Tuning | None:
    return read_tuning(path, tuning.device, tuning.fingerprint)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    assert read(path) is None
    keep_tuning(path, TUNING)
    assert read(path) == TUNING
    assert [entry.name for entry in tmp_path.iterdir()] == ["tuned.json"]


def test_each_device_and_each_space_has_a_result_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    others = [replace(TUNING, device="another"), replace(TUNING, fingerprint="f" * 16)]
    for tuning in (TUNING, *others):
        keep_tuning(path, tuning)
    newer = replace(TUNING, size=4, measured_at=9.0)
    keep_tuning(path, newer)
    assert [read(path, tuning) for tuning in (TUNING, *others)] == [newer, *others]
    assert read_tuning(path, "a third", TUNING.fingerprint) is None


def damaged(**changes: object) -> bytes:
    entry = {"size": 2, "rows": [{"size": 2, "memory_bytes": 1, "images_per_s": 1.0, "latency_ms": 1.0}], **changes}
    return json.dumps([entry]).encode()


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\x00", b"[", b"7", b"{}x", b'["a"]', b"[[]]", b"[" * 100_000, damaged(), damaged(size=3)],
)
def test_a_damaged_file_is_ignored_with_a_warning_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "tuned.json"
    path.write_bytes(content)
    assert read(path) is None
    assert "must be tuned again" in caplog.text
    keep_tuning(path, TUNING)
    assert read(path) == TUNING


@pytest.mark.parametrize("size", [0, -4, True, "64", 2.0, None])
def test_a_size_that_is_none_is_not_believed(tmp_path: Path, size: object) -> None:
    path = tmp_path / "tuned.json"
    keep_tuning(path, TUNING)
    told = json.loads(path.read_text())
    told[0]["size"] = size
    path.write_text(json.dumps(told))
    assert read(path) is None


def test_a_write_that_fails_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tuned.json"
    keep_tuning(path, TUNING)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFull, match="No space left"):
        keep_tuning(path, replace(TUNING, size=4))
    assert read(path) == TUNING
