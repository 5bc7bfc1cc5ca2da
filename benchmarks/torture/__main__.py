"""What must hold when things go wrong, each shown by doing it: `python -m benchmarks.torture NAME [--json]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module

from benchmarks.report import Row, emit

TORTURES = (
    "kills", "exits", "power", "damage", "watching", "writers", "hostile", "space", "faults", "longrun", "daemons",
    "versions",
)  # fmt: skip
"""Modules of this package. Each has `run(args)`, which yields rows; the first line of its docstring is its help."""

WITH_MUTANTS = ("kills", "exits", "daemons", "versions")
"""Those that show on request that they can fail; power, damage and space do so each time, the rest in the tests."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=__doc__)
    verbs = parser.add_subparsers(dest="torture", required=True)
    for name in TORTURES:
        module = import_module(f"benchmarks.torture.{name}")
        verb = verbs.add_parser(name, help=(module.__doc__ or "").splitlines()[0], description=module.__doc__)
        verb.add_argument("--rounds", type=int, help="how many; the full figure's number by default")
        verb.add_argument("--seed", type=int, default=1)
        verb.add_argument("--json", action="store_true", help="one JSON object a line")
        if name in WITH_MUTANTS:
            verb.add_argument("--mutants", action="store_true", help="show that faults put in on purpose are found")
        verb.set_defaults(run=module.run)
    args = parser.parse_args()
    missed: list[Row] = []
    emit(_noted(args.run(args), missed), args.json)
    return 1 if missed else 0


def _noted(rows: Iterable[Row], missed: list[Row]) -> Iterator[Row]:
    for row in rows:
        if row.ok is False:
            missed.append(row)
        yield row


if __name__ == "__main__":
    sys.exit(main())
