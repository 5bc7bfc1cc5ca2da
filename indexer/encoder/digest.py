"""The SHA-256 of a weights' file, without reading gigabytes at each start."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def weights_digest(path: Path, memo: Path | None = None) -> str:
    """SHA-256 (hex) of a file.

    The model hub's cache names large files by it, which is believed. Any other file is read once; `memo`, a small JSON
    file, remembers the answer until the file's device, inode, size or mtime is another.

    Raises:
        OSError: The file cannot be read. A memo that cannot be read or written costs time only.
    """
    blob = path.resolve()
    if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name):
        return blob.name
    status = blob.stat()
    key = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
    known = _recall(memo) if memo else {}
    if key not in known:
        _log.info("Reading %s once for its digest", path)
        with blob.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        if memo:
            _remember(memo, known)
    return known[key]


def _recall(memo: Path) -> dict[str, str]:
    try:
        found = json.loads(memo.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: digest for key, digest in found.items() if isinstance(digest, str) and _SHA256.fullmatch(digest)}


def _remember(memo: Path, known: dict[str, str]) -> None:
    unfinished = memo.with_name(f"{memo.name}.{os.getpid()}.tmp")
    try:
        memo.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(known, indent=1))
        unfinished.replace(memo)
    except OSError as error:
        _log.warning("The digest of the weights is not remembered: %s", error)
