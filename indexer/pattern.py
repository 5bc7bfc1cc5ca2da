"""Shell patterns of paths as regular expressions.

`*`, `?` and `[...]` match within a name; `**/` stands for any folders, `/**` for all that is below. Upper and lower
case differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

# One character that is not "/": a whole UTF-8 sequence, or a byte that belongs to none. Possessive: "??" is not "é".
_ONE = rb"(?:[^/\xc0-\xff]|[\xc0-\xff][\x80-\xbf]*+)"
_TOKEN = re.compile(
    r"(?P<folders>(?:(?<=/)|\A)\*\*/)|(?P<below>(?<=/)\*\*\Z)|(?P<across>\*\*)|(?P<run>\*)|(?P<one>\?)"
    r"|(?P<set>\[[!^]?(?:\][^\]/]*|[^\]/]+)\])|(?P<open>\[)|(?P<text>[^*?\[]+)",
    re.DOTALL,
)
_FIXED = {"folders": rb"(?:[^/]+/)*", "below": rb".+", "across": rb".*", "run": rb"[^/]*", "one": _ONE}
_N_SET_MAX = 1_000  # characters that one range outside ASCII may name


class PatternError(ValueError):
    """The pattern cannot be used; the message begins with it and says how to mend it."""


def translate(pattern: str) -> bytes:
    """The regular expression (DOTALL) that matches what the pattern does, without an end; raises `PatternError`."""
    parts = []
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup or "", token.group()
        if kind == "open":
            raise PatternError(f'{pattern!r} has a "[" without its "]"; write "[[]" for a bracket')
        if kind == "set":
            parts.append(_translate_set(pattern, text[1:-1]))
        else:
            parts.append(_FIXED.get(kind) or re.escape(os.fsencode(text)))
    return b"".join(parts)


def literal_head(pattern: str) -> str:
    """What every path that matches begins with."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0]


def _translate_set(pattern: str, body: str) -> bytes:
    negated = body[0] in "!^" and len(body) > 1
    characters = b"|".join(re.escape(os.fsencode(c)) for c in _characters(pattern, body[negated:]))
    return b"(?:(?!" + characters + b")" + _ONE + b")" if negated else b"(?:" + characters + b")"


def _characters(pattern: str, body: str) -> Iterator[str]:
    """The characters that the inside of a `[...]` names."""
    i = 0
    while i < len(body):
        if body[i + 1 : i + 2] == "-" and i + 2 < len(body):
            first, last = ord(body[i]), ord(body[i + 2])
            if not first <= last < first + _N_SET_MAX:
                raise PatternError(f"{pattern!r} has a reversed or too wide range; list what you mean")
            yield from (chr(c) for c in range(first, last + 1) if chr(c) != "/")
            i += 3
        else:
            yield body[i]
            i += 1
