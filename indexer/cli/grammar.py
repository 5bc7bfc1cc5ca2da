"""What is typed after `indexer search`: mixtures of words, and filters.

    question := [sign] part { sign part }            2*golden retriever - fruit
    part     := [weight "*"] ( words | quoted )      0.5*"t-shirt - blue"
    sign     := "+" | "-", where a word could begin

    filter   := { key ":" value }                    path:holiday/** after:2025-01-01 width:1024.. format:jpeg,png

A range is `10`, `10..`, `..20` or `10..20`. What holds spaces is quoted; inside quotes, a backslash goes before `"` and
another backslash.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_WEIGHT: Final = re.compile(r"(\d+\.?\d*|\.\d+)\s*\*\s*")
_SIGN: Final = re.compile(r"\s[+-]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_KEY: Final = re.compile(r"(-?[a-z]+):")
_MAX_WEIGHT: Final = 1e6
_UNITS: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class GrammarError(ValueError):
    """What was typed cannot be read; the message shows where."""

    def __init__(self, text: str, at: int, message: str) -> None:
        super().__init__(f"{message} (at character {at + 1})\n  {text}\n  {' ' * at}^")
        self.at = at


@dataclass(frozen=True, slots=True)
class Words:
    """Some words and how much they weigh."""

    text: str
    weight: float = 1.0


# ---------------------------------------------------------------- questions


def parse_question(text: str) -> list[Words]:
    """The parts of a mixture; one of weight 1 where nothing is mixed. Raises `GrammarError`."""
    parts: list[Words] = []
    at = _skip(text, 0)
    while at < len(text) or not parts:
        sign = 1.0
        if text[at : at + 1] in ("+", "-"):
            sign = -1.0 if text[at] == "-" else 1.0
            at = _skip(text, at + 1)
        words, at = _part(text, at, sign)
        parts.append(words)
    return parts


def _part(text: str, at: int, sign: float) -> tuple[Words, int]:
    weight = 1.0
    if match := _WEIGHT.match(text, at):
        weight = float(match[1])
        if not 0 < weight <= _MAX_WEIGHT:
            raise GrammarError(text, at, f"a weight is above 0 and at most {_MAX_WEIGHT:,.0f}")
        at = match.end()
    quoted = text[at : at + 1] == '"'
    if quoted:
        words, end = _quoted(text, at)
    else:
        next_sign = _SIGN.search(text, at)
        end = next_sign.start() if next_sign else len(text)
        words = text[at:end].rstrip()
    if not words.strip() or (not quoted and words[0] in "+-"):
        raise GrammarError(text, at, "words are missing here")
    end = _skip(text, end)
    if quoted and end < len(text) and text[end] not in "+-":
        raise GrammarError(text, end, "after what is quoted comes + or -, or nothing")
    return Words(words, sign * weight), end


# ---------------------------------------------------------------- filters


def parse_where(text: str) -> dict[str, Any]:
    """Members of the wire's `where`. Raises `GrammarError`."""
    where: dict[str, Any] = {}
    for at, key, value_at, value in _pairs(text):
        if key not in _KEYS:
            raise GrammarError(text, at, f"there is no filter {key!r}; choose among {', '.join(_KEYS)}")
        if not value:
            raise GrammarError(text, value_at, f"a value is missing after {key}:")
        try:
            new = _KEYS[key](value)
        except ValueError as e:
            raise GrammarError(text, value_at, str(e)) from e
        for name, member in new.items():
            if name in where and not isinstance(member, list):
                raise GrammarError(text, at, f"{key} is given twice")
            where[name] = [*where[name], *member] if name in where else member
    return where


def _pairs(text: str) -> Iterator[tuple[int, str, int, str]]:
    """Where a key stands, the key, where its value stands, and the value."""
    at = _skip(text, 0)
    while at < len(text):
        match = _KEY.match(text, at)
        if match is None:
            raise GrammarError(text, at, "a filter is key:value, such as path:holiday/**")
        value_at = match.end()
        if text[value_at : value_at + 1] == '"':
            value, end = _quoted(text, value_at)
            if end < len(text) and not text[end].isspace():
                raise GrammarError(text, end, "after what is quoted comes a space, or nothing")
        else:
            end = next((i for i in range(value_at, len(text)) if text[i].isspace()), len(text))
            value = text[value_at:end]
        yield at, match[1], value_at, value
        at = _skip(text, end)


def _range(low: str, high: str, number: Callable[[str], float]) -> Callable[[str], dict[str, Any]]:
    def read(value: str) -> dict[str, Any]:
        first, dots, last = value.partition("..")
        if not first and not last:
            raise ValueError("a range has at least one end, such as 10.. or ..20")
        ends = {low: first, high: last} if dots else {low: value, high: value}
        try:
            return {end: number(text) for end, text in ends.items() if text}
        except ValueError as e:
            raise ValueError(f"{e}; a range is 10, 10.., ..20 or 10..20") from e

    return read


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{text!r} is no number of 0 or more")
    return value


def _bytes(text: str) -> int:
    match = re.fullmatch(r"([\d.]+)\s*([a-z]*)", text.lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is no size; write 500kB, 2MB, ...")
    return int(_number(match[1]) * _UNITS[match[2]])


def _after(value: str) -> dict[str, Any]:
    _moment(value)
    return {"modified_from": value}


def _before(value: str) -> dict[str, Any]:
    moment = _moment(value)
    try:
        return {"modified_to": (moment - timedelta(microseconds=1)).isoformat()}
    except OverflowError:
        raise ValueError(f"nothing is before {value}") from None


def _moment(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is no date or time; write 2025-01-31 or 2025-01-31T12:00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_KEYS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "path": lambda value: {"path": [value]},
    "-path": lambda value: {"not_path": [value]},
    "after": _after,
    "before": _before,
    "width": _range("width_min", "width_max", _whole),
    "height": _range("height_min", "height_max", _whole),
    "mp": _range("megapixels_min", "megapixels_max", _number),
    "aspect": _range("aspect_min", "aspect_max", _number),
    "size": _range("size_min_bytes", "size_max_bytes", _bytes),
    "format": lambda value: {"format": value.split(",")},
}


# ---------------------------------------------------------------- both


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _quoted(text: str, at: int) -> tuple[str, int]:
    match = _QUOTED.match(text, at)
    if match is None:
        raise GrammarError(text, at, 'this " has no end')
    return re.sub(r"\\(.)", r"\1", match[1], flags=re.DOTALL), match.end()
