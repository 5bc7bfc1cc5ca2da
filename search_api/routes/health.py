"""For those who watch over the service. No key is asked for here."""

from __future__ import annotations

import asyncio

from litestar import Response, get

from indexer.types import Readiness
from search_api.bodies import ApiRequest
from search_api.errors import problem
from search_api.openapi import refusals
from search_api.responses import Json, problem_response
from search_api.schemas import LiveAnswer, ReadyAnswer

READY_S = 5.0
"""An engine that does not tell its state within this is not ready."""


@get("/health/live", tags=["health"], sync_to_thread=False, responses=refusals(open_to_all=True), security=[{}])
def live() -> Json[LiveAnswer]:
    """Whether the process answers at all."""
    return Json(LiveAnswer("ok"))


@get("/health/ready", tags=["health"], responses=refusals(open_to_all=True), security=[{}])
async def ready(request: ApiRequest) -> Response[ReadyAnswer]:
    """Whether searches are answered: 200 or 503, with each check."""
    service = request.service
    try:
        readiness = await asyncio.wait_for(service.watch(service.engine.readiness), READY_S)
    except TimeoutError:
        readiness = Readiness(False, {"engine": f"fail: it has not told its state within {READY_S:g} s"})
    checks = dict(readiness.checks)
    if service.settings.api_key:  # strangers may ask, so they are told no more than which check it is
        checks = {name: text.partition(":")[0] for name, text in checks.items()}
    if readiness.ready:
        return Json(ReadyAnswer(True, checks))
    waiting = problem(503, "Searches cannot be answered yet.", ready=False, checks=checks, retry_after_s=1.0)
    return problem_response(waiting)


ROUTES = [live, ready]
