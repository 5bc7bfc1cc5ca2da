"""Stores to damage: what was made of a folder at different times, and what is true of it."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.torture.daemon import Daemon
from benchmarks.torture.oracle import regular_files
from benchmarks.torture.stub import BAD, SIDE_PX, feature_of, is_good, open_stub, space_of
from indexer.engine import open_engine
from indexer.features.record import pack
from indexer.types import ContentHash, FilePath, ImageInfo, StoredFeature, content_hash

N_FILES = 150


@dataclass(frozen=True)
class Stores:
    """Two stores of the same folder, made of other files at other times, each as it lies closed and while it runs.

    Attributes:
        root: Holds the folder.
        copies: `mine`, `running` (with logs), `other`: folders that are stores.
        states: What the folder held, one time after another: path -> content hash. The last one is what it holds now.
        contents: All contents by hash.
    """

    root: Path
    copies: Mapping[str, Path]
    states: tuple[Mapping[FilePath, ContentHash], ...]
    contents: Mapping[ContentHash, bytes]

    def info(self, hash: ContentHash) -> ImageInfo | None:
        """What is true of a content."""
        data = self.contents.get(hash)
        return None if data is None else ImageInfo("STUB", SIDE_PX, SIDE_PX, len(data))

    def records(self) -> dict[ContentHash, bytes]:
        """What the feature cache holds of each content that is there now."""
        fingerprint = bytes.fromhex(space_of().fingerprint)
        return {
            hash: pack(fingerprint, hash, StoredFeature(feature_of(self.contents[hash]), info))
            for hash in set(self.states[-1].values())
            if (info := self.info(hash))
        }


def make_stores(root: Path, seed: int, n_files: int = N_FILES) -> Stores:
    """Make the folder and its stores."""
    rng = random.Random(seed)
    daemon = Daemon(root)
    states = []
    contents: dict[ContentHash, bytes] = {}
    copies = {name: root / name for name in ("mine", "running", "other")}
    for finished in ("other", "mine"):
        with open_engine(daemon.config, model=open_stub) as engine:
            for _ in range(3):  # generations that differ
                _fill(daemon.pictures, rng, n_files, contents)
                engine.rescan()
                if not engine.wait_idle(60):
                    raise TimeoutError("the store was not made in time")
                engine._keeper.save_anew()  # noqa: SLF001 # no door asks for it
                states.append(_held(daemon.pictures))
            if finished == "mine":
                shutil.copytree(daemon.store, copies["running"])
        shutil.move(daemon.store, copies[finished])
    return Stores(root, copies, tuple(states), contents)


def _held(folder: Path) -> dict[FilePath, ContentHash]:
    """What the good files of a folder hold."""
    data = {path: Path(os.fsdecode(path)).read_bytes() for path in regular_files(FilePath(os.fsencode(folder)))}
    return {path: content_hash(content) for path, content in data.items() if is_good(content)}


def _fill(folder: Path, rng: random.Random, n_files: int, contents: dict[ContentHash, bytes]) -> None:
    """Change a third of the files; some become equal to others, some bad."""
    known = list(contents.values())
    for n in range(n_files):
        path = folder / f"{n % 3}" / f"{n:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        if path.exists() and rng.random() < 0.67:
            continue
        data = rng.randbytes(rng.randrange(20, 200))
        if known and rng.random() < 0.1:
            data = rng.choice(known)
        elif rng.random() < 0.05:
            data = BAD + data
        path.write_bytes(data)
        if not data.startswith(BAD):
            contents[content_hash(data)] = data
