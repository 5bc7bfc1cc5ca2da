"""Waiting for what a page comes to: its policy forbids Playwright's own way, which evaluates text anew."""

from __future__ import annotations

from playwright.sync_api import Page

_LOOK = "new Promise((resolve) => { const look = () => (%s) ? resolve() : requestAnimationFrame(look); look(); })"


def until(page: Page, condition: str) -> None:
    """Return when a condition, in the page's language, has come true; the test's time limit ends the wait."""
    page.evaluate(_LOOK % condition)
