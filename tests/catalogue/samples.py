"""Outcomes to commit, and everything that a catalogue answers about them in one comparable value."""

from __future__ import annotations

from typing import Any

from indexer.ports import Catalogue
from indexer.types import ContentHash, FilePath, Found, Gone, ImageInfo, Outcome, Reason, Refused, Stamp, content_hash


def hash_of(n: int) -> ContentHash:
    return content_hash(b"content %d" % n)


def info_of(n: int) -> ImageInfo:
    return ImageInfo("JPEG", 100 + n, 50 + n, 1000 + n)


def stamp_of(n: int) -> Stamp:
    return Stamp(1, 100 + n, 1000 + n, 10**18 + n, 10**18 + 2 * n)


def found(path: bytes, n: int, stamp: Stamp | None = None) -> Found:
    """Content number `n` at a path, with a stamp of its own unless one is given."""
    return Found(FilePath(path), stamp or stamp_of(n), hash_of(n), info_of(n))


def refused(path: bytes, reason: Reason = Reason.CORRUPT, n: int = 0, detail: str = "no image") -> Refused:
    return Refused(FilePath(path), stamp_of(n), reason, detail)


def gone(path: bytes) -> Gone:
    return Gone(FilePath(path))


def folder_of(path: bytes) -> FilePath:
    return FilePath(path.rpartition(b"/")[0] or b"/")


def answers(catalogue: Catalogue, root: bytes = b"/") -> dict[str, Any]:
    """What the catalogue says of every path and content, vector ids and times of recording left out."""
    ids, hashes = catalogue.live()
    assert list(ids) == sorted(set(ids)), "live ids ascend"
    assert catalogue.ids_of(hashes) == dict(zip(hashes, ids.tolist(), strict=True))
    images = catalogue.images(ids.tolist())
    files = {path: catalogue.file(path) for path in catalogue.files_under(FilePath(root))}
    folders = set(catalogue.folders_under(FilePath(root)))
    assert folders == {folder_of(path) for path in files}
    for path, record in files.items():
        assert record is not None
        assert record.path == path
        expected_id = None if record.hash is None else catalogue.ids_of([record.hash])[record.hash]
        assert record.vector_id == expected_id
    counts = catalogue.counts()
    return {
        "files": {p: (r.stamp, r.hash, r.reason, r.detail) for p, r in files.items() if r is not None},
        "folders": {folder: catalogue.folder(folder) for folder in folders},
        "images": {r.hash: (r.info, r.paths, r.modified_s) for r in images.values()},
        "live": set(hashes),
        "paths": {content: sorted(catalogue.paths_of([content])) for content in hashes},
        "refused": sorted(r.path for r in catalogue.refused(1000)),
        "counts": (counts.files, counts.contents, dict(counts.refused)),
    }


def recorded(outcomes: list[Outcome]) -> dict[FilePath, Outcome]:
    """What is true after these outcomes."""
    truth: dict[FilePath, Outcome] = {}
    for outcome in outcomes:
        truth.pop(outcome.path, None)
        if not isinstance(outcome, Gone):
            truth[outcome.path] = outcome
    return truth
