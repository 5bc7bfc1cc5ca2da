from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from indexer.encoder.digest import weights_digest


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"numbers" * 1000)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_is_what_sha256sum_says(weights: Path) -> None:
    assert weights_digest(weights) == sha256(weights)


def test_a_file_is_read_once(weights: Path, tmp_path: Path) -> None:
    memo = tmp_path / "deep" / "digests.json"
    first = weights_digest(weights, memo)
    status = weights.stat()
    weights.write_bytes(b"NUMBERS" * 1000)  # told apart by nothing but its bytes
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights_digest(weights, memo) == first


def test_a_changed_file_is_read_again(weights: Path, tmp_path: Path) -> None:
    memo = tmp_path / "digests.json"
    weights_digest(weights, memo)
    weights.write_bytes(b"other numbers")
    assert weights_digest(weights, memo) == sha256(weights)


def test_a_file_changed_in_place_to_the_same_size_is_read_again(weights: Path, tmp_path: Path) -> None:
    memo = tmp_path / "digests.json"
    weights_digest(weights, memo)
    weights.write_bytes(b"NUMBERS" * 1000)
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert weights_digest(weights, memo) == sha256(weights)


def test_a_small_file_of_the_hubs_cache_which_is_named_otherwise_is_read(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 20)
    blob.parent.mkdir()
    blob.write_bytes(b"numbers")
    assert weights_digest(blob) == sha256(blob)


def test_the_hubs_cache_is_believed_without_reading(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.touch()
    link = tmp_path / "snapshots" / "model.safetensors"
    link.parent.mkdir()
    link.symlink_to(blob)
    assert weights_digest(link) == "ab" * 32


def test_a_name_like_a_digest_elsewhere_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / ("ab" * 32)
    path.write_bytes(b"numbers")
    assert weights_digest(path) == sha256(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff\xfe"])
def test_a_memo_that_is_not_one_is_written_anew(content: bytes, weights: Path, tmp_path: Path) -> None:
    memo = tmp_path / "digests.json"
    memo.write_bytes(content)
    assert weights_digest(weights, memo) == sha256(weights)
    assert list(json.loads(memo.read_bytes()).values()) == [sha256(weights)]


def test_a_memo_that_cannot_be_written_costs_only_time(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert weights_digest(weights, weights / "not-a-folder" / "digests.json") == sha256(weights)
    assert "not remembered" in caplog.text
