"""Pictures of every page, light, dark, for phones and in Chinese: `python -m benchmarks.screenshots --out DIR`.

Serves the demo in a folder of its own, or looks at a service that runs (`--url`), with Chromium.
`--readme` puts the two of the README into `benchmarks/screenshots/`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from indexer.cli.demo_folder import DemoFolder
from indexer.engine import open_engine
from search_api.app import create_app
from search_api.server import Server, bind
from search_api.settings import ApiSettings

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    },
    "chinese": {"locale": "zh-CN", "viewport": {"width": 1280, "height": 800}},
}
WORDS = "orange hearts"
PAGES = {
    "first": ("/", ".tile img"),
    "search": (f"/?q={WORDS.replace(' ', '+')}&with=-0.5:text:green", ".tile img"),
    "filters": ("/?q=a+heart&format=PNG&format=JPEG&min=480", ".tile img"),
    "large": ("/?q=a+heart", ".tile img"),
    "duplicates": ("/duplicates", "main > p, main > .notice"),
    "errors": ("/errors", "main .panel + .panel"),
    "dashboard": ("/dashboard", ".legend"),
}
ALL_THERE = """new Promise((resolve) => {
  const isThere = (image) => image.complete || image.getBoundingClientRect().top > innerHeight;
  const look = () => [...document.images].every(isThere) ? resolve() : requestAnimationFrame(look);
  look();
})"""
README = {"search": "light", "dashboard": "dark"}
HERE = Path(__file__).parent / "screenshots"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
LIVE_MS = 4000
"""The dashboard's curves need a few seconds of the feed."""


@contextmanager
def served(home: Path) -> Iterator[str]:
    """The demo, indexed, behind a loopback port; its address."""
    demo = DemoFolder(home)
    config = demo.load({}).config
    for _ in demo.draw(200):
        pass
    with open_engine(config) as engine:
        while not engine.wait_idle(60):
            print("indexing …")
        server = Server(create_app(engine, ApiSettings()), bind("127.0.0.1", 0))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            assert server.wait_started(10)
            yield server.url
        finally:
            server.stop()
            thread.join()


def shoot(browser: Browser, url: str, name: str, look: str) -> Image.Image:
    """One page in one look, when all that is in sight of it is there."""
    path, sign = PAGES[name]
    context = browser.new_context(**{"reduced_motion": "reduce", "locale": "en-GB", **LOOKS[look]})
    page = context.new_page()
    page.goto(url + path)
    page.locator(sign).first.wait_for()
    if name == "large":
        page.locator(".tile .open").first.click()
        page.locator("dialog img").last.wait_for()
    if name == "dashboard":
        page.wait_for_timeout(LIVE_MS)
    page.evaluate(ALL_THERE)
    shot = Image.open(io.BytesIO(page.screenshot()))
    context.close()
    return shot.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a service that runs; without it the demo is served")
    parser.add_argument("--out", type=Path, default=Path("screenshots"), help="folder for the pictures")
    parser.add_argument("--readme", action="store_true", help="only the two of the README, where it expects them")
    asked = parser.parse_args()
    wanted = list(README.items()) if asked.readme else list(itertools.product(PAGES, LOOKS))
    out = HERE if asked.readme else asked.out
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "demo"
        url = asked.url or stack.enter_context(served(home))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, look in wanted:
            file = out / f"{name}-{look}.webp"
            shoot(browser, url, name, look).save(file, quality=82, method=6)
            print(f"{file} {file.stat().st_size / 1e3:.0f} kB")
        browser.close()


if __name__ == "__main__":
    main()
