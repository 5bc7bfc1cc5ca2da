"""Every benchmark of this machine, one after another: `python -m benchmarks.all [--quick] [--photos DIR] [--json]`.

Each runs in a process of its own, so that none inherits another's threads, memory or caches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.report import Row, emit

TAKE_PHOTOGRAPHS = {"decode", "duplicates", "pipeline"}

QUICK = (
    "decode", "encoder", "index", "text_search", "features", "watch", "api", "pipeline", "throughput", "arrivals",
    "freshness", "rebuild", "devices",
)  # fmt: skip
"""What is measured with `--quick`."""

BENCHMARKS = (*QUICK, "precision", "relevance", "duplicates", "leaks", "outside", "page")


def rows(quick: bool, photos: str | None) -> Iterator[Row]:
    for name in QUICK if quick else BENCHMARKS:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
        command += ["--quick"] if quick else []
        command += ["--photos", photos] if photos and name in TAKE_PHOTOGRAPHS else []
        started = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        for line in done.stdout.splitlines():
            yield Row(**json.loads(line))
        if done.returncode:
            yield Row(name, f"python -m benchmarks.{name} failed with code {done.returncode}", None, "", ok=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="smaller inputs, fewer rounds, the pipeline only: in under five minutes"
    )
    parser.add_argument("--photos", metavar="DIR", help="folder of JPEG photographs; drawn ones without it")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    emit(rows(args.quick, args.photos), args.json)


if __name__ == "__main__":
    main()
