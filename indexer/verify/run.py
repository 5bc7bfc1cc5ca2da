"""One verification from its beginning to its report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final

import numpy as np

from indexer.geometry import Geometry
from indexer.ports import CatalogueReading, Decoder, Embedder, FeatureReading, Scanner, VectorIndex
from indexer.types import FilePath, Finding, Flaw, Progress, VerifyReport, is_at_or_below
from indexer.verify.check import Check, Ground, Remedy, Tally
from indexer.verify.files import FileCheck
from indexer.verify.sample import SampleCheck
from indexer.verify.stored import StoredCheck

N_EXAMPLES: Final = 5
"""Of each flaw, in a report."""

STALL_S: Final = 60.0
"""When nothing was mended for so long, the rest is given up: under steady work the river never comes to rest."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is verified.

    Attributes:
        catalogue, cache, index, geometry: As the engine has them.
        lock: The committer's.
        scanner, ground: The files.
        model: Decoder and embedder, for a sample; None where none is open.
        remedy: What mends through the river; None where there is none: then only rows are mended.
        changed: Told how many rows were written or removed.
        checkups: Looks at whole databases: each returns what is damaged, and whether it is mended, or None.
    """

    catalogue: CatalogueReading
    cache: FeatureReading
    index: VectorIndex
    geometry: Geometry
    lock: Lock
    scanner: Scanner
    ground: Ground
    model: tuple[Decoder, Embedder] | None = None
    remedy: Remedy | None = None
    changed: Callable[[int], None] = lambda _n: None
    checkups: Sequence[Callable[[], tuple[str, bool] | None]] = ()


def verify(
    subject: Subject,
    *,
    sample: int = 0,
    repair: bool = False,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    pause: Callable[[float], None] = time.sleep,
    rng: np.random.Generator | None = None,
) -> VerifyReport:
    """Compare catalogue, features, rows and files, and some images with what they encode to.

    Searches are answered and changes are taken in meanwhile.

    Args:
        subject: What is verified.
        sample: Images to read and encode again; needs a model.
        repair: Mend what is found.
        on_progress: Called now and then.
        pause: Waits so many seconds, and is called with 0 between steps; what it raises ends the verification.
        rng: Chooses the sample.
    """
    return _Verification(subject, sample, repair, on_progress, pause, rng or np.random.default_rng()).run()


def examples_of(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """The first few findings of each flaw."""
    return tuple(each for flaw in Flaw for each in [f for f in found if f.flaw is flaw][:N_EXAMPLES])


class _Verification:
    def __init__(
        self,
        subject: Subject,
        sample: int,
        repair: bool,
        on_progress: Callable[[Progress], None],
        pause: Callable[[float], None],
        rng: np.random.Generator,
    ) -> None:
        self._subject = subject
        self._sample = sample
        self._repair = repair
        self._on_progress = on_progress
        self._pause_between = pause
        self._started, self._started_at = time.monotonic(), time.time()
        self._tally = Tally()
        self._notes: list[str] = []
        counts = subject.catalogue.counts()
        self._n_total = 2 * counts.contents + counts.files + sum(counts.refused.values()) + sample
        self._checks = self._make_checks(rng)
        self._found: dict[Check | None, list[Finding]] = {}

    def run(self) -> VerifyReport:
        self._found[None] = list(self._checkups())
        for check in self._checks:
            self._found[check] = list(check.look())
        self._note_unwatched()
        left = self._mend() if self._repair else self._left(only=Flaw.DAMAGED)
        return self._report(left)

    def _make_checks(self, rng: np.random.Generator) -> list[Check]:
        s = self._subject
        checks: list[Check] = [
            StoredCheck(s.catalogue, s.cache, s.index, s.geometry, s.lock, self._tally, self._pause, s.changed),
            FileCheck(s.catalogue, s.scanner, s.ground, self._tally, self._pause, s.remedy, self._notes),
        ]
        if self._sample and s.model:
            decoder, embedder = s.model
            checks.append(
                SampleCheck(
                    s.catalogue, s.cache, s.ground, decoder, embedder, self._sample, rng, self._tally, self._pause
                )
            )
        return checks

    def _checkups(self) -> Iterator[Finding]:
        for checkup in self._subject.checkups:
            complaint = checkup()
            if complaint is not None:
                what, mended = complaint
                yield Finding(Flaw.DAMAGED, what, mended=mended)
            self._pause(0)

    def _note_unwatched(self) -> None:
        """Files of a folder that is watched no more are forgotten by the next service."""
        catalogue, folders = self._subject.catalogue, self._subject.ground.folders
        outside = [
            folder
            for folder in catalogue.folders_under(FilePath(b"/"))
            if not any(is_at_or_below(folder, root) for root in folders)
        ]
        if outside:
            n_files = sum(len(catalogue.folder(folder)) for folder in outside)
            self._notes.append(
                f"{n_files:,} recorded files lie in no folder that is watched now; the next start forgets them"
            )

    # ------------------------------------------------------------ mending

    def _mend(self) -> dict[Check | None, list[Finding]]:
        """Mend, and wait until the river has done its part; returns what is left."""
        anew = [hash for check, found in self._found.items() if check and found for hash in check.mend(found)]
        remedy = self._subject.remedy
        if remedy is None:
            return self._left()
        remedy.encode_anew(anew)
        try:
            return self._await(remedy)
        finally:
            remedy.encode_anew([])

    def _await(self, remedy: Remedy) -> dict[Check | None, list[Finding]]:
        pause_s = _FIRST_PAUSE_S
        n_before, fewest, fewest_at = -1, float("inf"), time.monotonic()
        while True:
            at_rest = remedy.at_rest()
            left = self._left()
            n_left = sum(map(len, left.values()))
            if n_left < fewest:
                fewest, fewest_at = n_left, time.monotonic()
            # Seen twice, because a batch has its features before its rows.
            if at_rest or n_left == n_before == 0 or time.monotonic() > fewest_at + STALL_S:
                return left
            n_before = n_left
            self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _left(self, only: Flaw | None = None) -> dict[Check | None, list[Finding]]:
        """Findings that are still so; where `only` is given, the others are taken to be."""
        left: dict[Check | None, list[Finding]] = {}
        for check, found in self._found.items():
            if check is None:
                left[check] = [each for each in found if not each.mended]
            else:
                asked = [each for each in found if only in (None, each.flaw)]
                left[check] = [each for each in found if only not in (None, each.flaw)] + check.remaining(asked)
        return left

    # ------------------------------------------------------------ telling

    def _pause(self, seconds: float) -> None:
        n_done = self._tally.n_done
        self._n_total = max(self._n_total, n_done)
        rate = n_done / max(time.monotonic() - self._started, 1e-3)
        eta_s = (self._n_total - n_done) / rate if rate > 0 else None
        self._on_progress(Progress("verify", True, n_done, self._n_total, rate, eta_s))
        self._pause_between(seconds)

    def _report(self, left: dict[Check | None, list[Finding]]) -> VerifyReport:
        found = [each for some in self._found.values() for each in some]
        unmended = {each for some in left.values() for each in some}
        found = [replace(each, mended=each not in unmended) for each in found]
        found.sort(key=lambda each: each.mended)  # what is left is the better example
        tally = self._tally
        if tally.skipped:
            self._notes.append(f"{tally.skipped:,} images of the sample could not be read or decoded, or had changed")
        return VerifyReport(
            started_at=self._started_at,
            seconds=round(time.monotonic() - self._started, 3),
            sample=self._sample,
            repair=self._repair,
            files=tally.files,
            contents=tally.contents,
            features=tally.features,
            rows=tally.rows,
            kept=tally.kept,
            reencoded=tally.reencoded,
            found=dict(Counter(each.flaw for each in found)),
            mended=dict(Counter(each.flaw for each in found if each.mended)),
            examples=examples_of(found),
            notes=tuple(self._notes),
        )
