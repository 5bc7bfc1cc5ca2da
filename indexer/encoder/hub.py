"""The model hub: the one place that reaches out of this machine."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
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
"""How long the hub may take to say what it has. Its own client would go on trying for half a minute."""

LOG_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository on the hub; `names` are tried in order."""

    repo: str
    names: tuple[str, ...]


def cached(file: HubFile) -> Path | None:
    """Where a hub's file lies on this machine, in the hub's cache; None if it does not."""
    for name in file.names:
        path = huggingface_hub.try_to_load_from_cache(file.repo, name)
        if isinstance(path, str):
            return Path(path)
    return None


def fetch(file: HubFile, model: str, n_bytes: Callable[[], int]) -> Path:
    """Where a hub's file lies on this machine: found in the hub's cache, else downloaded with its progress on stderr.

    Args:
        file: What to look for.
        model: What people call it, for the message.
        n_bytes: About how long it is; asked for only when it cannot be had.

    Raises:
        ModelUnavailable: It is not here and the hub does not answer, or does not give it. Takes seconds, not minutes.
    """
    path = cached(file)
    if path is not None:
        return path
    try:
        name = _offered(file)
        _log.info("Downloading %s of %s", name, file.repo)
        return Path(huggingface_hub.hf_hub_download(file.repo, name, tqdm_class=_Bar))
    except (HTTPError, EntryNotFoundError, OSError) as error:
        raise ModelUnavailable(_ways_out(file, model, n_bytes(), error)) from error


class _Bar(tqdm):  # type: ignore[misc]  # tqdm brings no types
    """A bar on a terminal, a line in ten seconds elsewhere: the hub's own is silent there for as long as it takes."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        if not sys.stderr.isatty():
            settings |= {"mininterval": LOG_S, "maxinterval": LOG_S, "disable": False}
        super().__init__(*args, **settings)


def _offered(file: HubFile) -> str:
    """The first of the names that the repository holds."""
    for name in file.names:
        with suppress(EntryNotFoundError):
            huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url(file.repo, name), timeout=PROBE_TIMEOUT_S)
            return name
    raise EntryNotFoundError(f"{file.repo} holds none of {', '.join(file.names)}")


def _ways_out(file: HubFile, model: str, n_bytes: int, error: Exception) -> str:
    cause = (str(error) or type(error).__name__).splitlines()[0]
    return (
        f"The weights of {model} are not on this machine and could not be downloaded ({cause}).\n"
        f"Missing: {file.names[0]} of {file.repo}, about {n_bytes / 1e9:.1f} GB. Three ways out:\n"
        f"  1. connect this machine to the hub ({constants.ENDPOINT}) and start again: it is downloaded once, "
        f"to {constants.HF_HUB_CACHE};\n"
        f'  2. put the file anywhere on this machine and set `[model] pretrained = "/path/to/{file.names[0]}"`;\n'
        f"  3. try the small demo model that comes with the program: `indexer demo`."
    )
