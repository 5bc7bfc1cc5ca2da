from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.page.stand import Stand, serving

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
KNOWN_NOISE = ("Failed to load resource", "net::ERR_")  # what tests of refusals and of the lost service bring about


@pytest.fixture(scope="module")  # Playwright keeps an event loop running in this thread: others need it for themselves
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Stand]:
    stand = Stand()
    stand.reset()
    with serving(stand):
        yield stand


@pytest.fixture
def stand(served: Stand) -> Stand:
    """As new."""
    served.reset()
    return served


@pytest.fixture
def visit(browser: Browser, stand: Stand) -> Iterator[Callable[..., Page]]:
    """Opens the page for a new visitor. No visit may ask another origin, break the policy or end in an error."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def start(path: str = "/", *, url: str = "", init: str = "", **options: object) -> Page:
        options.setdefault("reduced_motion", "reduce")
        options.setdefault("locale", "en-GB")
        context = browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        if init:
            page.add_init_script(init)
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda said: note(said.type, said.text))
        origin = url or stand.url
        page.on("request", lambda request: known(request.url, origin))
        page.goto(origin + path)
        page.locator("main").wait_for()
        return page

    def note(kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(noise in text for noise in KNOWN_NOISE):
            faults.append(f"{kind}: {text}")

    def known(asked: str, origin: str) -> None:
        if not asked.startswith((origin, "data:", "blob:" + origin)):
            faults.append(f"asked {asked}")

    yield start
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    return visit()


@pytest.fixture(scope="session")
def axe() -> str:
    return (Path(__file__).parent / "axe" / "axe.min.js").read_text()
