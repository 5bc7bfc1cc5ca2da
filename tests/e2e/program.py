"""The program as a user runs it: subprocesses, real files, HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

INDEXER = [sys.executable, "-m", "indexer"]


def environment(**more: str) -> dict[str, str]:
    """The tests' environment without settings of the program's, and without a way to the model hub."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INDEXER_")}
    return {**clean, "HF_HUB_OFFLINE": "1", **more}


def run(
    *arguments: str | Path, cwd: Path | None = None, timeout_s: float = 90, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*INDEXER, *map(str, arguments)],
        cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def eventually(question: Callable[[], T], timeout_s: float = 30.0) -> T:
    """The first truthy answer; fails with the last one."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout_s
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {timeout_s} s"
        pause.wait(0.02)
    return answer


def free_port() -> int:
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Program:
    """One installation: a folder of pictures, a store, a configuration; and its server while it runs."""

    def __init__(self, root: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.root = root
        self.pictures = root / "pictures"
        self.store = root / "data"
        self.pictures.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = root / "config.toml"
        self.process: subprocess.Popen[str] | None = None
        self.log = root / "server.log"
        self.configure(settings or {})
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def configure(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        merged: dict[str, dict[str, Any]] = {
            "watch": {"folders": ["pictures"], "settle_s": 0.2, "rescan_s": 60.0},
            "model": {"name": "demo", "device": "cpu"},
            "store": {"dir": "data"},
            "api": {"port": self.port},
            "decode": {"workers": 1},
        }
        for section, values in settings.items():
            merged.setdefault(section, {}).update(values)
        lines = []
        for section, values in merged.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self) -> Program:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*INDEXER, "--config", str(self.config), "serve"],
                stdout=log, stderr=log, text=True, env=environment(), start_new_session=True,
            )  # fmt: skip
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            with contextlib.suppress(httpx.TransportError):
                return self.http.get("/health/ready").status_code == 200
            return False

        eventually(ready, timeout_s=60)

    def run(self, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        return run("--config", self.config, *arguments, **env)

    def stats(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get("/api/stats").raise_for_status().json()
        return answer

    def wait_indexed(self, n: int, timeout_s: float = 60) -> dict[str, Any]:
        """Wait until n contents are searchable and nothing is pending."""

        def settled() -> dict[str, Any] | None:
            stats = self.stats()
            return stats if stats["indexed"] == n and stats["pending"] == 0 else None

        return eventually(settled, timeout_s)  # type: ignore[return-value]

    def search_image(self, data: bytes, limit: int = 1) -> list[dict[str, Any]]:
        answer = self.http.post("/api/search/image", content=data, params={"limit": limit})
        hits: list[dict[str, Any]] = answer.raise_for_status().json()["hits"]
        return hits

    def search_text(self, text: str, limit: int = 10) -> list[dict[str, Any]]:
        answer = self.http.post("/api/search", json={"text": text, "limit": limit})
        hits: list[dict[str, Any]] = answer.raise_for_status().json()["hits"]
        return hits

    def paths(self) -> set[str]:
        """Every path that a search can return."""
        hits = self.http.post("/api/search", json={"text": "anything", "limit": 1000}).raise_for_status().json()["hits"]
        return {path for hit in hits for path in hit["paths"]}

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.kill()


@contextlib.contextmanager
def program(root: Path, settings: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[Program]:
    made = Program(root, settings)
    try:
        yield made
    finally:
        made.close()
