"""Writing scenes to a folder as picture files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from indexer.scenes.scene import random_scene

_FOLDERS: Final = ("shelf-a", "shelf-b", "shelf-c")
_SUFFIXES: Final = (".jpg", ".png", ".webp")
_SHARES: Final = (0.7, 0.15, 0.15)
_QUALITY: Final = 92


def write_scenes(folder: Path, n: int, seed: int, side_px: int | tuple[int, int] = (320, 512)) -> Iterator[Path]:
    """Draws `n` random scenes into sub-folders of `folder` and yields each file once it is written.

    The same arguments write the same scenes under the same names. `side_px` is one side, or the least and the greatest.
    The picture of scene i depends on `seed` and i alone, so more scenes extend fewer.

    Raises:
        OSError: the folder or a file cannot be written.
    """
    least_px, greatest_px = (side_px, side_px) if isinstance(side_px, int) else side_px
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        scene = random_scene(rng)
        suffix = _SUFFIXES[int(rng.choice(len(_SUFFIXES), p=_SHARES))]
        path = folder / _FOLDERS[i % len(_FOLDERS)] / f"scene-{i + 1:04d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = scene.draw(int(rng.integers(least_px, greatest_px + 1)), rng)
        picture.save(path, quality=_QUALITY)
        yield path
