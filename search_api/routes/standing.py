"""Questions that stand: what becomes searchable and matches is told as it comes."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import HttpMethod, Response, delete, get, post, route
from litestar.params import JSONBody, PathParameter

from search_api.answers import standing_answer
from search_api.bodies import ApiRequest
from search_api.openapi import refusals
from search_api.queries import standing_of
from search_api.responses import Json
from search_api.schemas import AcceptedAnswer, StandingAnswer, StandingAnswers, StandingRequest

StandingId = Annotated[
    str, PathParameter(description="Of the standing query.", schema_extra={"examples": ["0123456789abcdef"]})
]

_NONE: Final = {404: "There is no such standing query"}


@route("/api/standing", http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
def methods() -> Response[None]:
    """What the path takes: Litestar's own answer tells the methods of its first handler alone."""
    return Response(None, status_code=204, headers={"allow": "GET, OPTIONS, POST"})


@get("/api/standing", tags=["standing"], responses=refusals())
async def standing(request: ApiRequest) -> Json[StandingAnswers]:
    """Every standing query."""
    engine = request.service.engine
    return await request.service.answer(lambda: StandingAnswers([standing_answer(each) for each in engine.standing()]))


@post("/api/standing", status_code=201, tags=["standing"], responses=refusals(403, 404, 413, 415, 422))
async def stand(request: ApiRequest, data: JSONBody[StandingRequest]) -> Json[StandingAnswer]:
    """Have a question stand, also over restarts: `/api/events?topics=match` tells each new picture that it means.

    Without `score_threshold` that is where hits stop being better than chance now. With a `webhook` each match is
    also sent there as JSON, signed, and again while that fails, for some minutes. A match is told at least once.
    """
    service = request.service

    def work() -> StandingAnswer:
        asked = standing_of(data, service.engine.dims, service.settings)
        return standing_answer(service.engine.stand(asked), secret=True)

    return await service.answer(work)


@delete("/api/standing/{id:str}", status_code=200, tags=["standing"], responses=refusals(403, 404, why=_NONE))
async def unstand(request: ApiRequest, id: StandingId) -> Json[AcceptedAnswer]:
    """Forget a standing query."""
    service = request.service
    await service.call(lambda: service.engine.unstand(id))
    return Json(AcceptedAnswer("accepted"))


ROUTES = [methods, standing, stand, unstand]
