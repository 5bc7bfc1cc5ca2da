"""The model hub: the one place that reaches out of this machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, HTTPError  # type: ignore[attr-defined]  # of hub's HTTP library
from tqdm import tqdm  # type: ignore[import-untyped]

from indexer.errors import ModelUnavailable

_log = logging.getLogger(__name__)

PROBE_TIMEOUT_S: Final = 5.0
"""How long the hub may take to say what it has."""

LOG_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the hub."""

    repo: str
    name: str


def cached(file: HubFile) -> Path | None:
    """Where a hub's file lies on this machine, in the hub's cache; None if it does not."""
    path = huggingface_hub.try_to_load_from_cache(file.repo, file.name)
    return Path(path) if isinstance(path, str) else None


def fetch(file: HubFile, model: str, tag: str, n_bytes: Callable[[], int]) -> Path:
    """Where a hub's file lies on this machine: found in the hub's cache, else downloaded with its progress on stderr.

    Args:
        file: What to look for.
        model: Name of the architecture, for the message.
        tag: Name of the weights.
        n_bytes: About how long it is; asked for only when it cannot be had.

    Raises:
        ModelUnavailable: It is not here and the hub does not answer, or does not give it. Takes seconds, not minutes.
    """
    path = cached(file)
    if path is not None:
        return path
    try:
        # The hub's own client would go on trying for half a minute.
        huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(file.repo, file.name), timeout=PROBE_TIMEOUT_S)
        _log.info("Downloading %s of %s", file.name, file.repo)
        return Path(huggingface_hub.hf_hub_download(file.repo, file.name, tqdm_class=_Bar))
    except EntryNotFoundError as error:
        raise ModelUnavailable(_not_offered(file, model, tag)) from error
    except (HTTPError, OSError) as error:
        raise ModelUnavailable(_ways_out(file, f"{model} / {tag}", n_bytes(), error)) from error


class _Bar(tqdm):  # type: ignore[misc]  # tqdm brings no types
    """A bar on a terminal, a line in ten seconds elsewhere: the hub's own is silent there for as long as it takes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        if not sys.stderr.isatty():
            settings |= {"mininterval": LOG_S, "maxinterval": LOG_S, "disable": False}
        super().__init__(*args, **settings)


def how_to_convert(model: str, pretrained: str, safe: str) -> str:
    """What to do about weights that are published pickled only."""
    return (
        f"if you trust it, convert it once, and set `[model] pretrained` to what comes out:\n"
        f'python -c "import open_clip, safetensors.torch as safe; '
        f'safe.save_model(open_clip.create_model({model!r}, pretrained={pretrained!r}), {safe!r})"'
    )


def _not_offered(file: HubFile, model: str, tag: str) -> str:
    return (
        f"{file.repo} holds no {file.name}: what it holds is pickled, and nothing is unpickled here; "
        f"{how_to_convert(model, tag, f'./{model}.safetensors')}"
    )


def _ways_out(file: HubFile, model: str, n_bytes: int, error: Exception) -> str:
    cause = (str(error) or type(error).__name__).splitlines()[0]
    return (
        f"The weights of {model} are not on this machine and could not be downloaded ({cause}).\n"
        f"Missing: {file.name} of {file.repo}, about {n_bytes / 1e9:.1f} GB. Three ways out:\n"
        f"  1. connect this machine to the hub ({constants.ENDPOINT}) and start again: it is downloaded once, "
        f"to {constants.HF_HUB_CACHE};\n"
        f'  2. put the file anywhere on this machine and set `[model] pretrained = "/path/to/{file.name}"`;\n'
        f"  3. try the small demo model that comes with the program: `indexer demo`."
    )
