"""An encoder that runs out of memory, gives nonsense and loses its device: every picture is stored once, none wrong."""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import Row, at_most
from benchmarks.torture.oracle import differences
from benchmarks.torture.stub import StubEncoder, configured, open_stub, pixels_of
from indexer.engine import RunningEngine, open_engine
from indexer.errors import DeviceFailed, DeviceOutOfMemory
from indexer.types import Features, ImageQuery, Pixels, TextQuery

IMAGES = 10_000
_FAULTS_SHARE = 0.1
_GOAL_S = 30.0


@dataclass
class Plan:
    """Which pictures bring which fault, once each, however often the encoder is opened anew."""

    faults: dict[bytes, str]
    n_met: Counter[str] = field(default_factory=Counter)
    n_failed_opens: int = 0
    lost_at: float | None = None
    longest_loss_s: float = 0.0

    def meet(self, pixels: Pixels) -> set[int]:
        """Raise what these pictures bring, or tell which rows come out as nonsense."""
        for i, picture in enumerate(pixels):
            fault = self.faults.get(picture.tobytes())
            if fault in ("memory", "device"):
                self._count(picture, fault)
                if fault == "memory":
                    raise DeviceOutOfMemory(f"{len(pixels)} pictures did not fit, it was said")
                self.lost_at = self.lost_at or time.monotonic()
                raise DeviceFailed(f"the device was lost at picture {i}, it was said")
        nonsense = {i for i, picture in enumerate(pixels) if self.faults.get(picture.tobytes()) == "nonsense"}
        for i in nonsense:
            self._count(pixels[i], "nonsense")
        return nonsense

    def back(self) -> None:
        """Something was encoded."""
        if self.lost_at is not None:
            self.longest_loss_s = max(self.longest_loss_s, time.monotonic() - self.lost_at)
            self.lost_at = None

    def _count(self, picture: Pixels, fault: str) -> None:
        del self.faults[picture.tobytes()]
        self.n_met[fault] += 1


class FaultyEncoder(StubEncoder):
    """The stub, following a plan. A lost device stays lost for whoever holds it; opening it anew may fail too."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        if plan.lost_at is not None and plan.n_met["device"] % 3 == 0 and plan.n_failed_opens < plan.n_met["device"]:
            plan.n_failed_opens = plan.n_met["device"]
            raise DeviceFailed("the device was still away, it was said")
        self._plan = plan
        self._lost = False

    def encode_pixels(self, pixels: Pixels) -> Features:
        if self._lost:
            raise DeviceFailed("the device is lost")
        try:
            nonsense = self._plan.meet(pixels)
        except DeviceFailed:
            self._lost = True
            raise
        rows = super().encode_pixels(pixels)
        rows[sorted(nonsense)] = np.nan
        self._plan.back()
        return rows


@dataclass
class Result:
    """What came of it."""

    differing: list[str]
    errors: list[str]
    n_searches: int
    n_encoded: int
    n_refused: int
    plan: Plan


def run(args: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as root:
        result = torture(Path(root), args.rounds or IMAGES, args.seed)
    for line in result.differing + result.errors[:10]:
        print(line)
    met = ", ".join(f"{n} {kind}" for kind, n in sorted(result.plan.n_met.items()))
    yield at_most(
        "R8a", f"unlike the folders after {met} of the encoder's faults", len(result.differing), "findings", 0
    )
    yield at_most("R8b", "pictures refused for faults that pass", result.n_refused, "", 0)
    yield at_most("R8c", f"searches that failed, of {result.n_searches:,} meanwhile", len(result.errors), "", 0)
    yield at_most("R8d", "longest until something was encoded again", result.plan.longest_loss_s, "s", _GOAL_S)


def torture(root: Path, n_images: int, seed: int) -> Result:
    """Index so many pictures, every tenth of which brings a fault, and search all the while."""
    config = configured(root)
    pictures = config.folders[0]
    chosen = random.Random(seed).sample(range(n_images), int(_FAULTS_SHARE * n_images))
    kinds = ("memory", "nonsense", "device")
    plan = Plan({pixels_of(_content(i)).tobytes(): kinds[k % 3] for k, i in enumerate(chosen)})
    for i in range(n_images):
        folder = pictures / str(i // 1000)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(_content(i))
    errors: list[str] = []
    with open_engine(config, model=partial(open_stub, build=lambda: FaultyEncoder(plan))) as engine:
        done = threading.Event()
        n_searches = [0]
        searcher = threading.Thread(target=_search, args=(engine, done, errors, n_searches))
        searcher.start()
        engine.wait_idle(600)
        done.set()
        searcher.join()
        stats = engine.stats()
        differing = differences(engine, [pictures])
    return Result(differing, errors, n_searches[0], stats.encoded_total, stats.errors, plan)


def _search(engine: RunningEngine, done: threading.Event, errors: list[str], n: list[int]) -> None:
    """Ask by words and by an indexed picture until done. Words may have to be asked again while a device is lost."""
    while not done.wait(0.02):
        n[0] += 1
        try:
            if engine.stats().indexed:
                engine.search(ImageQuery(_content(0)), 5)
            _patiently(lambda: engine.search(TextQuery("words"), 5))
        except Exception as e:
            errors.append(f"{type(e).__name__}: {e}")


def _patiently(ask: object, within_s: float = _GOAL_S) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            ask()  # type: ignore[operator]
            return
        except DeviceFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _content(i: int) -> bytes:
    return b"picture %d" % i
