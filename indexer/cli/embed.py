"""`indexer embed`: the vectors of pictures or of texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from indexer.cli.source import Source
    from indexer.config import Config
    from search_api.schemas import EmbedImageAnswer


@click.command()
@click.option("--image", "images", metavar="FILE", multiple=True, help="A picture; may be repeated. - reads stdin.")
@click.option("--text", "texts", metavar="WORDS", multiple=True, help="A text; may be repeated.")
@click.option("--joint", is_flag=True, help="Of pictures, the joint embedding (comparable with texts).")
@click.option("-o", "--output", metavar="FILE.npy", type=click.Path(path_type=Path), help="Write a NumPy array (n, d).")
@json_option
@global_options
@pass_invocation
def embed(
    invocation: Invocation,
    *,
    images: tuple[str, ...],
    texts: tuple[str, ...],
    joint: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the vectors of pictures or texts.

    Unit vectors, one a line: the visual features of pictures, or the joint embeddings of texts. Asks the running
    server if there is one, else loads the model itself.
    """
    if bool(images) == bool(texts):
        raise click.UsageError("give --image or --text, one kind at a time")
    if output and as_json:
        raise click.UsageError("give --json or -o, not both")

    from indexer.cli.source import open_source
    from indexer.cli.terminal import print_json, print_text

    config = invocation.load().config
    with open_source(config, invocation.verbosity) as source:
        if texts:
            answer: object = (embedded := source.embed_texts(texts))
            vectors = embedded.embeddings
        else:
            pictures = [_embed_image(source, config, name) for name in images]
            answer = pictures[0] if len(pictures) == 1 else pictures
            vectors = [_vector(picture, joint) for picture in pictures]
    if as_json:
        print_json(answer)
    elif output:
        _save(output, vectors)
    else:
        print_text("".join(" ".join(f"{x:.9g}" for x in vector) + "\n" for vector in vectors))


def _embed_image(source: Source, config: Config, name: str) -> EmbedImageAnswer:
    from indexer.cli.picture import named, read_picture

    data = read_picture(name, config.decode.max_file_bytes)
    with named(name):
        return source.embed_image(data)


def _vector(picture: EmbedImageAnswer, joint: bool) -> list[float]:
    from indexer.errors import InputError

    if not joint:
        return picture.feature
    if picture.embedding is None:
        raise InputError(f"{picture.model} has no joint space; leave --joint out")
    return picture.embedding


def _save(path: Path, vectors: list[list[float]]) -> None:
    import numpy as np

    from indexer.cli.terminal import say
    from indexer.errors import InputError

    array = np.asarray(vectors, dtype=np.float32)  # (n, d)
    try:
        with path.open("wb") as stream:
            np.save(stream, array, allow_pickle=False)
    except OSError as e:
        raise InputError(f"{path}: cannot be written: {e.strerror}") from e
    say(f"{path}: {array.shape[0]} x {array.shape[1]} float32")
