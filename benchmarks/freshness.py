"""How soon a change in a watched folder shows in search: `python -m benchmarks.freshness [--n 50] [--json]`.

A server on the demo model watches a folder; pictures are dropped, changed, renamed and deleted one at a time, and the
clock runs from the end of the write to the first answer that shows it. Then 1,000 files are renamed and copied, and the
pictures encoded meanwhile are counted.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import Row, at_most, emit

SETTLE_S = 1.0


def picture(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@contextlib.contextmanager
def serving(root: Path, **more: Any) -> Iterator[httpx.Client]:
    """A server over an empty folder, on the demo model unless `more` settings say otherwise."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (root / "pictures").mkdir()
    settings = {
        "watch.folders": root / "pictures", "store.dir": root / "data", "watch.settle_s": SETTLE_S,
        "model.name": "demo",
        "api.port": port, "log.level": "warning", **more,
    }  # fmt: skip
    flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    process = subprocess.Popen([sys.executable, "-m", "indexer", *flags, "serve"])
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        try:
            wait(lambda: ready(http), 120)
            yield http
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(15)


def ready(http: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return http.get("/health/ready").status_code == 200
    return False


def wait(question: Callable[[], bool], timeout_s: float = 30.0) -> float:
    """Ask until it is so; seconds that took."""
    started = time.perf_counter()
    while not question():
        if time.perf_counter() - started > timeout_s:
            raise TimeoutError("it never came true")
        time.sleep(0.005)
    return time.perf_counter() - started


def paths_of(http: httpx.Client, data: bytes) -> list[str]:
    answer = http.get(f"/api/images/{hashlib.sha256(data).hexdigest()}")
    return list(answer.json()["paths"]) if answer.status_code == 200 else []


def is_top_hit(http: httpx.Client, data: bytes) -> bool:
    hits = http.post("/api/search/image", content=data, params={"limit": 1}).json()["hits"]
    return bool(hits) and hits[0]["id"] == hashlib.sha256(data).hexdigest()


def each_change(http: httpx.Client, folder: Path, n: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {"drop": [], "change": [], "rename": [], "delete": []}
    (folder / "sub").mkdir()
    for i in range(n):
        path, moved = folder / "sub" / f"{i}.jpg", folder / f"moved-{i}.jpg"
        first, second = picture(2 * i), picture(2 * i + 1)
        path.write_bytes(first)
        took["drop"].append(wait(lambda data=first: is_top_hit(http, data)))  # type: ignore[misc]
        path.write_bytes(second)
        took["change"].append(wait(lambda data=second: is_top_hit(http, data)))  # type: ignore[misc]
        path.rename(moved)
        took["rename"].append(wait(lambda data=second, to=str(moved): paths_of(http, data) == [to]))  # type: ignore[misc]
        moved.unlink()
        took["delete"].append(wait(lambda data=second: not is_top_hit(http, data)))  # type: ignore[misc]
    return took


def stats(http: httpx.Client) -> dict[str, Any]:
    answer: dict[str, Any] = http.get("/api/stats").json()
    return answer


def encoded_by_moves(http: httpx.Client, folder: Path, n: int) -> int:
    """Pictures encoded while n files are renamed and copied."""
    (folder / "many").mkdir()
    for i in range(n):
        (folder / "many" / f"{i}.jpg").write_bytes(picture(10_000 + i))
    wait(lambda: (s := stats(http))["files"] == n and s["pending"] == 0, 300)
    before = stats(http)["encoded_total"]
    for i in range(n):
        (folder / "many" / f"{i}.jpg").rename(folder / f"renamed-{i}.jpg")
        (folder / "many" / f"copy-{i}.jpg").write_bytes((folder / f"renamed-{i}.jpg").read_bytes())
    wait(lambda: (s := stats(http))["files"] == 2 * n and s["pending"] == 0, 300)
    return int(stats(http)["encoded_total"] - before)


def rows(n: int, n_moved: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as root, serving(Path(root)) as http:
        folder = Path(root) / "pictures"
        for what, took in each_change(http, folder, n).items():
            p50 = statistics.median(took)
            yield at_most(
                f"M-{what}",
                f"{what} to answer, p50 of {n} (p90 {np.quantile(took, 0.9):.2f} s)",
                p50,
                "s",
                SETTLE_S + 0.5,
            )
        encoded = encoded_by_moves(http, folder, n_moved)
        yield at_most("M-moves", f"pictures encoded by {n_moved} renames and {n_moved} copies", encoded, "images", 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=50, help="changes of each kind")
    parser.add_argument("--moved", type=int, default=1000, help="files to rename and to copy")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    emit(rows(3 if options.quick else options.n, 200 if options.quick else options.moved), options.json)


if __name__ == "__main__":
    main()
