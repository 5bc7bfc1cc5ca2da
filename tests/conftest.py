"""Settings of the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# Continuous integration repeats one set of examples, so that a change is judged by itself; people's runs explore.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")


LONG = ("torture", "page", "e2e", "index")
"""Folders whose files take minutes: first, lest one worker waits for another's last file."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files come first. Tests marked `gpu` are there only where a GPU is."""
    items.sort(
        key=lambda item: next((i for i, name in enumerate(LONG) if f"tests/{name}/" in str(item.path)), len(LONG))
    )
    on_gpu = [item for item in items if "gpu" in item.keywords]
    if not on_gpu:
        return
    import torch  # only now: it takes seconds

    if not torch.cuda.is_available():
        items[:] = [item for item in items if item not in on_gpu]
        config.hook.pytest_deselected(items=on_gpu)
