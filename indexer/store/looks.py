"""What was seen of pictures, kept by their content for the next start. Derived: it may be deleted at any time."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from indexer.types import ContentHash, Preprocess

logger = logging.getLogger(__name__)

_HASH_BYTES: Final = 32


class KeptLooks:
    """One NumPy archive, whose parts carry checksums, for each way of preparing and looking at pictures.

    Args:
        folder: Where archives are; made if need be.
        preprocess: Of the pixels that were looked at.
        version: Of the look.
    """

    def __init__(self, folder: Path, preprocess: Preprocess, version: int) -> None:
        seen = json.dumps({"look": version, **asdict(preprocess)}, sort_keys=True)
        self._path = folder / f"{hashlib.sha256(seen.encode()).hexdigest()[:16]}.npz"

    def read(self) -> dict[ContentHash, NDArray[Any]]:
        """What is kept; nothing where that is not there, or damaged."""
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                hashes, looks = kept["hashes"], kept["looks"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as e:
            logger.warning("%s cannot be read (%s); pictures are looked at again", self._path, e)
            return {}
        return {ContentHash(hash.tobytes()): look for hash, look in zip(hashes, looks, strict=True)}

    def keep(self, looks: Mapping[ContentHash, NDArray[Any]]) -> None:
        """Put these in the place of what is kept, whole or not at all. What cannot be written is looked at again."""
        unfinished = self._path.with_suffix(".tmp")
        hashes = np.frombuffer(b"".join(looks), np.uint8).reshape(-1, _HASH_BYTES)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with unfinished.open("wb") as file:
                np.savez(file, hashes=hashes, looks=np.array(list(looks.values())))
            unfinished.replace(self._path)
        except OSError as e:
            logger.warning(
                "%s cannot be written (%s); pictures are looked at again after the next start", self._path, e
            )
