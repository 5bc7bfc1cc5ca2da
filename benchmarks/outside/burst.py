"""Ten times as many requests as one client may send."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx

from benchmarks.outside.service import running
from benchmarks.report import Row, at_most
from search_api.pace import SAVED_S

PER_S = 50.0
TIMES = 10
N_CONNECTIONS = 16
KNOWN = (200, 429, 503)


def rows(quick: bool, seed: int) -> Iterator[Row]:
    seconds = 3.0 if quick else 20.0
    with running(rate_per_s=PER_S) as service:
        statuses, without, took_s = send(service.url, PER_S * TIMES, seconds)
        time.sleep(1.0)
        back = httpx.get(f"{service.url}/health/live").status_code
    told = ", ".join(f"{status} {n:,} times" for status, n in sorted(statuses.items()))
    n = statuses.total()
    yield Row("O3", f"requests a second where {PER_S:.0f} are allowed ({told})", n / took_s, "1/s")
    yield at_most(
        "O3a", f"answers other than 200, 429, 503, of {n:,}", n - sum(statuses[each] for each in KNOWN), "", 0
    )
    most = PER_S * (took_s + SAVED_S) + 1
    yield at_most("O3b", "answers of 200 against what is allowed and was saved", statuses[200] / most, "x", 1)
    yield at_most("O3c", "429 and 503 without Retry-After", without, "", 0)
    yield at_most("O3d", "status one second later", back, "", 200)


def send(url: str, per_s: float, seconds: float) -> tuple[Counter[int], int, float]:
    """Searches at an even pace over several connections: statuses, refusals without Retry-After, seconds taken."""
    statuses: Counter[int] = Counter()
    without = [0]
    lock = threading.Lock()
    began = time.monotonic()

    def ask(first: int) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
            for i in range(first, int(per_s * seconds), N_CONNECTIONS):
                time.sleep(max(0.0, began + i / per_s - time.monotonic()))
                answer = http.post("/api/search", json={"text": "a red car"})
                with lock:
                    statuses[answer.status_code] += 1
                    without[0] += answer.status_code in (429, 503) and "retry-after" not in answer.headers

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(N_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses, without[0], time.monotonic() - began
