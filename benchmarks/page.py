"""How soon a person sees the first picture: `python -m benchmarks.page [--images 10000] [--quick] [--json]`.

A server on the demo model indexes drawn scenes; Chromium looks at its page. For every question, none asked twice, the
clock runs from the first byte of the server's answer to the frame in which the first picture of that answer stands, and
its thumbnail, which nobody had asked for before, is drawn on the way. Opening is timed from the navigation's start.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from benchmarks.freshness import serving, stats, wait
from benchmarks.report import Row, at_most, emit
from indexer.scenes import write_scenes
from indexer.scenes.words import COLOURS, SHAPES

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
GOAL_MS = 150.0
N_OPENED = 20

FIRST_RESULT = """async (words) => {
  const since = performance.now();
  const box = document.getElementById("words");
  box.value = words;
  box.dispatchEvent(new InputEvent("input", { bubbles: true }));
  for (;;) {
    await new Promise(requestAnimationFrame);
    const asked = performance.getEntriesByType("resource").filter(({ name }) => name.endsWith("/api/search"));
    const answer = asked.findLast(({ startTime }) => startTime > since);
    const picture = document.querySelector("[aria-busy=false] .tile img");
    if (answer && picture?.complete && picture.naturalWidth) return performance.now() - answer.responseStart;
  }
}"""
"""Types words, and tells how long after the first byte of the answer its first picture stood, ms."""

OPENED = """async () => {
  for (;;) {
    await new Promise(requestAnimationFrame);
    const picture = document.querySelector(".tile img");
    if (picture?.complete && picture.naturalWidth) return performance.now();
  }
}"""


def after_the_answer(browser: Browser, url: str, questions: list[str]) -> list[float]:
    """Milliseconds from each answer to its first picture."""
    page = browser.new_page()
    page.goto(url)
    page.evaluate("performance.setResourceTimingBufferSize(100_000)")
    page.locator(".tile").first.wait_for()
    took_ms = [float(page.evaluate(FIRST_RESULT, words)) for words in questions]
    page.close()
    return took_ms[1:]  # the first one warms the engines, the browser's and ours


def opening(browser: Browser, url: str) -> list[float]:
    """Milliseconds from each navigation to the first picture, for visitors with nothing in their cache."""
    took_ms = []
    for _ in range(N_OPENED):
        page = browser.new_page()
        page.goto(url, wait_until="commit")
        took_ms.append(float(page.evaluate(OPENED)))
        page.close()
    return took_ms[1:]


def rows(n: int) -> Iterator[Row]:
    questions = [f"a {colour} {shape}" for colour, shape in itertools.product(COLOURS, SHAPES)]
    with tempfile.TemporaryDirectory() as root, serving(Path(root)) as http, sync_playwright() as playwright:
        for _ in write_scenes(Path(root) / "pictures", n, seed=0):
            pass
        wait(lambda: (s := stats(http))["files"] == n and s["pending"] == 0, 1800)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        url = str(http.base_url)
        took_ms = after_the_answer(browser, url, questions)
        what = f"answer to first picture, {n:,} pictures"
        yield at_most("P1", f"{what}, p50 of {len(took_ms)}", float(np.median(took_ms)), "ms", GOAL_MS)
        yield at_most("P1b", f"{what}, p95", float(np.quantile(took_ms, 0.95)), "ms", GOAL_MS)
        opened_ms = opening(browser, url)
        yield Row("P2", f"page opened to first picture, p50 of {len(opened_ms)}", float(np.median(opened_ms)), "ms")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="scenes to draw and index")
    parser.add_argument("--quick", action="store_true", help="1,000 scenes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    args = parser.parse_args()
    emit(rows(1000 if args.quick else args.images), args.json)


if __name__ == "__main__":
    main()
