"""Traces, for those who collect them: a span for each request, by OpenTelemetry's own middleware.

Where spans go is said to OpenTelemetry itself, in its `OTEL_*` variables: `opentelemetry-instrument indexer serve`.
"""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp

from indexer.errors import ConfigError


def middleware() -> Any:
    """The class that puts a span around each request.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        from opentelemetry.instrumentation.asgi import (  # type: ignore[import-not-found]  # an option
            OpenTelemetryMiddleware,
        )
    except ImportError as e:
        raise ConfigError(
            "api.traces: OpenTelemetry is not installed; `pip install opentelemetry-distro "
            "opentelemetry-instrumentation-asgi`, or set it to false"
        ) from e
    return OpenTelemetryMiddleware


def traced(app: ASGIApp) -> ASGIApp:
    """The application with a span around each request, and none for the messages of it."""
    wrapped: ASGIApp = middleware()(app, exclude_spans=["receive", "send"])
    return wrapped
