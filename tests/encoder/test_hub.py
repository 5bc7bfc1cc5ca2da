"""Weights on the hub: the cache first, and a quick and clear answer when there is no way to it."""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from indexer.encoder.hub import HubFile, cached, fetch
from indexer.errors import ModelUnavailable

FILE = HubFile("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "open_clip_model.safetensors")
MODEL = ("ViT-H-14", "laion2b_s32b_b79k")
WEIGHTS = b"w" * 3_000_000

TRY = """
import sys, time
from indexer.encoder.hub import HubFile, fetch
from indexer.errors import ModelUnavailable
started = time.monotonic()
try:
    fetch(HubFile(sys.argv[1], sys.argv[2]), "ViT-H-14", "laion2b_s32b_b79k", lambda: 3_944_000_000)
except ModelUnavailable as unavailable:
    print(f"{time.monotonic() - started:.2f}", unavailable, sep="\\n")
"""


@pytest.mark.parametrize(
    "environment", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=["offline", "closed port"]
)
def test_without_a_way_to_the_hub_the_ways_out_are_told_within_seconds(
    environment: dict[str, str], tmp_path: Path
) -> None:
    # The hub's library reads its environment when it is imported.
    outcome = subprocess.run(
        [sys.executable, "-c", TRY, FILE.repo, FILE.name],
        env=os.environ | {"HF_HOME": str(tmp_path)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seconds, message = outcome.stdout.split("\n", 1)
    assert float(seconds) < 8
    for told in (
        "ViT-H-14 / laion2b_s32b_b79k",
        "open_clip_model.safetensors of laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        "3.9 GB",
        str(tmp_path),
        '[model] pretrained = "/path/to/open_clip_model.safetensors"',
        "indexer demo",
    ):
        assert told in message
    assert "Traceback" not in message


class LocalHub(BaseHTTPRequestHandler):
    """The part of the hub's wire format that a download uses."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()
        self.wfile.write(WEIGHTS)

    def _answer(self) -> None:
        if not self.path.endswith(f"/{FILE.repo}/resolve/main/{FILE.name}"):
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in {"ETag": f'"{"e" * 40}"', "X-Repo-Commit": "c" * 40, "Content-Length": len(WEIGHTS)}.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_download_shows_its_progress(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), LocalHub) as hub:
        Thread(target=hub.serve_forever, daemon=True).start()
        outcome = subprocess.run(
            [sys.executable, "-c", TRY + "print(sys.argv[2])", FILE.repo, FILE.name],
            env=os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        hub.shutdown()
    assert outcome.stdout == f"{FILE.name}\n"  # and nothing of ways out
    assert FILE.name in outcome.stderr
    assert "100%" in outcome.stderr
    assert [path.read_bytes() for path in tmp_path.rglob(FILE.name)] == [WEIGHTS]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, name: str) -> Path:
    revision = "0" * 40
    repository = cache / f"models--{FILE.repo.replace('/', '--')}"
    path = repository / "snapshots" / revision / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    return path


def test_what_is_in_the_cache_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("asked for the network"))
    path = put(cache, FILE.name)
    assert cached(FILE) == path
    assert fetch(FILE, *MODEL, lambda: 0) == path


def test_an_empty_cache_holds_nothing(cache: Path) -> None:
    assert cached(FILE) is None


def test_a_pickled_file_is_not_taken_from_the_cache(cache: Path) -> None:
    put(cache, "open_clip_pytorch_model.bin")
    assert cached(FILE) is None


def test_weights_that_are_published_pickled_alone_are_told_with_what_makes_them_safe(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    def metadata(url: str, timeout: float) -> None:
        assert url.endswith(".safetensors")
        raise EntryNotFoundError("404")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", metadata)
    with pytest.raises(ModelUnavailable, match="pickled") as told:
        fetch(FILE, *MODEL, lambda: 0)
    assert "open_clip.create_model('ViT-H-14', pretrained='laion2b_s32b_b79k')" in str(told.value)


def test_a_download_that_breaks_off_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo: str, name: str, **_: object) -> str:
        raise OSError("No space left on device")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ModelUnavailable, match="No space left"):
        fetch(FILE, *MODEL, lambda: 0)
