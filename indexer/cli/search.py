"""`indexer search`: pictures by words, by a picture, or by the id of one."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.config import Config
    from search_api.schemas import SearchAnswer, SearchRequest


@click.command()
@click.argument("words", nargs=-1)
@click.option("--text", metavar="WORDS", help="The same as words without an option.")
@click.option("--image", metavar="FILE", help="Pictures like this one; - reads it from stdin.")
@click.option("--id", "image_id", metavar="ID", help="Pictures like the indexed one with this id (its SHA-256).")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many.")
@click.option("--paths-only", is_flag=True, help="Print paths, one a line.")
@click.option("-0", "--null", is_flag=True, help="With --paths-only: end each path with NUL, as `xargs -0` reads them.")
@json_option
@global_options
@pass_invocation
def search(
    invocation: Invocation,
    *,
    words: tuple[str, ...],
    text: str | None,
    image: str | None,
    image_id: str | None,
    limit: int,
    paths_only: bool,
    null: bool,
    as_json: bool,
) -> None:
    """Find pictures by words, by a picture, or by an id.

    Asks the running server if there is one, else reads the store itself. Prints score (cosine, higher is better),
    size in pixels and path; as tab-separated lines where stdout is not a terminal.
    """
    ways = [" ".join(words) if words else None, text, image, image_id]
    if sum(way is not None for way in ways) != 1:
        raise click.UsageError("give exactly one of: words, --text, --image, --id")
    if (null and not paths_only) or (paths_only and as_json):
        raise click.UsageError("-0 goes with --paths-only, and --paths-only without --json")

    from indexer.cli.picture import named
    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_bytes, print_json, say

    config = invocation.load().config
    question = _question(config, ways[0] or text, image, image_id, limit)
    with open_source(config, invocation.verbosity) as source, named(image or ""):
        answer = source.search(question)
    if as_json:
        print_json(answer)
    elif paths_only:
        print_bytes([exact_path(hit.path) for hit in answer.hits], end=b"\0" if null else b"\n")
    else:
        _print_hits(answer)
    if not answer.hits:
        say("nothing is indexed yet" if answer.index.count == 0 else "nothing found")


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


def _question(config: Config, text: str | None, image: str | None, image_id: str | None, limit: int) -> SearchRequest:
    from base64 import b64encode

    from indexer.cli.picture import read_picture
    from search_api.schemas import SearchRequest

    if image is not None:
        data = read_picture(image, config.decode.max_file_bytes)
        return SearchRequest(image=b64encode(data).decode(), limit=limit)
    if image_id is not None:
        return SearchRequest(id=image_id, limit=limit)
    if not (text or "").strip():
        raise click.UsageError("there are no words to search by")
    return SearchRequest(text=text, limit=limit)


def _print_hits(answer: SearchAnswer) -> None:
    from indexer.cli.terminal import print_rows

    print_rows(
        ("score", "pixels", "path"),
        [(f"{hit.score:.4f}", f"{hit.width}x{hit.height}", hit.path) for hit in answer.hits],
    )
