"""What a daemon left behind that ended without warning, read from a copy and held against what it had promised."""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from benchmarks.torture.stub import DIM, feature_in
from indexer.features.record import unpack
from indexer.types import EmbeddingSpace

_FILES = (
    "SELECT f.folder, f.name, f.content_id IS NOT NULL, c.hash, f.reason, f.recorded_at"
    " FROM file f LEFT JOIN content c ON c.id = f.content_id"
)
_LONELY = "SELECT hash FROM content WHERE id NOT IN (SELECT content_id FROM file WHERE content_id IS NOT NULL)"


_BELONGS = re.compile(
    r"lock|digests\.json|catalogue\.db(\.v\d+\.bak)?|features/cache\.db"
    r"|index/[^/]+/(space\.json|projection\.npy|gen-\d+\.(rows|json))"
)
_GENERATIONS = 2


@dataclass(frozen=True, slots=True)
class Left:
    """A store as it lies on disk when nobody serves it. Paths and hashes in hex.

    Attributes:
        seq: Number of the last transaction of the catalogue.
        files: Path -> content hash, None for a refused file.
        recorded_at: Path -> when it was recorded, seconds since the epoch.
        features: Content hash -> the feature's bytes, of one space and of those contents that `files` names.
        torn: What no transaction may leave.
    """

    seq: int = 0
    files: Mapping[str, str | None] = field(default_factory=dict)
    recorded_at: Mapping[str, float] = field(default_factory=dict)
    features: Mapping[str, bytes] = field(default_factory=dict)
    torn: tuple[str, ...] = ()


def read_left(store: Path, space: EmbeddingSpace) -> Left:
    """Read a store without touching it: a log that was left is replayed in a copy."""
    with tempfile.TemporaryDirectory() as copied:
        for database in (store / "catalogue.db", store / "features" / "cache.db"):
            for file in database.parent.glob(f"{database.name}*"):
                if file.suffix != ".bak":
                    shutil.copy(file, copied)
        catalogue, features = Path(copied, "catalogue.db"), Path(copied, "cache.db")
        torn: list[str] = []
        files: dict[str, str | None] = {}
        recorded_at: dict[str, float] = {}
        seq = 0
        for con in _opened(catalogue, "file", torn):
            ((seq,),) = con.execute("SELECT ifnull(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = 'seq'")
            for folder, name, has_content, hash_, reason, when in con.execute(_FILES):
                path = (folder.rstrip(b"/") + b"/" + name).hex()
                files[path], recorded_at[path] = hash_.hex() if hash_ else None, when
                if bool(has_content) != (hash_ is not None) or (hash_ is None) != (reason is not None):
                    torn.append(f"{folder + b'/' + name!r} points to a content that is not there")
            torn += [f"content {hash_.hex()[:12]} has no path" for (hash_,) in con.execute(_LONELY)]
        stored: dict[str, bytes] = {}
        for con in _opened(features, "Cache", torn):
            for hash in {hash for hash in files.values() if hash is not None}:
                for (value,) in con.execute("SELECT value FROM Cache WHERE key = ?", (f"{space.fingerprint}:{hash}",)):
                    kept = unpack(value, bytes.fromhex(space.fingerprint), DIM)
                    if kept is not None and kept[0].hex() == hash:
                        stored[hash] = kept[1].feature.tobytes()
        return Left(int(seq), files, recorded_at, stored, tuple(torn))


def _opened(path: Path, table: str, torn: list[str]) -> Iterator[sqlite3.Connection]:
    """The database, if it is there and was begun; what is wrong with its pages is added to `torn`."""
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as con:
        ((verdict,),) = con.execute("PRAGMA integrity_check(1)")
        if verdict != "ok":
            torn.append(f"{path.name}: {verdict}")
        if con.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            yield con


def broken_promises(
    left: Left,
    seq: int,
    promised: Mapping[str, str | None],
    held: Mapping[str, set[str]],
    contents: Mapping[str, bytes],
    space: EmbeddingSpace,
) -> Iterator[str]:
    """Everything in what is left that is lost, torn, made up or wrong.

    Args:
        left: What lies on disk.
        seq: Number of the last transaction whose return was heard. One more may have happened.
        promised: Path -> content hash as of then; None for a path that holds no picture.
        held: Path -> hashes that it ever held.
        contents: Hash -> bytes.
        space: That features are of.
    """
    yield from left.torn
    if left.seq not in (seq, seq + 1):
        yield f"transaction {seq} was acknowledged, and the catalogue stands at {left.seq}"
    unheard = [path for path in promised.keys() | left.files.keys() if promised.get(path) != left.files.get(path)]
    if unheard and left.seq == seq:
        yield f"{len(unheard)} paths are not as acknowledged: {_shown(unheard[0])}"
    moments = {left.recorded_at[path] for path in unheard if path in left.recorded_at}
    if len(moments) > 1:
        yield f"{len(unheard)} paths are not as acknowledged, from {len(moments)} transactions: {_shown(unheard[0])}"
    made_up = [path for path, hash in left.files.items() if hash is not None and hash not in held.get(path, ())]
    if made_up:
        yield f"{len(made_up)} paths are recorded with what they never held: {_shown(made_up[0])}"
    live = {hash for hash in left.files.values() if hash is not None}
    absent = live - left.features.keys()
    if absent:
        yield f"{len(absent)} live contents have no feature: {min(absent)[:12]}"
    right = _features_in(space)
    wrong = {
        hash for hash in live & left.features.keys() & contents.keys() if left.features[hash] != right(contents[hash])
    }
    if wrong:
        yield f"{len(wrong)} features are not the encoder's: {min(wrong)[:12]}"


def litter(store: Path) -> Iterator[str]:
    """Files in a store, saved and closed in order, that nobody will ever look at again."""
    for path in store.rglob("*"):
        name = str(path.relative_to(store))
        if path.is_file() and not _BELONGS.fullmatch(name):
            yield f"{name} is left lying"
    for folder in (store / "index").iterdir():
        if (n := len(list(folder.glob("gen-*.json")))) > _GENERATIONS:
            yield f"{n} generations are kept"


@cache
def _features_in(space: EmbeddingSpace) -> Callable[[bytes], bytes]:
    return cache(lambda data: feature_in(data, space).tobytes())


def _shown(path: str) -> str:
    return repr(bytes.fromhex(path))
