"""`verify` as a task: when asked for, and by itself once in a while, with its last report kept."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from indexer.errors import Stopped, StoreError
from indexer.types import ContentHash, FilePath, Finding, Flaw, Progress, VerifyReport

logger = logging.getLogger(__name__)

META: Final = "verify"
_SINCE: Final = "verify-since"

LOOK_AT_CLOCK_S: Final = 30.0

BUSY_FOR_S: Final = 3600.0
"""What is due waits so long for the river to come to rest."""

CLOSE_S: Final = 2.0

Run = Callable[[int, bool, Callable[[Progress], None], Callable[[float], None]], VerifyReport]


@dataclass(frozen=True, slots=True)
class Notes:
    """Where a few words are kept over restarts: the catalogue's `meta`."""

    get: Callable[[str], str | None]
    set: Callable[[str, str], None]


class Verifying:
    """Runs one verification at a time in a thread of its own, and tells how far it is.

    Args:
        run: The verification: of (sample, repair, progress callback, pause).
        notes: Keep the last report.
        alone: Held while it runs: not beside a rebuild, which changes what is compared.
        every_s: Time between two that begin by themselves, counted over restarts, seconds; 0: none does.
        sample: Images that those encode again.
        at_rest: Whether nothing else is going on: what begins by itself waits for that, for an hour at most.
        clock: Seconds since the epoch.
        look_s: How often the clock is looked at, seconds.
    """

    def __init__(
        self,
        run: Run,
        notes: Notes,
        alone: threading.Lock,
        *,
        every_s: float = 0.0,
        sample: int = 0,
        at_rest: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        look_s: float = LOOK_AT_CLOCK_S,
    ) -> None:
        self._run_it = run
        self._notes = notes
        self._alone = alone
        self._every_s = every_s
        self._sample = sample
        self._at_rest = at_rest
        self._clock = clock
        self._look_s = look_s
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._keeper: threading.Thread | None = None
        self._progress: Progress | None = None
        self._report = report_of(notes.get(META))
        self._since = 0.0

    @property
    def progress(self) -> Progress | None:
        """The running or the last verification of this process."""
        return self._progress

    @property
    def report(self) -> VerifyReport | None:
        """What the last one found, also over restarts."""
        return self._report

    def start(self, *, sample: int, repair: bool, gently: bool = False) -> Progress:
        """Begin, or join the one that runs; `gently`: it rests as long as it works."""
        with self._lock:
            if self._stopping.is_set():
                raise Stopped("the service is going down")
            if self._progress is None or not self._progress.running:
                self._progress = Progress("verify", True, 0, 0, 0.0, None)
                self._thread = threading.Thread(
                    target=self._run, args=(sample, repair, gently), name="verify", daemon=True
                )
                self._thread.start()
            return self._progress

    def keep_time(self) -> None:
        """Begin one by itself whenever the last one is `every_s` old. The first start counts as one."""
        if self._every_s <= 0:
            return
        self._since = self._begun()
        self._keeper = threading.Thread(target=self._keep_time, name="verify-clock", daemon=True)
        self._keeper.start()

    def close(self) -> None:
        """End the one that runs, without a report; a look at a whole database is left behind."""
        with self._lock:
            self._stopping.set()
        for thread in (self._keeper, self._thread):
            if thread is not None:
                thread.join(CLOSE_S)

    # ------------------------------------------------------------ inside

    def _keep_time(self) -> None:
        while not self._stopping.wait(self._look_s):
            overdue_s = self._clock() - (self._since + self._every_s)
            running = self._progress is not None and self._progress.running
            if overdue_s >= 0 and not running and (self._at_rest() or overdue_s > BUSY_FOR_S):
                with suppress(Stopped):
                    self.start(sample=self._sample, repair=False, gently=True)

    def _begun(self) -> float:
        """When the last one began, else when the store was first served; never in the future, whatever clocks do."""
        try:
            return min(float(self._notes.get(_SINCE) or ""), self._clock())
        except ValueError:
            self._begin()
            return self._since

    def _begin(self) -> None:
        """One that fails counts as well: the next one is a day away, not half a minute."""
        self._since = self._clock()
        self._note(_SINCE, repr(self._since))

    def _note(self, key: str, text: str) -> None:
        try:
            self._notes.set(key, text)
        except StoreError as e:
            logger.warning("the verification's note is lost at the next start: %s", e)

    def _run(self, sample: int, repair: bool, gently: bool) -> None:
        error = ""
        try:
            while not self._alone.acquire(timeout=0.2):
                self._pause(0)
            try:
                self._begin()
                self._report = self._run_it(sample, repair, self._show, _Gently(self._pause) if gently else self._pause)
            finally:
                self._alone.release()
            self._note(META, json_of(self._report))
            _tell(self._report)
        except Stopped as e:
            error = str(e)
        except Exception as e:  # a worker's loop: the reason goes to whoever asks, the service goes on
            if not self._stopping.is_set():
                logger.exception("verification failed")
            error = str(e) or type(e).__name__
        assert self._progress is not None
        self._progress = replace(self._progress, running=False, eta_s=0.0, error=error)

    def _show(self, progress: Progress) -> None:
        self._progress = progress

    def _pause(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped("the service is going down")


class _Gently:
    """A pause after each step that lasts as long as the step did."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        self._pause = pause
        self._began = time.monotonic()

    def __call__(self, seconds: float) -> None:
        self._pause(max(seconds, min(1.0, time.monotonic() - self._began)))
        self._began = time.monotonic()


def _tell(report: VerifyReport) -> None:
    if report.ok:
        logger.info("verified %d images in %.1f s: %s", report.contents, report.seconds, summary_of(report))
    else:
        logger.warning("verification found what is wrong: %s", summary_of(report))


def summary_of(report: VerifyReport) -> str:
    """The findings in a few words."""
    if not report.found:
        return "all is well"
    mended = {flaw: report.mended.get(flaw, 0) for flaw in report.found}
    return ", ".join(
        f"{n} {flaw.value}" + (f" ({mended[flaw]} mended)" if mended[flaw] else "") for flaw, n in report.found.items()
    )


def notices_of(report: VerifyReport | None) -> tuple[str, ...]:
    """What a person should do about a report."""
    if report is None or report.ok:
        return ()
    return (f"the last verification found: {summary_of(report)}; to mend it: indexer verify --repair",)


# ---------------------------------------------------------------- kept


def json_of(report: VerifyReport) -> str:
    """The report as text to keep."""
    return json.dumps(asdict(report), default=bytes.hex)


def report_of(text: str | None) -> VerifyReport | None:
    """A report that was kept; None for none, and for one of another version."""
    try:
        kept = json.loads(text or "null")
        if kept is None:
            return None
        kept["found"] = {Flaw(flaw): n for flaw, n in kept["found"].items()}
        kept["mended"] = {Flaw(flaw): n for flaw, n in kept["mended"].items()}
        kept["examples"] = tuple(_finding(each) for each in kept["examples"])
        kept["notes"] = tuple(kept["notes"])
        return VerifyReport(**kept)
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        logger.info("the last verification's report cannot be read any more: %s", e)
        return None


def _finding(kept: Mapping[str, Any]) -> Finding:
    hash, path = kept["hash"], kept["path"]
    return Finding(
        Flaw(kept["flaw"]),
        kept["what"],
        None if hash is None else ContentHash(bytes.fromhex(hash)),
        kept["vector_id"],
        None if path is None else FilePath(bytes.fromhex(path)),
        kept["mended"],
    )
