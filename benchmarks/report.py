"""Rows of a benchmark: how they are measured, and how they are shown."""

from __future__ import annotations

import json as json_module
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@cache
def machine() -> str:
    """One line: CPU, usable cores, GPUs or `no GPU`, and the versions that decide speed. Imports nothing heavy."""
    libraries = [f"python {platform.python_version()}"]
    for name, distributions in (("torch", ("torch",)), ("faiss", ("faiss-gpu", "faiss-gpu-cuvs", "faiss-cpu"))):
        found = [f"{name} {v}" for v in map(_version, distributions) if v]
        libraries.extend(found[:1])
    return ", ".join([_cpu(), f"{len(os.sched_getaffinity(0))} cores", _gpus(), *libraries])


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        id: Its name in the table of goals, such as `C6a`.
        what: What was measured, for people.
        value: The figure; None where it could not be measured here (`what` says why).
        unit: Unit of value and goal: `x` (ratio), `ms`, `images/s`, ...
        goal: What it must reach, such as `>= 11`; empty for a figure that has none.
        ok: Whether it does; None where nothing was measured or there is no goal.
        peer: What it was compared with, and how that was tuned.
        machine: See `machine`.
    """

    id: str
    what: str
    value: float | None
    unit: str
    goal: str = ""
    ok: bool | None = None
    peer: str = ""
    machine: str = field(default_factory=machine)


def at_least(id: str, what: str, value: float, unit: str, goal: float, peer: str = "") -> Row:
    """A row whose goal is a lower bound."""
    return Row(id, what, float(value), unit, f">= {goal:g}", bool(value >= goal), peer)


def at_most(id: str, what: str, value: float, unit: str, goal: float, peer: str = "") -> Row:
    """A row whose goal is an upper bound."""
    return Row(id, what, float(value), unit, f"<= {goal:g}", bool(value <= goal), peer)


def skipped(id: str, what: str, reason: str, unit: str = "", goal: str = "") -> Row:
    """A row that could not be measured here."""
    return Row(id, f"{what} (skipped: {reason})", None, unit, goal)


def compare(fns: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 1) -> dict[str, float]:
    """Median seconds per call of each function, measured in turns so that a noisy neighbour slows all of them alike."""
    return {name: statistics.median(times) for name, times in samples(fns, repeats, warmup).items()}


def samples(fns: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 1) -> dict[str, list[float]]:
    """Seconds of every timed call, `repeats` each. The order turns by one from round to round."""
    names = list(fns)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(-warmup, repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            fns[name]()
            elapsed = time.perf_counter() - start
            if turn >= 0:
                times[name].append(elapsed)
    return times


def paired_ratio(times: Mapping[str, list[float]], over: str, under: str) -> float:
    """Median over the rounds of `times[over] / times[under]`: steadier than a ratio of medians on a busy machine."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def emit(rows: Iterable[Row], json: bool) -> None:
    """Write rows to stdout: one JSON object a line, or a table for people."""
    if json:
        for row in rows:
            sys.stdout.write(json_module.dumps(asdict(row)) + "\n")
            sys.stdout.flush()
        return
    rows = list(rows)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(_table(rows))
    for where in sorted({row.machine for row in rows}):
        console.print(where, markup=False)


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "what", "value", "unit", "goal", "", "against"):
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    marks = {True: "[green]ok[/]", False: "[red]MISSED[/]", None: ""}
    for r in rows:
        value = "-" if r.value is None else f"{r.value:,.4g}"
        table.add_row(r.id, escape(r.what), value, r.unit, r.goal, marks[r.ok], escape(r.peer))
    return table


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                key, _, value = line.partition(":")
                facts[key.strip()] = value.strip()
    except OSError:
        return platform.processor() or platform.machine()
    known = facts.get("flags", "").split()
    widest = [flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if flag in known][:1]
    return " ".join([facts.get("model name", platform.machine()), *widest])


def _gpus() -> str:
    try:
        import pynvml
    except ImportError:
        return "no GPU"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return "no GPU"
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return " + ".join(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles) or "no GPU"
    finally:
        pynvml.nvmlShutdown()
