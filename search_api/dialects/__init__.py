"""Other services' ways of asking, so that programs made for them work here unchanged: a file for each.

They share the gate, the limits and the engine with all routes; only the shapes are theirs, errors included. Names of
models and indices are taken as they come, for there is one of each: answers say which. No URL is ever fetched.
"""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from search_api.dialects import clip_retrieval, immich, openai
from search_api.errors import PROBLEM, Wording
from search_api.openapi import Records

ROUTES: list[ControllerRouterHandler] = [*openai.ROUTES, *clip_retrieval.ROUTES, *immich.ROUTES]

RECORDS: Records = {**openai.RECORDS, **clip_retrieval.RECORDS, **immich.RECORDS}

_WORDINGS = {path: dialect.WORDING for dialect in (clip_retrieval, immich) for path in dialect.PATHS}


def wording_of(path: str) -> Wording:
    """How the clients of a path expect an error. All of /v1/ is OpenAI's: its clients may ask for more than is here."""
    return openai.WORDING if path.startswith("/v1/") else _WORDINGS.get(path.rstrip("/"), PROBLEM)
