"""For those who watch over the service. No key is asked for here."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from search_api.errors import PROBLEM_TYPE, Problem, problem
from search_api.openapi import refusals
from search_api.schemas import LiveAnswer, ReadyAnswer
from search_api.service import Service


@get("/health/live", tags=["health"], sync_to_thread=False, responses=refusals(open_to_all=True), security=[{}])
def live() -> LiveAnswer:
    """Whether the process answers at all."""
    return LiveAnswer("ok")


@get("/health/ready", tags=["health"], responses=refusals(open_to_all=True), security=[{}])
async def ready(service: NamedDependency[Service]) -> Response[ReadyAnswer | Problem]:
    """Whether searches are answered: 200 or 503, with each check."""
    readiness = await service.call(service.engine.readiness)
    checks = dict(readiness.checks)
    if service.settings.api_key:  # strangers may ask, so they are told no more than which check it is
        checks = {name: text.partition(":")[0] for name, text in checks.items()}
    if readiness.ready:
        return Response(ReadyAnswer(True, checks))
    body = problem(503, "Searches cannot be answered yet.", ready=False, checks=checks, retry_after_s=1.0)
    return Response(body, status_code=503, media_type=PROBLEM_TYPE, headers=body.headers)


ROUTES = [live, ready]
