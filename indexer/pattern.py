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


def _unclosed(pattern: str) -> PatternError:
    return PatternError(f'{pattern!r} has a "[" without its "]"; write "[[]" for a bracket')


def translate(pattern: str) -> bytes:
    """The regular expression (DOTALL) that matches what the pattern does, without an end; raises `PatternError`."""
    parts = []
    for token in _TOKEN.finditer(pattern):
        kind, text = token.lastgroup or "", token.group()
        if kind == "open":
            raise _unclosed(pattern)
        if kind == "set":
            parts.append(_translate_set(pattern, text[1:-1]))
        else:
            parts.append(_FIXED.get(kind) or re.escape(os.fsencode(text)))
    return b"".join(parts)


_N_EXPRESSION_MAX = 50_000
_END = rb"(?=/|\Z)"


def translate_untrusted(pattern: str) -> bytes:
    """As `translate`, ending where a part of the path ends; matching takes time in proportion to the path's length.

    What follows a star is looked for once and kept where it is first found (an atomic group): if any place fits, the
    first does. For that, `**` must be a whole part of the pattern.

    Raises:
        PatternError: As above, or the pattern is too large.
    """
    runs: list[list[bytes]] = [[]]  # of parts, between one "**" and the next
    parts = pattern.split("/")
    for part in parts:
        if part != "**":
            runs[-1].append(_part(pattern, part))
        elif runs[-1] or len(runs) == 1:
            runs.append([])
    first, *others = [b"/".join(run) for run in runs]
    expression = first
    for run in others:
        after = b"/" if expression else b""
        expression += after + (rb"(?>(?:[^/]+/)*?" + run + b")" if run else rb"[^/]+" + _END)
    if len(expression) > _N_EXPRESSION_MAX:
        raise PatternError(f"{pattern[:40]!r}... is too large; name fewer characters in brackets")
    return expression


def _part(pattern: str, part: str) -> bytes:
    """One name of a path, up to its end."""
    pieces = [b""]
    for token in _TOKEN.finditer(part):
        kind = token.lastgroup
        if kind in ("folders", "below", "across"):
            raise PatternError(f'{pattern!r} has "**" beside something else; between slashes it stands alone')
        if kind == "open":
            raise _unclosed(pattern)
        if kind == "run":
            pieces.append(b"")
        else:
            pieces[-1] += translate(token.group())
    head, *stars = pieces
    if not stars:
        return head + _END
    return head + b"".join(b"(?>[^/]*?" + piece + b")" for piece in stars[:-1]) + b"[^/]*" + stars[-1] + _END


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
