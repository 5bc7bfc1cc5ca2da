"""What brings changes in: watcher, scans, settle, river and committer, started and stopped together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indexer.engine.examining import Premises
from indexer.engine.live import Changes
from indexer.ingest.budget import Budget
from indexer.ingest.commit import Committer
from indexer.ingest.river import River
from indexer.ports import Embedder, Settle, Watcher
from indexer.rescan import Rescans
from indexer.types import ContentHash, display_path


@dataclass(frozen=True, slots=True)
class Inflow:
    """The way in.

    Attributes:
        changes: What has become searchable, and what is so no more, for those who listen.
        premises: The files and stores, as those see them who verify and explain.
        watching: False where only what is asked for is read: a rebuild without a server.
        mended: What the stores had to mend, for people.
        refill: As `indexer.restore.refill`; called with what tells it to go on.
    """

    settle: Settle
    watcher: Watcher
    rescans: Rescans
    river: River
    committer: Committer
    budget: Budget
    embedder: Embedder
    premises: Premises
    changes: Changes
    watching: bool
    mended: Callable[[], tuple[str, ...]]
    refill: Callable[[Callable[[], bool]], Sequence[ContentHash]]

    def start(self) -> None:
        """Events first, then the scan: what changes in between is seen by one of them."""
        self.committer.start()
        self.river.start()
        if self.watching:
            self.watcher.start()
            self.rescans.start()

    def stop(self) -> None:
        """Take nothing new. What is on its way ends with decoder, embedder and committer."""
        self.watcher.close()
        self.rescans.close()
        self.river.close()

    def bring(self, hashes: Sequence[ContentHash], *, anew: bool) -> None:
        """Send live contents through the river once more, by every path that holds them; see `River.bring`."""
        catalogue = self.premises.catalogue
        records = catalogue.images(list(catalogue.ids_of(hashes).values())).values()
        self.river.bring({record.hash: record.paths for record in records}, anew=anew)

    def at_rest(self) -> bool:
        """Whether nothing is dirty, on its way, or being scanned."""
        return not self.rescans.busy and len(self.settle) == 0

    def limited_by(self) -> str:
        """The stage that sets the pace: the last one that has work waiting before it."""
        if len(self.settle) == 0:
            return "scan" if self.rescans.busy else "idle"
        if self.committer.trouble or self.committer.n_waiting > 1:
            return "store"
        if self.embedder.n_waiting > 1:
            return "encode"
        if self.river.n_decoding > 1:
            return "decode"
        return "read" if self.budget.in_use[0] else "settle"

    def notices(self) -> tuple[str, ...]:
        """What a person should know, one line each."""
        held = [
            f"{display_path(folder)}: {why}; if they are gone for good: indexer rescan --confirm-gone"
            for folder, why in self.rescans.held.items()
        ]
        paused = [f"ingest is paused: {self.trouble}"] if self.trouble else []
        return (*self.mended(), *held, *paused)

    @property
    def trouble(self) -> str | None:
        """Why nothing comes in now, where the store, the files or the folders cannot be had."""
        return self.committer.trouble or self.river.trouble or self.rescans.trouble
