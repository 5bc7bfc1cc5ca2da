"""Spans, where OpenTelemetry is installed, and a word where it is not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from indexer.cli.api_settings import api_settings
from indexer.config import load
from indexer.errors import ConfigError
from search_api.settings import ApiSettings
from tests.api.conftest import serving
from tests.fakes.engine import FakeEngine

NAME = "opentelemetry.instrumentation.asgi"


def test_each_request_is_a_span(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    spans: list[tuple[str, Any]] = []

    class Middleware:
        def __init__(self, app: Any, exclude_spans: list[str]) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def sent(message: Any) -> None:
                if message["type"] == "http.response.start":
                    spans.append((scope["path"], message["status"]))
                await send(message)

            await self.app(scope, receive, sent)

    stand_in = ModuleType(NAME)
    stand_in.OpenTelemetryMiddleware = Middleware  # type: ignore[attr-defined]
    parts = NAME.split(".")
    for i in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:i]), ModuleType(".".join(parts[:i])))
    monkeypatch.setitem(sys.modules, NAME, stand_in)
    with serving(engine, ApiSettings(traces=True, api_key="a-key-of-enough-characters")) as http:
        http.get("/health/live")
        http.get("/api/stats")
    assert spans == [("/health/live", 200), ("/api/stats", 401)]


def test_without_it_the_settings_are_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)
    config = load(flags={"api.traces": True}, environ={}, cwd=tmp_path).config
    with pytest.raises(ConfigError, match=r"api\.traces: OpenTelemetry is not installed; `pip install"):
        api_settings(config)
