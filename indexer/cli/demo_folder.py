"""The demo's folder: drawn pictures, a store, and the settings that name both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from indexer.config import ENV_PREFIX, Loaded, load
from indexer.errors import ConfigError, StoreFull
from indexer.scenes import write_scenes

SEED: Final = 20_261_122
EXAMPLE_WORDS: Final = "four orange hearts in a row on a red background"

_SETTINGS: Final = """\
# Settings of the demo, in this folder.

[watch]
folders = ["pictures"]
settle_s = 0.3

[model]
name = "demo"

[store]
dir = "data"
"""


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where the demo lives. Nothing is made before it is asked for."""

    path: Path

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def settings(self) -> Path:
        return self.path / "config.toml"

    def load(self, flags: dict[str, object]) -> Loaded:
        """Write the settings unless they are there, and read them.

        Raises:
            ConfigError: They are not, or not any more, those of a demo in this folder; or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self.settings.exists():
                self.settings.write_text(_SETTINGS)
        except OSError as e:
            raise ConfigError(f"--dir: {self.path} cannot be used: {e}; choose another") from e
        loaded = load(self.settings, flags)
        config = loaded.config
        expected = {
            "watch.folders": config.folders == (self.pictures.resolve(),),
            "store.dir": config.store_dir == (self.path / "data").resolve(),
            "model.name": config.model.name == "demo",
        }
        for key, as_expected in expected.items():
            if not as_expected:
                raise ConfigError(f"{key}: the demo in {self.path} needs its own; {_remedy(key, loaded.sources[key])}")
        return loaded

    def draw(self, n: int) -> Iterator[int]:
        """Draw `n` scenes, unless the folder for pictures is there already; yields how many are drawn.

        They appear all at once: a drawing that is interrupted leaves nothing behind that would pass for the whole.

        Raises:
            StoreFull: The folder cannot be written.
        """
        if self.pictures.exists():
            return
        unfinished = self.path / ".drawing"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            for n_done, _ in enumerate(write_scenes(unfinished, n, SEED), start=1):
                yield n_done
            unfinished.rename(self.pictures)
        except OSError as e:
            raise StoreFull(f"{self.path}: pictures cannot be drawn there: {e}; choose another --dir") from e

    def example(self) -> Path | None:
        """One of the pictures."""
        return next((path for path in sorted(self.pictures.rglob("*")) if path.is_file()), None)


def _remedy(key: str, source: str) -> str:
    if source == "environment":
        return f"unset {ENV_PREFIX}{key.replace('.', '__').upper()}"
    return "leave that --set out" if source == "flag" else "choose another --dir"
