"""What a reading of the file system's events tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from indexer.types import FilePath


@dataclass(slots=True)
class Hints:
    """Paths that may have changed, each once, and folders to compare with what is known, with the reason."""

    dirty: dict[FilePath, None] = field(default_factory=dict)
    rescans: dict[FilePath, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.dirty or self.rescans)
