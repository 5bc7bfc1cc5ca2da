"""Figures of a service among strangers: `python -m benchmarks.outside [hostile burst stop slow fuzz] [--quick]`.

The engine is a made-up one, so that it is the service that is measured: a process of its own behind a loopback port.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from benchmarks.outside import burst, fuzz, hostile, slow, stop
from benchmarks.report import Row, emit

PARTS = {"hostile": hostile, "burst": burst, "stop": stop, "slow": slow, "fuzz": fuzz}


def rows(names: list[str], quick: bool, seed: int) -> Iterator[Row]:
    for name in names:
        yield from PARTS[name].rows(quick, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer of everything: in a minute")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    emit(rows(args.parts or list(PARTS), args.quick, args.seed), args.json)


if __name__ == "__main__":
    main()
