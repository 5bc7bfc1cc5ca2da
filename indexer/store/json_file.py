"""Small records kept as JSON: whole or not at all, and durable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from indexer.errors import StoreFull
from indexer.sqlite import sync_folder


def write_json(path: Path, data: Any) -> None:
    """Put `data` in the place of what is there. Raises `StoreFull` if it cannot be written; then nothing changes."""
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    except OSError as e:
        raise StoreFull(f"{path} cannot be written: {e.strerror}; make room, or mend its permissions") from e
