"""`indexer model`: which model, and what its vectors mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from indexer.cli.options import Invocation, global_options, json_option, pass_invocation

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.config import Config
    from indexer.encoder.checkpoint import Checkpoint


@click.group()
@global_options
def model() -> None:
    """Show which model is in use."""


@model.command()
@json_option
@global_options
@pass_invocation
def info(invocation: Invocation, as_json: bool) -> None:
    """Show the configured model, without loading it or reaching for the network.

    Digest and fingerprint are unknown as long as the weights are not on this machine. Exit code 0 either way.
    """
    from indexer.cli.terminal import print_facts, print_json

    facts = facts_of(invocation.load().config)
    if as_json:
        print_json(facts)
    else:
        print_facts(
            (name.replace("_", " "), "unknown" if value is None else str(value)) for name, value in facts.items()
        )


def facts_of(config: Config) -> dict[str, Any]:
    """What is known of the configured model before its weights are read; None for what is not.

    Raises:
        ConfigError: No such model, weights or device.
    """
    from indexer.encoder.checkpoint import resolve
    from indexer.encoder.device import place_all
    from indexer.types import EmbeddingSpace

    checkpoint = resolve(config.model.name, config.model.pretrained, config.decode.mode)
    placements = place_all(config.model.devices, config.model.precision)
    placement = placements[0]
    where, digest = _weights(checkpoint, config.store_dir / "digests.json")
    dim, joint_dim = _dims(checkpoint)
    space = EmbeddingSpace(checkpoint.model, digest or "", placement.precision, dim, checkpoint.preprocess)
    return {
        "name": checkpoint.model,
        "pretrained": checkpoint.pretrained,
        "weights": where,
        "digest": digest,
        "feature_dim": dim,
        "joint_dim": joint_dim,
        "precision": placement.precision,
        "device": ", ".join(dict.fromkeys(str(each.device) for each in placements)),
        "side_px": checkpoint.preprocess.side_px,
        "mode": checkpoint.preprocess.mode,
        "fingerprint": space.fingerprint if digest else None,
    }


def _weights(checkpoint: Checkpoint, memo: Path) -> tuple[str, str | None]:
    """Where the weights are, for people, and their digest if they are on this machine."""
    from indexer.encoder.checkpoint import Untrained
    from indexer.encoder.digest import weights_digest
    from indexer.encoder.hub import HubFile, cached

    source = checkpoint.source
    if isinstance(source, Untrained):
        return f"drawn at random, seed {source.seed}", f"random-{source.seed}"
    path = cached(source) if isinstance(source, HubFile) else source
    if path is None:
        return f"not on this machine; {source.name} of {source.repo} on the hub", None  # type: ignore[union-attr]
    # A memo is read and written where there is a store; looking at a model makes none.
    return str(path), weights_digest(path, memo if memo.parent.is_dir() else None)


def _dims(checkpoint: Checkpoint) -> tuple[int, int]:
    """Lengths of visual feature and joint embedding; a vision transformer's projection leads from one to the other."""
    from indexer.encoder.tower import build

    joint_dim: int = checkpoint.config["embed_dim"]
    projection = getattr(build(checkpoint.config).visual, "proj", None)
    return (joint_dim if projection is None else int(projection.shape[0])), joint_dim
