"""The two streams: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import rich_click as click
from rich.console import Console


def printable(text: str) -> str:
    """Text with every control character escaped: a file name must neither steer a terminal nor break a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def print_json(value: Any) -> None:
    """One JSON document on stdout; takes the wire's answers as they are."""
    import msgspec

    text = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False, allow_nan=False)
    _write((text + "\n").encode("utf-8", "backslashreplace"))


def print_text(text: str) -> None:
    """Text on stdout, as it is."""
    _write(text.encode("utf-8", "backslashreplace"))


def print_bytes(items: Iterable[bytes], end: bytes) -> None:
    """Each item and its end on stdout, byte for byte."""
    _write(b"".join(item + end for item in items))


def print_rows(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for people; where stdout is no terminal, one line per row, tab between columns, no titles.

    The last column is the longest: it is folded where the terminal is too narrow.
    """
    if not sys.stdout.isatty():
        _write("".join("\t".join(map(printable, row)) + "\n" for row in rows).encode("utf-8", "backslashreplace"))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles[:-1]:
        table.add_column(title, no_wrap=True)
    table.add_column(titles[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line."""
    pairs = list(facts)
    if sys.stdout.isatty():
        width = max((len(name) for name, _ in pairs), default=0)
        lines = (f"{name:<{width}}  {printable(value)}\n" for name, value in pairs)
    else:
        lines = (f"{name}\t{printable(value)}\n" for name, value in pairs)
    _write("".join(lines).encode("utf-8", "backslashreplace"))


def say(message: str) -> None:
    """A line for the person at the terminal, on stderr."""
    click.echo(message, err=True)


def _write(data: bytes) -> None:
    sys.stdout.flush()
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:  # a stand-in without bytes underneath
        sys.stdout.write(os.fsdecode(data))
        return
    stream.write(data)
    stream.flush()
