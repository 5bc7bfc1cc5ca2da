"""Keys: who may ask, and who may give orders."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from typing import Final

from litestar.types import ControllerRouterHandler

from search_api.errors import Problem, problem
from search_api.settings import ApiSettings

QUESTION: Final = "question"
"""Option of a route that takes POST, and changes nothing all the same: it needs no more than the key for reading."""

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready"})
_OPEN_PAGES: Final = re.compile(r"/(?:dashboard|duplicates|errors|api/docs|favicon\.ico|static/.*)?")
"""The pages' own files: they hold nothing of anybody's, and the page is what asks a person for the key."""


class Keys:
    """Holds a request's `Authorization` against the service's keys.

    Where an admin key is set, every request that may change something needs it: all methods but GET, HEAD and OPTIONS,
    at all paths but `questions`. A route that nobody thought of is on the safe side.
    """

    def __init__(self, settings: ApiSettings, questions: Iterable[str]) -> None:
        self._read = _bearer(settings.api_key)
        self._admin = _bearer(settings.admin_key)
        self._questions = frozenset(questions)
        self._open = _OPEN_PATHS | {"/metrics"} if settings.open_metrics else _OPEN_PATHS

    def refusal(self, method: str, path: str, authorization: bytes | None) -> Problem | None:
        """Why the request may not pass; None when it may."""
        if self._read is None and self._admin is None:
            return None
        given = authorization or b""
        # Both are looked at, each in the same time whatever was given.
        is_admin = self._admin is not None and hmac.compare_digest(given, self._admin)
        is_reader = self._read is not None and hmac.compare_digest(given, self._read)
        if is_admin:
            return None
        if self._admin is not None and method not in _SAFE_METHODS and path.rstrip("/") not in self._questions:
            if is_reader:
                return problem(403, "This changes something, and needs the service's admin key.")
            return problem(401, "Send the service's admin key as Authorization: Bearer <key>.")
        if is_reader or self._read is None or path in self._open:
            return None
        if method in _SAFE_METHODS and _OPEN_PAGES.fullmatch(path):
            return None
        return problem(401, "Send the service's key as Authorization: Bearer <key>.")


def questions_of(handlers: Iterable[ControllerRouterHandler]) -> set[str]:
    """Paths of the routes that only ask, though by POST."""
    return {path for each in handlers if (getattr(each, "opt", None) or {}).get(QUESTION) for path in each.paths}  # type: ignore[union-attr]  # routes are handlers here


def _bearer(key: str | None) -> bytes | None:
    return f"Bearer {key}".encode() if key else None
