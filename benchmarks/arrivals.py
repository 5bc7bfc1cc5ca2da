"""How long a query takes when they come at random: `python -m benchmarks.arrivals [--rate 1000] [--quick] [--json]`.

G10: pictures are sent to the running service (`indexer serve`, ViT-H-14 with random weights on a GPU, the demo model
elsewhere) at Poisson times, each as the raw body of `POST /api/search/image`, over many connections from
processes of their own.
The clock of each runs from the moment it was to be sent, whether or not a connection was free.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks import photographs
from benchmarks.freshness import serving
from benchmarks.report import Row, at_least, at_most, emit

WARM_S = 5.0
N_CONNECTIONS = 256
N_CLIENTS = 2


def rows(rate: float, seconds: float, *, on_gpu: bool) -> Iterator[Row]:
    model = {"model.name": "ViT-H-14", "model.pretrained": "random", "decode.mode": "exact"} if on_gpu else {}
    files = [photographs.as_jpeg(photographs.draw(500, 375, seed)) for seed in range(16)]
    with TemporaryDirectory() as root, serving(Path(root), **model) as http:
        for i, data in enumerate(files):
            (Path(root) / "pictures" / f"{i}.jpg").write_bytes(data)
        while http.get("/api/stats").json()["indexed"] < len(files):
            time.sleep(0.1)
        port = int(http.base_url.port or 80)
        ask(port, files, rate, WARM_S)
        latencies, n_refused = ask(port, files, rate, seconds)
    kb = np.mean([len(data) for data in files]) / 1e3
    what = f"{rate:,.0f} image queries a second, Poisson, {kb:.0f} KB each, {len(latencies):,} answered"
    p50, p99 = (float(np.percentile(latencies, q)) * 1e3 for q in (50, 99))
    if on_gpu:
        yield at_most("G10a", f"{what}: p50", p50, "ms", 8)
        yield at_most("G10b", f"{what}: p99", p99, "ms", 25)
    else:
        yield Row("G10a", f"{what}, demo model on the CPU: p50", p50, "ms")
        yield Row("G10b", f"{what}, demo model on the CPU: p99", p99, "ms")
    yield at_least("G10c", "answered of those sent", len(latencies) / (len(latencies) + n_refused), "share", 1.0)


def ask(port: int, files: list[bytes], rate: float, seconds: float) -> tuple[list[float], int]:
    """Seconds that each answered query took, and how many were not answered with 200."""
    with multiprocessing.get_context("spawn").Pool(N_CLIENTS) as pool:
        each = [(port, files, rate / N_CLIENTS, seconds, seed) for seed in range(N_CLIENTS)]
        done = pool.starmap(client, each)
    return [latency for latencies, _ in done for latency in latencies], sum(n for _, n in done)


def client(port: int, files: list[bytes], rate: float, seconds: float, seed: int) -> tuple[list[float], int]:
    return asyncio.run(_client(port, files, rate, seconds, seed))


async def _client(port: int, files: list[bytes], rate: float, seconds: float, seed: int) -> tuple[list[float], int]:
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    requests = [
        b"POST /api/search/image?limit=10 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (port, len(data), data)
        for data in files
    ]
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    latencies: list[float] = []
    n_refused = 0

    async def send() -> None:
        nonlocal n_refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await queue.get()) is not None:
            planned, request = job
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            if head.startswith(b"HTTP/1.1 200"):
                latencies.append(time.perf_counter() - planned)
            else:
                n_refused += 1
        writer.close()

    senders = [asyncio.create_task(send()) for _ in range(N_CONNECTIONS // N_CLIENTS)]
    started = time.perf_counter() + 0.2
    for i, after in enumerate(due):
        await asyncio.sleep(max(0.0, started + after - time.perf_counter()))
        queue.put_nowait((started + after, requests[i % len(requests)]))
    for _ in senders:
        queue.put_nowait(None)
    await asyncio.gather(*senders)
    return latencies, n_refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, help="queries a second; 1,000 on a GPU, 40 without")
    parser.add_argument("--quick", action="store_true", help="for five seconds instead of thirty")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    rate = args.rate or (1_000.0 if on_gpu else 40.0)
    emit(rows(rate, 5.0 if args.quick else 30.0, on_gpu=on_gpu), args.json)


if __name__ == "__main__":
    main()
