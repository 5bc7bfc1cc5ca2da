"""Faults put into the program on purpose, in a child before it starts: a torture that misses one proves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.torture import daemon
from indexer.catalogue import batch, schema, sqlite
from indexer.catalogue.schema import SCHEMA
from indexer.catalogue.sqlite import SqliteCatalogue
from indexer.engine import keeper, running
from indexer.features.disk import DiskFeatureCache, FeatureReader
from indexer.ingest.commit import Committer, Result
from indexer.ports import CatalogueReading, FeatureReading, VectorIndex
from indexer.rescan import Rescans
from indexer.restore import Restored, restore
from indexer.types import Committed, ContentHash, EmbeddingSpace, Found, Outcome, StoredFeature


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: what it is, and what plants it."""

    what: str
    prepare: Callable[[], None]


def quickened() -> None:
    """No fault: snapshots are written all the time, so that kills fall into them."""
    keeper.LOOK_S, keeper.SNAPSHOT_S, keeper.SNAPSHOT_SHARE = 0.03, 0.1, 1


def catalogue_before_features() -> None:
    """The acknowledgement comes first, the features after it."""
    quickened()
    store = Committer._store  # noqa: SLF001

    def mutant(self: Committer, batch: Sequence[Result]) -> None:
        cache = self._cache
        late = _Late(cache)
        self._cache = late
        try:
            store(self, batch)
        finally:
            self._cache = cache
        cache.put_many(late.features)

    Committer._store = mutant  # type: ignore[method-assign]  # noqa: SLF001


class _Late:
    """A feature cache that keeps what it is given to itself."""

    def __init__(self, cache: FeatureReading) -> None:
        self._cache = cache
        self.features: dict[ContentHash, StoredFeature] = {}

    def put_many(self, features: Mapping[ContentHash, StoredFeature]) -> None:
        self.features |= features

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def acknowledged_before_commit() -> None:
    """The return is heard before the transaction is begun."""
    quickened()

    def announce_early(acks: Connection) -> None:
        commit = SqliteCatalogue.commit

        def mutant(self: SqliteCatalogue, outcomes: Sequence[Outcome]) -> Committed:
            paths = {o.path.hex(): o.hash.hex() if isinstance(o, Found) else None for o in outcomes}
            acks.send_bytes(json.dumps([self._seq + 1, paths]).encode())
            return commit(self, outcomes)

        SqliteCatalogue.commit = mutant  # type: ignore[method-assign]

    daemon._announce_commits = announce_early  # noqa: SLF001


def two_transactions() -> None:
    """Contents are committed before the paths that hold them."""
    quickened()
    note_change = batch._note_change  # noqa: SLF001

    def mutant(con: Any, outcomes: Any, effect: Any) -> set[int]:
        con.execute("COMMIT")
        con.execute("BEGIN IMMEDIATE")
        return note_change(con, outcomes, effect)

    batch._note_change = mutant  # noqa: SLF001


def late_commits() -> None:
    """Several batches share one transaction: all but the last return before it ends."""
    quickened()
    calls = 0

    @contextmanager
    def mutant(self: SqliteCatalogue) -> Iterator[Any]:
        nonlocal calls
        calls += 1
        con = self._con
        if not con.in_transaction:
            con.execute("BEGIN IMMEDIATE")
        yield con
        if calls % 3 == 0 or self._closed:
            con.execute("COMMIT")

    sqlite.SqliteCatalogue._transaction = mutant  # type: ignore[method-assign]  # noqa: SLF001


def snapshot_believed() -> None:
    """Rows of a snapshot are not compared with the catalogue."""
    quickened()

    def mutant(
        catalogue: CatalogueReading, cache: FeatureReading, index: VectorIndex, *rest: Any, **more: Any
    ) -> Restored:
        if len(index):
            return Restored(len(index), 0, 0, ())
        return restore(catalogue, cache, index, *rest, **more)

    running.restore = mutant  # type: ignore[attr-defined]


def no_scans() -> None:
    """What changed while nobody watched is not looked for."""
    quickened()
    Rescans._want = lambda self, folder, reason: None  # type: ignore[method-assign]  # noqa: SLF001


def features_not_asked() -> None:
    """What is in the feature cache is encoded again."""
    quickened()
    FeatureReader.get_many = lambda self, hashes: {}  # type: ignore[method-assign]
    DiskFeatureCache.get_many = FeatureReader.get_many  # type: ignore[method-assign]


def next_schema() -> None:
    """No fault: a program whose schema is one further."""
    SCHEMA.steps[1] = (  # type: ignore[index]
        "CREATE TABLE note (path BLOB PRIMARY KEY, text TEXT NOT NULL) STRICT, WITHOUT ROWID",
        "CREATE INDEX content_by_size ON content (size_bytes)",
        "UPDATE file SET detail = detail || ' '",
    )
    object.__setattr__(SCHEMA, "version", 2)


def migration_in_steps() -> None:
    """Each statement of a migration is a transaction of its own."""
    next_schema()

    def mutant(con: Any, statements: Sequence[str], version: int) -> None:
        for statement in (*statements, f"PRAGMA user_version = {version}"):
            con.execute(statement)

    schema._apply = mutant  # noqa: SLF001


def migration_without_copy() -> None:
    """The old catalogue is not kept."""
    next_schema()
    schema._back_up = lambda con, path, version: None  # noqa: SLF001


def one_name_for_all_spaces() -> None:
    """Features of every embedding space have the same keys."""
    EmbeddingSpace.fingerprint = property(lambda self: "0" * 16)  # type: ignore[assignment,method-assign]


def precision_left_out() -> None:
    """The precision class is not in the fingerprint."""
    fingerprint = EmbeddingSpace.fingerprint.fget  # type: ignore[attr-defined]
    EmbeddingSpace.fingerprint = property(  # type: ignore[assignment,method-assign]
        lambda self: fingerprint(replace(self, precision="fp32"))
    )


KILLED = (
    Mutant("acknowledged before the commit", acknowledged_before_commit),
    Mutant("three batches in one transaction", late_commits),
    Mutant("snapshot not compared with the catalogue", snapshot_believed),
    Mutant("no scans", no_scans),
    Mutant("features encoded again at each start", features_not_asked),
)
"""Found by kills at random moments."""

EXITED = (
    Mutant("catalogue committed before the features", catalogue_before_features),
    Mutant("a batch in two transactions", two_transactions),
)
"""Open for an instant only: found by an exit at each write."""

VERSIONED = (
    Mutant("one name for all embedding spaces", one_name_for_all_spaces),
    Mutant("precision class not in the fingerprint", precision_left_out),
    Mutant("migration in many transactions", migration_in_steps),
    Mutant("migration without a copy of the old catalogue", migration_without_copy),
)
"""Found by changing between embedding spaces, and by an end at each write of a migration."""
