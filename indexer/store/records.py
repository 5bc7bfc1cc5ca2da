"""Results that were measured, kept as JSON for the next start: whole or not at all, and durable."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from indexer.store.json_file import write_json

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Records(Generic[K, T]):
    """One dataclass for each key, in one file.

    Args:
        parse: Makes a record of what JSON holds; may raise `ValueError`, `KeyError`, `TypeError` or `AttributeError`.
        key_of: What a record is kept under.
        else_what: What must be done where the file cannot be read, for the log.
    """

    def __init__(self, parse: Callable[[dict[str, Any]], T], key_of: Callable[[T], K], else_what: str) -> None:
        self._parse = parse
        self._key_of = key_of
        self._else_what = else_what

    def read(self, path: Path) -> dict[K, T]:
        """What is kept; nothing where the file is not there, or damaged."""
        try:
            kept = [self._parse(each) for each in json.loads(path.read_bytes())]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            logger.warning("%s cannot be read (%s); %s", path, e, self._else_what)
            return {}
        return {self._key_of(each): each for each in kept}

    def keep(self, path: Path, record: T) -> None:
        """Put a record in the place of an older one under its key. Raises `StoreFull`; then nothing has changed."""
        kept = {**self.read(path), self._key_of(record): record}
        write_json(path, [asdict(each) for each in kept.values()])  # type: ignore[call-overload]  # dataclasses all
