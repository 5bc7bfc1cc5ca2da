"""`indexer search`: pictures by words, by pictures, by ids, and by mixtures of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import rich_click as click

from indexer.cli.grammar import GrammarError, parse_question, parse_where
from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.cli.source import Source
    from indexer.config import Config
    from search_api.schemas import SearchAnswer, SearchRequest, TermRequest

Read = TypeVar("Read")

_THUMBNAIL_PX: Final = 160


@click.command()
@click.argument("words", nargs=-1)
@click.option("--text", metavar="WORDS", help="The same as words without an option.")
@click.option("--image", "images", metavar="FILE", multiple=True, help="And like this picture; - reads it from stdin.")
@click.option("--id", "ids", metavar="ID", multiple=True, help="And like the indexed one with this id (its SHA-256).")
@click.option("--like", metavar="ID", multiple=True, help="Somewhat like this indexed picture, which was liked.")
@click.option("--unlike", metavar="ID", multiple=True, help="Somewhat unlike this one, which was not.")
@click.option("--where", metavar="FILTER", multiple=True, help="Only pictures that fit; see below.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@click.option("--min-score", type=click.FloatRange(-1, 1), help="Only hits with this score, or a better one.")
@click.option("--cut", is_flag=True, help="End where hits stop being better than chance.")
@click.option(
    "--diversity", type=click.FloatRange(0, 1), default=0.0, help="0: by score. Towards 1: unlike each other."
)
@click.option("--near", is_flag=True, help="Fold near-duplicates into the best of them.")
@click.option("--open", "open_it", is_flag=True, help="Open the best hit with the desktop's viewer.")
@click.option("--thumbnails/--no-thumbnails", default=True, help="Draw pictures, where the terminal can (default).")
@click.option("--paths-only", is_flag=True, help="Print paths, one a line.")
@click.option("-0", "--null", is_flag=True, help="With --paths-only: end each path with NUL, as `xargs -0` reads them.")
@json_option
@global_options
@pass_invocation
def search(
    invocation: Invocation,
    /,
    *,
    words: tuple[str, ...],
    text: str | None,
    open_it: bool,
    thumbnails: bool,
    paths_only: bool,
    null: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Find pictures by words, by pictures, by ids, or by all of them mixed.

    Words may be weighed, added and taken away: "2*golden retriever - fruit"; quotes inside keep a sign or a star as it
    is. A filter is a list such as "path:holiday/** -path:*.gif after:2025-01-01 before:2025-07-01 width:1024..
    height:..4000 mp:2.. aspect:1..2 size:500kB..5MB format:jpeg,png".

    Asks the running server if there is one, else reads the store itself. Prints score (cosine, higher is better),
    size in pixels and path; as tab-separated lines where stdout is not a terminal.
    """
    if words and text is not None:
        raise click.UsageError("give the words once, with --text or without")
    if (null and not paths_only) or (paths_only and as_json):
        raise click.UsageError("-0 goes with --paths-only, and --paths-only without --json")

    from indexer.cli.picture import named
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_bytes, print_json, say

    config = invocation.load().config
    question = _question(config, " ".join(words) if words else text, **asked)
    images = asked["images"]
    with open_source(config, invocation.verbosity) as source, named(images[0] if len(images) == 1 else ""):
        answer = source.search(question)
        if as_json:
            print_json(answer)
        elif paths_only:
            print_bytes([exact_path(hit.path) for hit in answer.hits], end=b"\0" if null else b"\n")
        else:
            _print_hits(answer, source, thumbnails)
    if not answer.hits:
        say(_why_none(answer))
    elif open_it:
        _open(exact_path(answer.hits[0].path))


def exact_path(shown: str) -> bytes:
    r"""The path as the file system spells it.

    Answers show bytes that are not UTF-8 as escapes, such as `\xff`; a name may also hold a backslash of its own. The
    file that is there tells which.
    """
    plain = os.fsencode(shown)
    if os.path.lexists(plain):
        return plain
    unescaped = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), plain)
    return unescaped if os.path.lexists(unescaped) else plain


def _question(
    config: Config,
    text: str | None,
    *,
    images: tuple[str, ...],
    ids: tuple[str, ...],
    like: tuple[str, ...],
    unlike: tuple[str, ...],
    where: tuple[str, ...],
    limit: int,
    min_score: float | None,
    cut: bool,
    diversity: float,
    near: bool,
) -> SearchRequest:
    from search_api.schemas import SearchRequest, WhereRequest

    if text is None and not (images or ids or like or unlike):
        raise click.UsageError("say what to find: words, --image, --id, --like or --unlike")
    terms = _terms(config, text, images, ids)
    members = _read(parse_where, " ".join(where)) if where else None
    return SearchRequest(
        query=terms or None,
        liked=list(like) or None,
        disliked=list(unlike) or None,
        limit=limit,
        where=None if members is None else WhereRequest(**members),
        score_threshold=min_score,
        cut="auto" if cut else None,
        diversity=diversity,
        collapse="near" if near else "content",
    )


def _terms(config: Config, text: str | None, images: tuple[str, ...], ids: tuple[str, ...]) -> list[TermRequest]:
    from base64 import b64encode

    from indexer.cli.picture import read_picture
    from search_api.schemas import TermRequest

    terms = words_of(text) if text is not None else []
    for name in images:
        data = read_picture(name, config.decode.max_file_bytes)
        terms.append(TermRequest(image=b64encode(data).decode()))
    return terms + [TermRequest(id=id) for id in ids]


def words_of(text: str) -> list[TermRequest]:
    """What is typed, as parts of a mixture. Raises `click.UsageError`."""
    from search_api.schemas import TermRequest

    return [TermRequest(text=each.text, weight=each.weight) for each in _read(parse_question, text)]


def _read(parse: Callable[[str], Read], text: str) -> Read:
    try:
        return parse(text)
    except GrammarError as e:
        raise click.UsageError(str(e)) from e


def _print_hits(answer: SearchAnswer, source: Source, thumbnails: bool) -> None:
    from indexer.cli.inline import drawn, protocol_of
    from indexer.cli.terminal import print_bytes, print_rows, printable
    from indexer.errors import InputError

    folded = any(hit.n_alike for hit in answer.hits)
    titles = ("score", "pixels", *(("alike",) if folded else ()), "path")
    rows = [
        (f"{hit.score:.4f}", f"{hit.width}x{hit.height}", *((str(hit.n_alike),) if folded else ()), hit.path)
        for hit in answer.hits
    ]
    protocol = protocol_of(os.environ, sys.stdout.isatty()) if thumbnails else None
    if protocol is None:
        print_rows(titles, rows)
        return
    for hit, row in zip(answer.hits, rows, strict=True):
        with suppress(InputError):  # its file has changed or gone since
            print_bytes([drawn(source.thumbnail(hit.id, _THUMBNAIL_PX), protocol)], end=b"")
        print_bytes([os.fsencode("  ".join(map(printable, row)))], end=b"\n")


def _why_none(answer: SearchAnswer) -> str:
    if answer.index.count == 0:
        return "nothing is indexed yet"
    return "no picture fits --where" if answer.matching == 0 else "nothing found"


def _open(path: bytes) -> None:
    import subprocess

    from indexer.errors import InputError

    try:
        subprocess.Popen(
            [b"xdg-open", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as e:
        raise InputError("--open: there is no xdg-open here; install xdg-utils, or leave --open out") from e
